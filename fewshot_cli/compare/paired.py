"""The difference of two settings that met the same tasks, with its interval.

Each setting has runs with different seeds, and every run is tested on the same tasks: seeds and
tasks are crossed. The value of seed s on task t is taken as

    y[s, t] = mean + seed[s] + task[t] + rest[s, t]

with random seeds, tasks and rest. Between two settings the seeds are independent and the tasks are
the same ones, so a task's difficulty cancels in the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Values = NDArray[np.float64]
Parts = list[tuple[float, float]]  # of a variance: each with its degrees of freedom


@dataclass(frozen=True)
class Difference:
    mean: float
    ci95: float  # half-width; nan where there is one task
    unpaired_ci95: float  # the same with the tasks taken for each setting's own
    p: float  # two-sided, of no difference
    over: str  # what the interval is over: `seeds and tasks`, or `tasks` given these runs


def difference(ours: Values, theirs: Values) -> Difference:
    """The mean of `ours` less that of `theirs`, with 95 % intervals.

    Where both have several seeds the interval is for the expected difference over seeds *and*
    tasks. With d[t] the difference of the means over seeds on task t, the variance of its mean is

        var(d) / T  +  for each setting (MS_seeds - MS_rest) / (S T)

    where MS are the mean squares of the setting's two-way table of seeds and tasks: the analysis of
    variance of crossed random effects (Searle, Casella and McCulloch, Variance Components, 1992,
    chapter 4). The first term holds the tasks and the rest, the second the seeds. The degrees of
    freedom are Satterthwaite's (1946), as in Welch's test. An interval over d alone would take
    these seeds for all seeds and be too narrow.

    Where one of them has a single seed nothing is known of the seeds' spread: the interval is
    Student's over d, for these runs as they are.

    Args:
        ours, theirs: `[seeds, tasks]`, the same tasks in the same order.
    """
    shared = ours.mean(0) - theirs.mean(0)
    over = "seeds and tasks" if min(len(ours), len(theirs)) > 1 else "tasks"
    seeds = [*_of_seeds(ours), *_of_seeds(theirs)] if over == "seeds and tasks" else []
    mean = float(shared.mean())
    variance, degrees = _sum([_of_tasks(shared), *seeds])
    unpaired, _ = _sum([_of_tasks(ours.mean(0)), _of_tasks(theirs.mean(0)), *seeds])
    return Difference(
        mean,
        half_width(variance, degrees),
        # At the same degrees of freedom, so that the two differ by the pairing alone.
        half_width(unpaired, degrees),
        _p(mean, variance, degrees),
        over,
    )


def _of_tasks(values: Values) -> tuple[float, float]:
    """The variance of a mean over tasks, and its degrees of freedom."""
    tasks = len(values)
    return (float(values.var(ddof=1)) / tasks, tasks - 1) if tasks > 1 else (math.nan, 0)


def _of_seeds(values: Values) -> Parts:
    """What the seeds add to the variance of the mean over seeds and tasks, in two parts."""
    seeds, tasks = values.shape
    by_seed, by_task = values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_task + values.mean()
    degrees = (seeds - 1) * max(1, tasks - 1)
    within = float((rest**2).sum()) / degrees / (seeds * tasks)
    between = float(by_seed.var(ddof=1)) / seeds
    # Less than nothing is an estimate of nothing.
    return [(between, seeds - 1), (-within, degrees)] if between > within else []


def _sum(parts: Parts) -> tuple[float, float]:
    """A sum of estimated variances, with Satterthwaite's degrees of freedom."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / max(degrees, 1e-9) for variance, degrees in parts)
    return total, total**2 / spread if spread > 0 else math.inf


def half_width(variance: float, degrees: float) -> float:
    """Of the 95 % interval of a mean with this variance (Student's t)."""
    return float(stdtrit(degrees, 0.975)) * math.sqrt(variance) if variance > 0 else variance


def _p(mean: float, variance: float, degrees: float) -> float:
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(degrees, -abs(mean) / math.sqrt(variance)))


def interval(values: Values) -> float:
    """The half-width of the 95 % interval of the mean of independent values; nan for one."""
    return half_width(*_of_tasks(values))


def holm(p: Sequence[float], family: int) -> list[float]:
    """p-values corrected for `family` comparisons, of which these are some (Holm 1979).

    With all of the family given this is Holm's procedure. Where the family has more, each of these
    stands at most as early in the whole order as here, so the factor is never too small.
    """
    order = np.argsort(p)
    factors = family - np.arange(len(p))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p)[order] * factors))
    return [float(each) for each in corrected]
