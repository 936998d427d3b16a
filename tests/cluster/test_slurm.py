"""A sweep on a real SLURM: what each event leaves, and what the same command does next."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cluster.slurm import Slurm
from conftest import CHECKOUT

SINE = [
    *("data=sinusoid", "model=mlp", "ways=1", "threads=1", "log_every=100"),
    *("eval.queries=5", "eval.tasks=6", "eval.valid_tasks=4", "eval.every=100"),
]
LONG, LONGER, ENDLESS = "iterations: 1200", "iterations: 3000", "iterations: 1000000"
STOPS = 15  # seconds until a job has stopped that was told to; SLURM would kill it after 30

Found = TypeVar("Found")


def until(
    look: Callable[[], Found],
    what: str,
    patience: float = 300,
    sweep: subprocess.Popen[bytes] | None = None,
) -> Found:
    """Wait for something that is true, and return it; in vain once the sweep is over."""
    end = time.monotonic() + patience
    while True:
        over = time.monotonic() > end or (sweep is not None and sweep.poll() is not None)
        if found := look():
            return found
        assert not over, f"waited in vain until {what}"
        time.sleep(0.1)


class Sweep:
    """A sweep command on SLURM, over experiments of its own, and what it left so far.

    Args:
        experiments: lines of YAML by name.
        words: more of the command line.
    """

    def __init__(self, slurm: Slurm, folder: Path, experiments: dict[str, str], *words: str):
        self.path, self.several = folder / "s", len(experiments) > 1
        (folder / "my" / "experiment").mkdir(parents=True, exist_ok=True)
        for seed, (name, line) in enumerate(experiments.items()):
            text = f"# @package _global_\n{line}\nseed: {seed}\n"
            (folder / "my" / "experiment" / f"{name}.yaml").write_text(text)
        names = ",".join(experiments)
        cpus = [] if any("cpus" in word for word in words) else ["hydra.launcher.cpus_per_task=1"]
        self.said = folder / f"said.{time.monotonic_ns()}"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "fewshot_cli", "train", "-m", "--config-dir=my"),
                    *(f"experiment={names}", *SINE, "sweep.dir=s"),
                    *("hydra/launcher=submitit_slurm", "hydra.launcher.mem_gb=1", *cpus, *words),
                ],
                cwd=folder,
                env=slurm.env,
                stdout=said,
                stderr=said,
            )

    def end(self, patience: float = 500) -> tuple[int, str]:
        """Its exit status and all that it said, once it is over."""
        try:
            return self.process.wait(patience), self.said.read_text()
        finally:
            self.process.kill()

    def stop(self) -> tuple[int, str]:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.end(150)

    def job(self, name: str) -> Path:
        """The folder of a job, once it is there."""
        found = f"experiment={name}_*/.hydra" if self.several else "*/.hydra"
        until(lambda: list(self.path.glob(found)), f"{name} began", sweep=self.process)
        return next(self.path.glob(found)).parent

    def status(self, name: str) -> tuple[str | None, str | None]:
        """The status and the error of a job."""
        try:
            read: dict[str, Any] = json.loads((self.job(name) / "status.json").read_text())
        except FileNotFoundError:
            return None, None
        return read["status"], read["error"]

    def is_(self, name: str, status: str, patience: float = 120) -> None:
        """Wait for a job to say so."""
        until(lambda: self.status(name)[0] == status, f"{name} is {status}", patience, self.process)

    def trains(self, name: str, after: int = 0) -> int:
        """Wait until a job is in its outer loop with a checkpoint, and return its process.

        Args:
            after: an earlier process of the job, whose lock may outlive it for a moment.
        """
        checkpoint = self.job(name) / "checkpoints" / "last.pt"

        def process() -> int:
            found = self.writer(name) if checkpoint.exists() else 0
            return 0 if found == after else found

        return until(process, f"{name} trains", sweep=self.process)

    def writer(self, name: str) -> int:
        """The process in SLURM that holds the lock of a job's folder; a sweep only looks at it."""
        inode = (self.job(name) / ".lock").stat().st_ino
        held = re.search(
            rf"FLOCK +ADVISORY +WRITE (\d+) [0-9a-f:]+:{inode} ", Path("/proc/locks").read_text()
        )
        return int(held[1]) if held and "SLURM_JOB_ID" in environment(int(held[1])) else 0

    def iteration(self, name: str) -> int:
        """The last one of meta-training in its metrics.csv."""
        lines = (self.job(name) / "metrics.csv").read_text().splitlines()
        rows = [line for line in lines if ",train," in line]
        return int(rows[-1].partition(",")[0]) if rows else 0


def id_of(pid: int) -> str:
    """The id in SLURM of the job that a process belongs to."""
    found = environment(pid)
    if "SLURM_ARRAY_JOB_ID" not in found:
        return found["SLURM_JOB_ID"]
    return f"{found['SLURM_ARRAY_JOB_ID']}_{found['SLURM_ARRAY_TASK_ID']}"


def environment(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(word.partition("=")[::2] for word in words)


def is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"  # its locks are free too


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    subprocess.run(["kill", f"-{number.value}", str(pid)], check=True)
    until(lambda: is_gone(pid), f"{pid} is gone", 20)


def test_each_end_of_a_job_is_told_apart(slurm: Slurm, tmp_path: Path) -> None:
    experiments = {
        "killed": LONG,
        "cancelled": ENDLESS,
        "requeued": LONG,
        "memory": "meta_batch: 400000",
        "diverged": "algo: {inner_lr: 1.0e+30, inner_steps: 3}",
        "crashed": ENDLESS,
    }
    sweep = Sweep(slurm, tmp_path, experiments)

    cancelled, requeued = sweep.trains("cancelled"), sweep.trains("requeued")
    slurm.run("scancel", id_of(cancelled))
    slurm.run("scontrol", "requeue", id_of(requeued))
    kill(sweep.trains("killed"))
    until(lambda: is_gone(cancelled) and is_gone(requeued), "both stopped", STOPS)
    for name in ("cancelled", "requeued"):
        assert sweep.status(name)[0] == "interrupted"
        assert sweep.iteration(name) > 0

    crashed = sweep.trains("crashed")
    kill(crashed, signal.SIGSEGV)
    kill(sweep.trains("crashed", after=crashed), signal.SIGSEGV)

    status, said = sweep.end()
    assert status == 1, said
    assert slurm.queue() == []
    ended = {name: sweep.status(name) for name in experiments}
    assert ended["killed"] == ended["requeued"] == ("completed", None)
    for name in ("killed", "requeued"):
        rows = (sweep.job(name) / "metrics.csv").read_text().splitlines()
        assert len(rows) == len(set(rows))
        assert sweep.iteration(name) == 1200
    assert ended["cancelled"] == ("interrupted", "cancelled in SLURM, as by scancel")
    assert ended["crashed"] == ("failed", "its process was killed by SIGSEGV")
    assert ended["memory"][0] == ended["diverged"][0] == "failed"
    assert "used more memory than it asked for" in str(ended["memory"][1])
    assert "inner_lr" in str(ended["diverged"][1])
    for name in ("cancelled", "memory", "diverged", "crashed"):
        state, error = ended[name]
        assert f"fewshot: {sweep.job(name).relative_to(tmp_path)} {state}: {error}" in said
    assert "2 of 6 jobs completed: s" in said
    assert "Traceback" not in said


def test_a_time_limit_queues_a_job_again_and_ctrl_c_cancels_it(
    slurm: Slurm, tmp_path: Path
) -> None:
    # SLURM may send the signal half a minute early, and a job needs as long until it trains.
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=40"]
    again = Sweep(slurm, tmp_path / "again", {"long": ENDLESS}, *limit)
    once = Sweep(
        *(slurm, tmp_path / "once", {"long": ENDLESS}, *limit, "hydra.launcher.max_num_timeout=0")
    )
    first = again.trains("long")
    job_id = id_of(first)
    until(lambda: is_gone(first), "the limit came")
    assert again.status("long") == ("interrupted", "its time limit came, and it was queued again")
    before = again.iteration("long")
    second = again.trains("long", after=first)
    assert id_of(second) == job_id
    until(lambda: again.iteration("long") > before, "the job went on")

    status, said = again.stop()
    assert status == 130, said
    assert is_gone(second)
    assert again.status("long") == ("interrupted", "told to stop by a signal")
    assert "The same with sweep.dir=s goes on with what is missing" in said

    status, said = once.end()
    assert status == 1, said
    why = "its time limit came once more than hydra.launcher.max_num_timeout allows"
    assert once.status("long") == ("interrupted", why)
    assert f" interrupted: {why}" in said
    assert slurm.queue() == []


def test_jobs_that_ctrl_c_left_are_found_again_and_outlive_a_dead_node(
    slurm: Slurm, tmp_path: Path
) -> None:
    words = ["hydra.launcher.cpus_per_task=4", "--leave-jobs"]  # a whole node
    experiments = {"a": LONGER, "b": LONGER, "waits": LONG}  # a must not end while b begins
    sweep = Sweep(slurm, tmp_path, experiments, *words)
    pids = [sweep.trains(name) for name in "ab"]
    status, said = sweep.stop()
    assert status == 130, said
    assert "3 jobs go on in SLURM" in said
    assert not any(map(is_gone, pids))

    sweep = Sweep(slurm, tmp_path, experiments, *words)
    (node,) = [line.split()[2] for line in slurm.queue() if line.startswith(f"{id_of(pids[0])} ")]
    slurm.kill_node(node)
    until(lambda: any("PENDING" in line for line in slurm.queue()), "the death is noticed")
    slurm.start_node(node)
    status, said = sweep.end()
    assert status == 0, said
    assert "3 of 3 jobs completed: s" in said
    assert len(list(tmp_path.glob("s/.submitit/[0-9]*_*"))) == 3  # none was submitted twice
    assert slurm.queue() == []
    slurm.wait_until_idle()


def test_without_accounts_a_death_is_noticed_and_the_same_command_goes_on(
    slurm_without_accounts: Slurm, tmp_path: Path
) -> None:
    sweep = Sweep(slurm_without_accounts, tmp_path, {"killed": LONG})
    first = sweep.trains("killed")
    kill(first)
    died = time.monotonic()
    kill(sweep.trains("killed", after=first))
    status, said = sweep.end(120)
    assert status == 1, said
    assert time.monotonic() - died < 120  # two deaths
    assert sweep.status("killed") == ("failed", "its process was killed by SIGKILL")
    before = sweep.iteration("killed")

    # What was completed stays so, when SLURM queues it again.
    sweep = Sweep(slurm_without_accounts, tmp_path, {"killed": LONG})
    job_id = id_of(sweep.trains("killed"))
    sweep.is_("killed", "completed")
    slurm_without_accounts.run("scontrol", "requeue", job_id)
    status, said = sweep.end()
    assert status == 0, said
    assert 0 < before < sweep.iteration("killed") == 1200
    assert sweep.status("killed") == ("completed", None)
    assert slurm_without_accounts.queue() == []


def test_the_script_of_the_docs_is_submitted_unchanged(slurm: Slurm, tmp_path: Path) -> None:
    docs = (CHECKOUT / "docs" / "sweeps.md").read_text()
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", docs, re.DOTALL)
    (tmp_path / "sweep.sh").write_text(script)
    env = slurm.env | {"PATH": f"{Path(sys.executable).parent}:{slurm.env['PATH']}"}

    def submit(name: str, *words: str) -> Callable[[], str]:
        """Submit it in a folder of its own, and return what waits for what it says."""
        (tmp_path / name).mkdir()
        sbatch = ["sbatch", "--wait", "--output=said", str(tmp_path / "sweep.sh"), *words]
        process = subprocess.Popen(sbatch, cwd=tmp_path / name, env=env)

        def said() -> str:
            process.wait(500)
            return (tmp_path / name / "said").read_text()

        return said

    few = ["algo=maml,reptile", "seed=1", "iterations=50"]
    works = submit("works", *SINE, *few)
    gone = submit("gone", "data=omniglot", "data.root=gone", *few)
    assert "2 of 2 jobs completed: sweep" in works(), works()
    # The data is the jobs' affair: nothing is loaded where the sweep runs.
    found = re.findall(r"fewshot: sweep/\S* failed: data.root=\S*gone: expected", gone())
    assert len(found) == 2, gone()
    assert slurm.queue() == []
