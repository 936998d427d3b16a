"""Area and time to a value, against curves whose answers are known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fewshot_cli.compare.learning import learning
from fewshot_cli.compare.runs_read import Run
from fewshot_cli.settings.measure import ACCURACY, LOSS, Measure


def run(folder: Path, name: str, points: list[tuple[int, float, float]], measure: Measure) -> Run:
    """A run whose meta-validations are these: iteration, value, seconds."""
    (folder / name).mkdir()
    rows = [f"{iteration},valid,{value},{seconds}" for iteration, value, seconds in points]
    train = "7,train,0.99,1"
    header = f"iteration,split,{measure.name},elapsed_s"
    (folder / name / "metrics.csv").write_text("\n".join([header, train, *rows]) + "\n")
    return Run(folder / name, "completed", measure=measure)


def test_a_line_has_its_middle_for_area_and_time_is_that_of_the_first(tmp_path: Path) -> None:
    # Unevenly spaced, so that a mean over points would be another number.
    a = run(tmp_path, "a", [(0, 0.2, 0.0), (10, 0.3, 4.0), (80, 1.0, 9.0)], ACCURACY)
    b = run(tmp_path, "b", [(0, 0.6, 0.5), (20, 0.6, 3.0), (30, 0.6, 5.0)], ACCURACY)
    found = learning([a, b], until=0.3)
    assert found.area == pytest.approx((0.6 + 0.6) / 2)
    assert (found.reached, found.until_iterations, found.until_seconds) == (2, 5.0, 2.25)
    some = learning([a, b], until=0.9)
    assert some.reached == 1
    assert math.isnan(some.until_iterations)
    assert learning([a], until=0.9).until_seconds == 9.0


def test_of_errors_less_is_better(tmp_path: Path) -> None:
    a = run(tmp_path, "a", [(0, 4.0, 0.0), (10, 2.0, 1.0), (20, 0.0, 2.0)], LOSS)
    found = learning([a], until=2.5)
    assert (found.area, found.reached, found.until_iterations) == (pytest.approx(2.0), 1, 10.0)


def test_what_is_not_known_is_not_a_number(tmp_path: Path) -> None:
    one = run(tmp_path, "one", [(10, 0.5, 1.0)], ACCURACY)
    assert math.isnan(learning([one], until=None).area)
    assert learning([one], until=0.5).until_iterations == 10.0
    gone = Run(tmp_path / "gone", "completed")
    assert learning([one, gone], until=0.5).reached is None
