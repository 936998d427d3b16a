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
