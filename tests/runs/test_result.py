from __future__ import annotations

from pathlib import Path

import pytest

from fewshot_cli.runs import result
from fewshot_cli.runs.directory import RunDirectory

STEPS = [{"adaptation_steps": 0, "loss": 1, "loss_ci95": 0, "accuracy": 0.5, "accuracy_ci95": 0.01}]
NOTE = "The interval is over tasks of these {} classes alone: it says nothing of other classes"


@pytest.mark.parametrize(
    ("counted", "noted"),
    [({"classes": 2}, True), ({"classes": 11}, True), ({"classes": 12}, False), ({}, False)],
)
def test_an_interval_over_few_classes_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counted: dict[str, int], noted: bool
) -> None:
    directory = RunDirectory(tmp_path)
    test = {"checkpoint": "best", "iteration": 4, "tasks": 600, "steps": STEPS, **counted}
    names = {"algo": "maml", "data": "folder", "model": "mlp", "ways": 3, "shots": 1}
    directory.write_summary(names | {"test": test, "seconds": 1})
    result.show(directory)
    shown = " ".join(capsys.readouterr().out.split())
    assert "50.00% ± 1.00%" in shown
    assert (NOTE.format(counted.get("classes")) in shown) is noted


@pytest.mark.parametrize(
    ("steps", "said"),
    [(8, ""), (9, "Steps that are not shown: 4 (summary.json has all)"), (11, "2, 5, 8 (")],
)
def test_steps_that_are_not_shown_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int, said: str
) -> None:
    directory = RunDirectory(tmp_path)
    rows = [STEPS[0] | {"adaptation_steps": step} for step in range(steps)]
    test = {"checkpoint": "best", "iteration": 4, "tasks": 600, "steps": rows}
    names = {"algo": "maml", "data": "folder", "model": "mlp", "ways": 3, "shots": 1}
    directory.write_summary(names | {"test": test, "seconds": 1})
    result.show(directory)
    shown = capsys.readouterr().out
    assert (said or "600 tasks") in " ".join(shown.split())
    assert ("not shown" in shown) is (said != "")


def test_neighbouring_steps_that_are_not_shown_are_a_range() -> None:
    rows = [{"adaptation_steps": step} for step in range(6)]
    said = result._left_out(rows, [rows[0], rows[4]])
    assert said == "Steps that are not shown: 1 to 3, 5 (summary.json has all)"
