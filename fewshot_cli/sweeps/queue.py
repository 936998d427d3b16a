"""The jobs of a sweep in SLURM's queue: waited for, found again, cancelled, and why each died.

submitit asks `sacct`, which fails where SLURM keeps no accounts, and asks less and less often, up
to ten minutes apart. `squeue` answers everywhere, and at once for all jobs, also for those that
ended in the last minutes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from submitit import SlurmJob
from submitit.core.core import InfoWatcher
from submitit.core.utils import DelayedSubmission, JobPaths, pickle_load

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import INTERRUPTED, KILLED, RUNNING, RunDirectory, shown
from fewshot_cli.runs.signals import terminable
from fewshot_cli.sweeps.directory import folder_told

SECONDS_BETWEEN_ASKS = 10
SECONDS_TO_END = 60.0  # after scancel; SLURM kills a job after 30 if it is not told otherwise
SECONDS_TO_APPEAR = 3.0  # of a result, on a disk that another host wrote to
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
GONE = "GONE"  # SLURM does not remember it any more
# Ends that somebody asked for. Any other is a death, after which a job is tried once more.
WANTED = {
    "CANCELLED": "cancelled in SLURM, as by scancel",
    "DEADLINE": "its deadline in SLURM passed",
    "PREEMPTED": "SLURM gave its place to another job",
    "TIMEOUT": "its time limit in SLURM passed",
}
MEMORY = "SLURM killed it: it used more memory than it asked for with hydra.launcher.mem_gb"
# SLURM's own lines in the log of a job, by its cgroups or by its polling. Its states do not tell
# where only a part of the job was killed.
OF_MEMORY = re.compile(r"oom[-_ ]kill|: Out Of Memory|exceeded (job )?memory limit", re.IGNORECASE)


class Queue(InfoWatcher):
    """What submitit asks for the state of a job. It knows the jobs that this sweep waits for.

    Args:
        sweep: the folder of the sweep.
    """

    def __init__(self, sweep: Path) -> None:
        super().__init__(delay_s=SECONDS_BETWEEN_ASKS)
        self.sweep = sweep
        self.found: set[str] = set()  # what other commands submitted

    def update(self) -> None:
        """Ask; where SLURM's controller does not answer, everything stays as it was."""
        if (told := _ask()) is not None:
            gone = {job_id: {"State": GONE} for job_id in self._registered}
            self._info_dict = gone | told
        self._last_status_check = time.time()

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return self.get_info(job_id, mode).get("State", "UNKNOWN")

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        return self.get_state(job_id, mode) in {GONE, *ENDED}

    def left(self) -> set[str]:
        """The jobs that wait or run."""
        self.update()
        return {job_id for job_id in self._registered if not self.is_done(job_id, "cache")}

    def finish(self) -> None:
        """Let jobs that left a result end, and cancel copies of them that were queued again."""
        end = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < end and {*map(self._state, self.left())} - {"PENDING"}:
            time.sleep(1)
        self.cancel(self.left())

    def _state(self, job_id: str) -> str:
        return self.get_state(job_id, "cache")

    def cancel(self, job_ids: set[str]) -> None:
        """Cancel them, and return when they have stopped."""
        end = time.monotonic() + SECONDS_TO_END
        if job_ids:
            subprocess.run(["scancel", *job_ids], capture_output=True, check=False)
        while self.left() & job_ids and time.monotonic() < end:
            time.sleep(1)

    def submitted(self, folder: str, wanted: set[str]) -> dict[str, SlurmJob[Any]]:
        """What earlier commands have in the queue, by the name of the run's folder.

        Args:
            folder: of submitit's files, with %j for a job's id.
            wanted: names to look for.
        """
        found = {}
        for job_id, info in (_ask() or {}).items():
            paths = JobPaths(folder, job_id)
            if info["State"] not in ENDED and paths.submitted_pickle.exists():
                name = folder_told(DelayedSubmission.load(paths.submitted_pickle).args[0])
                if name in wanted:
                    found[name] = SlurmJob[Any](folder, job_id)
                    self.found.add(job_id)
        return found

    def results(self, job: SlurmJob[Any]) -> list[JobReturn]:
        """Wait for a job, and tell in status.json why it died, where submitit would raise."""
        job.wait()
        end = time.monotonic() + SECONDS_TO_APPEAR
        while not job.paths.result_pickle.exists() and time.monotonic() < end:
            time.sleep(0.2)
        try:
            outcome, result = pickle_load(job.paths.result_pickle)
        except (OSError, EOFError):
            self._explain(job)
        else:
            if outcome == "success":
                return [result]
        return [JobReturn(status=JobStatus.FAILED, _return_value=RuntimeError("it died"))]

    def _explain(self, job: SlurmJob[Any]) -> None:
        """Give a run a reason that its process had no time to write.

        A run that died is left as `running`, with the reason: the sweep tries it once more.
        """
        if not (name := folder_told(job.submission().args[0])):
            return
        run = RunDirectory(self.sweep / name)
        state, told = self.get_state(job.job_id, "cache"), run.state()
        if state in WANTED and told in (None, INTERRUPTED):
            run.mark(INTERRUPTED, WANTED[state])
        elif told is None or run.was_killed():
            run.mark(RUNNING, self._death(job))

    def _death(self, job: SlurmJob[Any]) -> str:
        info, log = self.get_info(job.job_id, "cache"), ""
        with suppress(OSError):
            log = job.paths.stderr.read_text(encoding="utf-8", errors="replace")
        if info.get("State") == "OUT_OF_MEMORY" or OF_MEMORY.search(log):
            return MEMORY
        if info.get("State") in ("NODE_FAIL", "BOOT_FAIL"):
            return "its node failed"
        status = int(info.get("exit", 0))  # as of wait(); a shell makes 128 + N of signal N
        number = status & 127 or (status >> 8) - 128
        if number > 0:
            with suppress(ValueError):
                return f"{KILLED} by {signal.Signals(number).name}"
        if status:
            return (
                f"its process ended with exit status {status >> 8}; see {shown(job.paths.stderr)}"
            )
        return KILLED


def _ask() -> dict[str, dict[str, str]] | None:
    """The state and the exit status of each of the user's jobs by its id; None without an answer.

    It asks for all of them: for one that SLURM forgot, squeue fails as if nobody answered.
    """
    form = "JobArrayID:64,State:32,exit_code:16"
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--Format={form}"]
    try:
        said = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=SECONDS_TO_END
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split() for line in said.stdout.splitlines()]
    return {job_id: {"State": state, "exit": status} for job_id, state, status in rows}


@contextmanager
def awaited(sweep: Path, leave: bool) -> Iterator[Queue]:
    """Have submitit wait for its jobs by `squeue`; what is in the queue at the end is cancelled.

    That is all that it submitted, where the sweep is told to stop. At another end, it is copies of
    jobs that SLURM queued again although they came to their end.

    Args:
        leave: where the sweep is told to stop, let its jobs go on.
    """
    for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        del os.environ[name]  # of the SLURM job that this process is in, not of those to come
    queue, watcher, results = Queue(sweep), SlurmJob.watcher, SlurmJob.results
    SlurmJob.watcher = queue  # type: ignore[assignment]
    SlurmJob.results = lambda job: queue.results(job)  # type: ignore
    try:
        with terminable():
            yield queue
    except (KeyboardInterrupt, SystemExit):
        left = queue.left()
        stay = left if leave else left & queue.found
        queue.cancel(left - stay)
        if stay:
            jobs = "1 job goes" if len(stay) == 1 else f"{len(stay)} jobs go"
            arrays = " ".join(sorted({job_id.partition("_")[0] for job_id in stay}))
            say(f"{jobs} on in SLURM. The same command waits for them; scancel {arrays} ends them")
        raise
    else:
        queue.finish()
    finally:
        SlurmJob.watcher, SlurmJob.results = watcher, results  # type: ignore[method-assign]
