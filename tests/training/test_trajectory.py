from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import TINY, config

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training import checkpoints, trajectory
from fewshot_cli.training.run import run
from fewshot_cli.training.seeding import initialised
from fewshot_cli.training.setup import prepare

SETTING = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "iterations=5"]


def recorded(folder: Path, *overrides: str) -> RunDirectory:
    directory = RunDirectory(folder)
    run(config(*SETTING, *overrides), directory)
    return directory


def test_the_start_and_each_meta_validation_are_kept(tmp_path: Path) -> None:
    directory = recorded(tmp_path, "record_paths=true")
    points = trajectory.recorded(directory)
    assert [point.name for point in points] == ["0.pt", "2.pt", "4.pt", "5.pt"]
    chosen = config(*SETTING)
    algorithm = prepare(chosen).algorithm
    assert checkpoints.load(points[0], algorithm) == 0
    start = initialised(chosen.model, (1,), 1, chosen.seed)
    assert all(map(torch.equal, algorithm.net.parameters(), start.parameters()))
    last = torch.load(directory.checkpoints / "last.pt", weights_only=True)
    found = torch.load(points[-1], weights_only=True)
    assert all(torch.equal(found["net"][name], weight) for name, weight in last["net"].items())


def test_recording_changes_nothing_and_is_off_by_default(tmp_path: Path) -> None:
    with_path = recorded(tmp_path / "with", "record_paths=true")
    without = recorded(tmp_path / "without")
    assert not (without.path / "paths").exists()
    assert with_path.test_tasks.read_bytes() == without.test_tasks.read_bytes()


def test_a_point_that_is_there_stays(tmp_path: Path) -> None:
    setup = prepare(config(*SETTING, "record_paths=true"))
    directory = RunDirectory(tmp_path)
    trajectory.record(setup, directory, 0)
    before = (tmp_path / "paths" / "0.pt").read_bytes()
    with torch.no_grad():
        next(setup.algorithm.net.parameters()).add_(1)
    trajectory.record(setup, directory, 0)
    trajectory.record(setup, directory, 10)
    trajectory.record(setup, directory, 9)
    assert (tmp_path / "paths" / "0.pt").read_bytes() == before
    assert [point.stem for point in trajectory.recorded(directory)] == ["0", "9", "10"]


def test_a_run_without_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no recorded path; expected a run of .*record_paths"):
        trajectory.recorded(RunDirectory(tmp_path))
