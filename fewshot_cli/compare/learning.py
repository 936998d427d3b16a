"""How fast settings learn, by their runs' meta-validations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot_cli.compare.runs_read import Curve, DamagedError, Run, curve
from fewshot_cli.settings.measure import Measure


@dataclass(frozen=True)
class Learning:
    """Means over the runs of a setting, as the columns of the table are called.

    Attributes:
        area: under the curve over iterations, divided by their number: its mean height. nan where
            a run has no two meta-validations.
        reached: the runs with a meta-validation as good as was asked for; None: nothing was.
        until_iterations, until_seconds: the first such one; nan unless every run has it.
    """

    area: float
    reached: int | None
    until_iterations: float
    until_seconds: float


def learning(runs: Sequence[Run], until: float | None) -> Learning:
    """Of the runs of one setting; one whose metrics.csv cannot be read makes all of it unknown."""
    try:
        curves = [curve(run) for run in runs]
    except DamagedError:
        return Learning(math.nan, None, math.nan, math.nan)
    area = float(np.mean([_area(each) for each in curves]))
    if until is None:
        return Learning(area, None, math.nan, math.nan)
    firsts = [_first(each, until, runs[0].measure) for each in curves]
    there = [first for first in firsts if first is not None]
    whole = there if len(there) == len(runs) else [(math.nan, math.nan)]
    iterations, seconds = np.mean(whole, axis=0).tolist()
    return Learning(area, len(there), iterations, seconds)


def _area(of: Curve) -> float:
    length = float(np.ptp(of.iterations)) if len(of.iterations) else 0.0
    heights = (of.values[1:] + of.values[:-1]) / 2
    return float(np.diff(of.iterations) @ heights) / length if length else math.nan


def _first(of: Curve, until: float, measure: Measure) -> tuple[float, float] | None:
    """The iteration and the seconds of the first meta-validation that is good enough."""
    for iteration, value, seconds in zip(*of, strict=True):
        if measure.goodness(float(value)) >= measure.goodness(until):
            return float(iteration), float(seconds)
    return None
