from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command
from filelock import FileLock
from helpers import TINY, little_folder, outcome

LONG = [
    *("data=sinusoid", "model=mlp", "ways=1", "iterations=120", "log_every=7"),
    *("eval.every=60", "eval.tasks=6", "eval.valid_tasks=4", "checkpoint.every=5"),
]


def test_a_killed_run_is_resumed_to_the_same_bytes(fewshot: Command, tmp_path: Path) -> None:
    assert fewshot("train", *LONG, "hydra.run.dir=whole").returncode == 0
    command = [sys.executable, "-m", "fewshot_cli", "train", *LONG, "hydra.run.dir=run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = fewshot("resume", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Going on from iteration ")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_small_collection_keeps_its_splits(fewshot: Command, tmp_path: Path) -> None:
    """Whether the run recorded what they fit or is of a release that did not."""
    little_folder(tmp_path / "photos", classes=9)
    words = ["data=folder", "data.root=photos", "data.image_size=8", "model=mlp", *TINY]
    words.append("algo.meta_schedule=constant")  # which does not depend on the length
    assert fewshot("train", *words, "run.dir=whole").returncode == 0
    for name in ("new", "old"):
        assert fewshot("train", *words, f"run.dir={name}", "iterations=2").returncode == 0
    config = tmp_path / "old" / "config.yaml"
    config.write_text(config.read_text().replace("  least: 3\n", ""))
    (tmp_path / "old" / "splits.csv").unlink()
    for name in ("new", "old"):
        done = fewshot("resume", name, "iterations=4")
        assert done.returncode == 0, done.stderr
        assert outcome(tmp_path / name) == outcome(tmp_path / "whole")
    whole = (tmp_path / "whole" / "splits.csv").read_bytes()
    assert (tmp_path / "old" / "splits.csv").read_bytes() == whole


@pytest.mark.slow
def test_a_run_told_to_stop_in_a_long_meta_validation_stops_there(
    fewshot: Command, tmp_path: Path
) -> None:
    words = ["data=sinusoid", "model=mlp", "ways=1", "iterations=3", "log_every=1", "eval.every=2"]
    words += ["eval.tasks=6", "eval.valid_tasks=4000", "algo.eval_steps=20"]
    assert fewshot("train", *words, "run.dir=whole").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "fewshot_cli", "train", *words, "run.dir=run"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    metrics, deadline = tmp_path / "run" / "metrics.csv", time.monotonic() + 60
    while not (metrics.exists() and "\n2,train," in metrics.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[1]
    assert process.returncode == 143, told
    assert told.endswith("Next:  fewshot resume run\n")
    assert ",valid," not in metrics.read_text()
    assert fewshot("resume", "run").returncode == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_what_cannot_be_resumed_is_one_line(fewshot: Command, tmp_path: Path) -> None:
    assert fewshot("train", *LONG, "iterations=10", "hydra.run.dir=run").returncode == 0
    before = outcome(tmp_path / "run")
    for words, message in (
        (["nowhere"], "nowhere: expected a run directory"),
        (["run", "seed=2"], "seed: cannot be changed afterwards; expected "),
        (["run", "iterations=5"], "iterations=5: run/checkpoints/last.pt has made 10"),
    ):
        done = fewshot("resume", *words)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"fewshot: {message}")
        assert done.stderr.count("\n") == 1
    assert outcome(tmp_path / "run") == before


def test_two_processes_never_write_into_one_run(fewshot: Command, tmp_path: Path) -> None:
    assert fewshot("train", *LONG, "iterations=10", "hydra.run.dir=run").returncode == 0
    before = outcome(tmp_path / "run")
    with FileLock(tmp_path / "run" / ".lock"):
        done = fewshot("resume", "run")
    assert done.returncode == 2
    assert done.stderr == ("fewshot: run: another process writes into it; expected one at a time\n")
    assert outcome(tmp_path / "run") == before


def test_a_finished_run_whose_best_checkpoint_is_damaged_stays_finished(
    fewshot: Command, tmp_path: Path
) -> None:
    assert fewshot("train", *LONG, "iterations=10", "run.dir=run").returncode == 0
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:700])
    status = (tmp_path / "run" / "status.json").read_text()
    done = fewshot("resume", "run")
    assert done.returncode == 2
    assert done.stderr.startswith("fewshot: run/checkpoints/best.pt: expected a whole checkpoint")
    way_on = "; the last one can be tested: fewshot evaluate run eval.checkpoint=last\n"
    assert done.stderr.endswith(way_on)
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "run" / "status.json").read_text() == status
    assert fewshot("evaluate", "run", "eval.checkpoint=last").returncode == 0
