"""Several `fewshot train -m` in one folder at the same time, as users type them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers import TINY

from fewshot_cli.runs.directory import COMPLETED, FAILED, RunDirectory
from fewshot_cli.sweeps.sharing import batches

# TensorBoard's tracker opens a file each time that a job begins.
JOBS = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "threads=1", "tracker=tensorboard"]
JOBS += ["eval.every=100"]
Sweeps = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep(tmp_path: Path, cache_dir: Path) -> Iterator[Sweeps]:
    """Begin `fewshot train -m ... sweep.dir=s`; whatever is left of it ends with the test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fewshot_cli", "train", "-m", *JOBS, *words]
        process = subprocess.Popen(
            [*command, "sweep.dir=s"],
            cwd=tmp_path,
            env=os.environ | {"FEWSHOT_CACHE": str(cache_dir)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.terminate()
        process.wait(60)


def begins(sweep: Path) -> dict[str, int]:
    """How often each job began, by what it varies."""
    return {
        run.parent.name[:-9]: len(list(run.parent.rglob("events.out.tfevents.*")))
        for run in sweep.glob("*/config.yaml")
    }


def wait_until(what: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    while not what():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_two_commands_share_the_jobs(sweep: Sweeps, tmp_path: Path, launcher: str) -> None:
    words = [f"hydra/launcher={launcher}", "iterations=600", "seed=range(1,7)"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    # At the same moment: where a launcher is slow to begin, one that begins later finds all done.
    # `log_every` makes no other job, and says who did it.
    for command in [sweep(*words), sweep(*words, "log_every=50")]:
        out, err = command.communicate(timeout=250)
        assert command.returncode == 0, err
        assert "6 of 6 jobs completed: s" in out
        assert "[6/6] seed=" in err
        assert "fewshot: " not in err
    assert begins(tmp_path / "s") == {f"seed={seed}": 1 for seed in range(1, 7)}
    of_two = [
        "log_every: 50" in config.read_text() for config in (tmp_path / "s").glob("*/config.yaml")
    ]
    assert 0 < sum(of_two) < 6


@pytest.mark.slow
def test_the_jobs_of_a_command_that_was_killed_go_to_the_other(
    sweep: Sweeps, tmp_path: Path
) -> None:
    words = ["seed=1,2,3", "iterations=1200"]
    one = sweep(*words)
    wait_until(lambda: begins(tmp_path / "s"), one)
    two = sweep(*words)
    wait_until(lambda: len(begins(tmp_path / "s")) == 2, one, two)
    first = next((tmp_path / "s").glob("seed=1_*"))
    in_hand = json.loads((first / "status.json").read_text())["status"] == "running"
    child = int(Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text())
    for process in (one.pid, child):
        os.kill(process, signal.SIGKILL)
    out, err = two.communicate(timeout=250)
    assert two.returncode == 0, err
    assert "3 of 3 jobs completed: s" in out
    found = begins(tmp_path / "s")
    assert in_hand, "the first job was over too soon to be killed"
    assert found == {"seed=1": 2, "seed=2": 1, "seed=3": 1}


class Task:
    def __init__(self, path: Path, status: str | None = None) -> None:
        self.run = RunDirectory(path)
        if status is not None:
            self.run.mark(status)


@contextmanager
def in_hand(run: RunDirectory) -> Iterator[None]:
    """Another process is at work on it."""
    lock = "RunDirectory(Path(sys.argv[1]))._locked()"
    code = f"with {lock}: print(flush=True), sys.stdin.read()"
    imports = "import sys; from pathlib import Path; from fewshot_cli.runs.directory import *\n"
    process = subprocess.Popen(
        [sys.executable, "-c", imports + code, run.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.readline()
    yield
    process.communicate()


def test_what_others_have_done_or_are_at_work_on_is_left_to_them(tmp_path: Path) -> None:
    statuses = [None, COMPLETED, None, FAILED, "interrupted", None]
    tasks = [Task(tmp_path / str(i), status) for i, status in enumerate(statuses)]
    with ExitStack() as others:
        others.enter_context(in_hand(tasks[0].run))
        left = batches(tasks, at_once=2)
        assert next(left) == [tasks[2], tasks[4]]
        tasks[4].run.mark(COMPLETED)
        tasks[2].run.mark(FAILED)
        tasks[5].run.mark(COMPLETED)  # by another, since the list was made
        others.close()
    assert list(left) == [[tasks[0]]]


def test_an_ending_that_is_not_for_good_is_forgotten(tmp_path: Path) -> None:
    for status, kept in ((COMPLETED, True), (FAILED, False), ("interrupted", False)):
        run = Task(tmp_path / status, status).run
        with in_hand(run):
            run.forget_ending()
            assert run.status.exists()
        run.forget_ending()
        assert run.status.exists() is kept
    RunDirectory(tmp_path / "new").forget_ending()
    assert not (tmp_path / "new").exists()
