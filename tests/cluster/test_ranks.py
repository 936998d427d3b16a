"""One run over the two nodes of a real SLURM, each with a network of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.slurm import Slurm
from helpers import outcome

FEWSHOT = [sys.executable, "-m", "fewshot_cli"]
RUN = [
    *("data=sinusoid", "model=mlp", "ways=1", "threads=1", "iterations=400", "log_every=7"),
    *("meta_batch=4", "batching=stacked", "chunk=1", "checkpoint.every=5"),
    *("eval.every=200", "eval.tasks=12", "eval.valid_tasks=8", "run.dir=run"),
]
TRAIN = [*FEWSHOT, "train", *RUN, "ranks=slurm"]
ON_BOTH = ["srun", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=8G"]
SCRIPT = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=2 --cpus-per-task=1 --mem=8G --requeue --output=said
srun --kill-on-bad-exit=0 {command} >> lines 2>&1
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the run ends with as one process makes it."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([*FEWSHOT, "train", *RUN], cwd=folder, check=True)
    return outcome(folder / "run")


def until(holds: Callable[[], object], patience: float = 300) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def started(slurm: Slurm, folder: Path, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=slurm.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def is_at_work(folder: Path) -> bool:
    return (folder / "run" / "checkpoints" / "last.pt").exists()


def ranks_on(slurm: Slurm, node: str) -> list[int]:
    """The processes of fewshot on a node."""
    found = []
    for process in slurm.pids(node):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if b"fewshot_cli" in words and b"torch.distributed.run" not in words:
            found.append(process)
    return found


def status(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "run" / "status.json").read_text())
    return found


def resumed(folder: Path) -> dict[str, object]:
    done = subprocess.run(
        [*FEWSHOT, "resume", "run", "ranks=1"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return outcome(folder / "run")


def test_srun_over_both_nodes(slurm: Slurm, tmp_path: Path, alone: dict[str, object]) -> None:
    process = started(slurm, tmp_path, [*ON_BOTH, *TRAIN])
    until(lambda: is_at_work(tmp_path))
    assert [len(ranks_on(slurm, node)) for node in ("n1", "n2")] == [1, 1]
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert outcome(tmp_path / "run") == alone


def test_torchrun_over_both_nodes(slurm: Slurm, tmp_path: Path, alone: dict[str, object]) -> None:
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"),
        *("--rdzv-backend=c10d", "--rdzv-endpoint=n1:29400", "--rdzv-id=run"),
    ]
    process = started(slurm, tmp_path, [*ON_BOTH, *torchrun, "-m", "fewshot_cli", "train", *RUN])
    until(lambda: is_at_work(tmp_path))
    assert [len(ranks_on(slurm, node)) for node in ("n1", "n2")] == [2, 2]
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert outcome(tmp_path / "run") == alone


def test_a_rank_of_the_other_node_is_killed(
    slurm: Slurm, tmp_path: Path, alone: dict[str, object]
) -> None:
    process = started(slurm, tmp_path, [*ON_BOTH, *TRAIN])
    until(lambda: is_at_work(tmp_path))
    (victim,) = ranks_on(slurm, "n2")
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: status(tmp_path)["status"] == "failed", patience=10)
    assert time.monotonic() - began < 10
    assert re.fullmatch(r"rank 1 \(process \d+ on n2\) is gone", status(tmp_path)["error"])
    process.communicate()
    assert resumed(tmp_path) == alone


def test_scancel_leaves_a_checkpoint_in_seconds(
    slurm: Slurm, tmp_path: Path, alone: dict[str, object]
) -> None:
    job = submitted(slurm, tmp_path, TRAIN)
    until(lambda: is_at_work(tmp_path))
    slurm.run("scancel", job)
    until(lambda: status(tmp_path)["status"] == "interrupted", patience=15)
    until(lambda: not slurm.queue())
    assert resumed(tmp_path) == alone


def test_the_warning_before_the_limit_queues_the_job_again(
    slurm: Slurm, tmp_path: Path, alone: dict[str, object]
) -> None:
    """As `#SBATCH --signal=USR1@120` has SLURM send it: to all ranks of the step."""
    job = submitted(slurm, tmp_path, [*TRAIN, "requeue=true"])
    until(lambda: is_at_work(tmp_path))
    slurm.run("scancel", "--signal=USR1", job)
    until(lambda: not slurm.queue(), patience=400)
    assert status(tmp_path)["status"] == "completed", (tmp_path / "lines").read_text()
    assert outcome(tmp_path / "run") == alone


def submitted(slurm: Slurm, folder: Path, command: list[str]) -> str:
    """The number of a job of four ranks."""
    (folder / "job.sh").write_text(SCRIPT.format(command=" ".join(command)))
    said = slurm.run("sbatch", f"--chdir={folder}", str(folder / "job.sh"))
    return said.split()[-1]
