"""The real command by several processes, and what happens when one of them is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import outcome
from processes import children, gone, is_a_rank

pytestmark = pytest.mark.slow  # each process takes seconds to start

FEWSHOT = [sys.executable, "-m", "fewshot_cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
RUN = [
    *("data=sinusoid", "model=mlp", "ways=1", "threads=1", "iterations=400", "log_every=7"),
    *("meta_batch=4", "batching=stacked", "chunk=1", "checkpoint.every=5"),
    *("eval.every=200", "eval.tasks=12", "eval.valid_tasks=8"),
]
SHORT = [*RUN, "iterations=20", "eval.every=10"]
SECONDS = 120  # until a run is at work, on a busy machine


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as one process makes it."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([*FEWSHOT, "train", *RUN, "run.dir=run"], cwd=folder, check=True)
    return folder / "run"


class Started:
    """A command whose run is at work."""

    def __init__(self, folder: Path, command: list[str], **environment: str) -> None:
        self.run = folder / "run"
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        last, deadline = self.run / "checkpoints" / "last.pt", time.monotonic() + SECONDS
        while not last.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def others(self) -> list[int]:
        """The processes that the command started."""
        return children(self.process.pid)

    def ended(self, within: float) -> str:
        """What it has said at its end, which comes soon."""
        _, said = self.process.communicate(timeout=within)
        return said


def train(*words: str) -> list[str]:
    return [*FEWSHOT, "train", *RUN, "run.dir=run", *words]


def status(run: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((run / "status.json").read_text())
    return found


def resumed(run: Path, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [*FEWSHOT, "resume", str(run), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return outcome(run)


def test_a_rank_that_is_killed_ends_the_run_in_seconds(tmp_path: Path, alone: Path) -> None:
    started = Started(tmp_path, train("ranks=3"))
    victim, other = started.others()
    os.kill(victim, signal.SIGKILL)
    said = started.ended(within=10)
    assert started.process.returncode == 1
    line = re.search(r"the run failed: (rank 1 \(process \d+ on .+\) was killed by SIGKILL);", said)
    assert line is not None, said
    assert status(started.run) == {"status": "failed", "error": line[1]}
    assert gone(other)
    assert "Next:  fewshot resume run" in said
    assert resumed(started.run, "ranks=2") == outcome(alone)


def test_a_rank_that_hangs_ends_the_run(tmp_path: Path, alone: Path) -> None:
    started = Started(tmp_path, train("ranks=2", "rank_timeout=5"))
    (victim,) = started.others()
    os.kill(victim, signal.SIGSTOP)
    said = started.ended(within=30)
    assert started.process.returncode == 1
    assert re.search(r"rank 1 \(process \d+ on .+\) has not answered for 5 s", said), said
    assert gone(victim)
    assert resumed(started.run, "ranks=1") == outcome(alone)


def test_the_others_end_with_the_first_rank(tmp_path: Path, alone: Path) -> None:
    started = Started(tmp_path, train("ranks=2"))
    (other,) = started.others()
    started.process.kill()
    started.process.communicate()
    deadline = time.monotonic() + 10
    while not gone(other):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert resumed(started.run, "ranks=4") == outcome(alone)


@pytest.mark.parametrize("which", [0, 1])
def test_any_rank_that_is_told_to_stop_stops_all(tmp_path: Path, alone: Path, which: int) -> None:
    started = Started(tmp_path, train("ranks=2"))
    (other,) = started.others()
    os.kill([started.process.pid, other][which], signal.SIGTERM)
    said = started.ended(within=20)
    assert started.process.returncode == 143, said
    assert status(started.run)["status"] == "interrupted"
    assert said.endswith("Next:  fewshot resume run\n")
    assert gone(other)
    assert resumed(started.run) == outcome(alone)


def test_torchrun_starts_a_run_once_more(tmp_path: Path, alone: Path) -> None:
    """As after a crash: it goes on from its checkpoint, in the folder that it has."""
    words = ["--max-restarts=1", "--monitor-interval=0.1", "-m", *FEWSHOT[2:]]
    started = Started(tmp_path, [*TORCHRUN, *words, "train", *RUN, "run.dir=run"])
    os.kill(started.others()[-1], signal.SIGKILL)
    said = started.ended(within=SECONDS)
    assert started.process.returncode == 0, said
    assert outcome(started.run) == outcome(alone)


def test_torchrun_stops_all_ranks(tmp_path: Path, alone: Path) -> None:
    started = Started(tmp_path, [*TORCHRUN, "-m", *FEWSHOT[2:], "train", *RUN, "run.dir=run"])
    started.process.terminate()
    started.ended(within=30)
    assert status(started.run)["status"] == "interrupted"
    assert resumed(started.run) == outcome(alone)


def test_srun_is_known_by_its_own_variables(tmp_path: Path) -> None:
    """Those of a step with one task; those of a job alone change nothing, without ranks=slurm."""
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NODEID": "0"}
    step["SLURM_STEP_TASKS_PER_NODE"] = "1"

    def done(words: list[str], **told: str) -> subprocess.CompletedProcess[str]:
        command = [*FEWSHOT, "train", *SHORT, *words]
        environment = os.environ | job | told
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert done(["run.dir=a"]).returncode == 0
    refused = done(["run.dir=b", "ranks=slurm"])
    assert refused.returncode == 2
    assert refused.stderr == (
        "fewshot: ranks=slurm: srun did not start this; expected `srun fewshot train ...`\n"
    )
    assert not (tmp_path / "b").exists()
    assert done(["run.dir=b", "ranks=slurm"], **step).returncode == 0
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_what_torchrun_cannot_do_costs_a_line(tmp_path: Path) -> None:
    started = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    started["LOCAL_WORLD_SIZE"] = "2"
    lines = {
        ("ranks=3",): "ranks=3: torchrun started 2; expected no ranks= beside torchrun",
        ("-m", "seed=1,2"): "-m: torchrun starts 2 processes of one run; expected a sweep without "
        "it, with ranks= for each job",
    }
    for words, line in lines.items():
        done = subprocess.run(
            [*FEWSHOT, "train", *words],
            cwd=tmp_path,
            env=os.environ | started,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (2, f"fewshot: {line}\n")
    assert not list(tmp_path.iterdir())


def test_a_rank_that_dies_before_it_joins_ends_the_run_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        train("ranks=2"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + SECONDS
    while not (begun := [each for each in children(process.pid) if is_a_rank(each)]):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(begun[0], signal.SIGKILL)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the run failed: rank 1 was killed by SIGKILL" in said


def test_more_ranks_than_any_host_has_room_for_cost_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*FEWSHOT, "train", "ranks=100000"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch(
        r"fewshot: ranks=100000: this host has \d+ cores?; expected at most \d+\n", done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_a_rank_with_nothing_to_do_has_compiled_nothing(tmp_path: Path) -> None:
    words = *SHORT, "algo=reptile", "algo.inner_steps=2", "meta_batch=1", "compile=true", "ranks=2"
    done = subprocess.run(
        [*FEWSHOT, "train", *words, "run.dir=run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "leaves 1 of the 2 ranks nothing to do" in done.stderr
    assert done.stderr.count("Compiled in ") == 1
