from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
from helpers import TINY, config

from fewshot_cli.settings.errors import UserError
from fewshot_cli.training import room
from fewshot_cli.training.dry_run import Times, dry_run

CURVES = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "iterations=1000000", "threads=1"]


def test_the_time_of_a_run_is_that_of_its_parts() -> None:
    times = Times(begin=2.0, update=0.5, valid=3.0, test=7.0)
    assert times.training(0, 4) == 2.0
    assert times.training(9, 4) == 2.0 + 9 * 0.5 + 3 * 3.0  # after 4, 8 and 9


def test_a_run_that_its_limit_cuts_off_is_told_so() -> None:
    assert "limits" not in dry_run(config(*CURVES))
    told = dry_run(config(*CURVES, "limits.seconds=20", "compile=auto"))
    cut = re.search(r"limits.seconds=20 ends .* about ([\d,]+) of 1,000,000", told)
    assert cut, told
    assert 0 < int(cut[1].replace(",", "")) < 1000000
    assert "compile=auto: does not compile, since a limit may end the run early" in told


@pytest.mark.skipif(room.free() is None, reason="this system has no /proc")
def test_a_run_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(room, "free", lambda: 300 * 10**6)
    images = ["data=glyphs", "model=cnn4", *TINY, "ways=5", "batching=stacked", "threads=1"]
    line = r"out of memory on .* try batching=stacked chunk=1 .*; 300 MB were free"
    with pytest.raises(UserError, match=line):
        dry_run(config(*images, "meta_batch=500"))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert "Memory: at most " in dry_run(config(*images, "chunk=1"))


@pytest.mark.parametrize("version", [1, 2])
def test_the_memory_that_a_control_group_leaves_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """The group's own limit, or that of a group around it."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "proc" / "self" / "status").write_text("VmData:\t 7 kB\nVmRSS:\t    1000 kB\n")
    told = {1: "9:cpu:/elsewhere\n4:memory:/job/step\n", 2: "0::/job/step\n"}[version]
    (tmp_path / "proc" / "self" / "cgroup").write_text(told)
    monkeypatch.setattr(room, "PROC", tmp_path / "proc")
    root, name = room.LIMITS[2 - version]
    root = tmp_path / root.relative_to("/")
    monkeypatch.setattr(room, "LIMITS", ((root, name),))
    assert room.free() == 8000 * 1024
    (root / "job" / "step").mkdir(parents=True)
    (root / "job" / "step" / name).write_text("max\n")
    assert room.free() == 8000 * 1024
    (root / "job" / name).write_text(f"{3000 * 1024}\n")
    assert room.free() == 2000 * 1024
