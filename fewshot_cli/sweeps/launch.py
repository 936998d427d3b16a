"""Jobs to Hydra's launchers, in a process of their own: whatever kills it, the sweep goes on."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import FAILED, INTERRUPTED, KILLED, RUNNING, RunDirectory
from fewshot_cli.runs.signals import end_with_parent
from fewshot_cli.settings import compose, hydra_private
from fewshot_cli.settings.errors import UserError, in_short
from fewshot_cli.settings.schema import Config
from fewshot_cli.sweeps.directory import SweepDirectory, folder_word
from fewshot_cli.sweeps.job import job
from fewshot_cli.sweeps.on_optuna import OptunaSweeper
from fewshot_cli.sweeps.on_ray import RayLauncher
from fewshot_cli.sweeps.sharing import batches

if TYPE_CHECKING:  # it imports submitit, an extra
    from fewshot_cli.sweeps.queue import Queue

CHILD = [sys.executable, "-c", "from fewshot_cli.sweeps.launch import child; child()"]
SLURM, RAY = "hydra/launcher=submitit_slurm", "hydra/launcher=ray"
# Of jobs that go to a launcher at once; it holds what they return until all have ended.
JOBS_AT_ONCE = 64
SECONDS_BETWEEN_LOOKS = 1.0
DIED = "its process was killed; the memory may have run out"
WRONG, LOST = 2, 3  # exit statuses of the process: bad input; a worker of the launcher died


@dataclass(frozen=True, eq=False)
class Task:
    """A job to launch: its overrides, and where it goes."""

    overrides: list[str]
    run: RunDirectory


@dataclass(frozen=True)
class Sweep:
    """What all jobs share.

    Args:
        words: the overrides that speak to Hydra.
        searched: the overrides for a sweeper that chooses the jobs itself.
        needs: configs with all the data and devices that the jobs need on this machine.
        opening: lines to say once nothing is found wrong.
        leave: told to stop, leave the jobs that are in SLURM's queue.
    """

    directory: SweepDirectory
    words: list[str]
    searched: list[str]
    needs: list[Config]
    opening: list[str]
    leave: bool


def launch(sweep: Sweep, tasks: list[Task], look: Callable[[], None]) -> int:
    """Run the tasks, and those whose process was killed once more.

    When the process of the launcher dies, every job that was running is a suspect. The others go
    on first, then each suspect runs by itself, so that only the one to blame fails.

    Args:
        look: called now and then, to tell what is on the disk.

    Returns:
        An exit status: 0 when all jobs ended in some way, 2, 130 or 143.
    """
    if sweep.searched:
        return abs(_in_a_process(sweep, [], look))
    # Jobs in SLURM's queue outlive the process that waits for them, and are found again.
    unmet = {None, RUNNING} if SLURM in sweep.words else {None}
    groups = [tasks]
    tried = set(tasks) if RAY in sweep.words else set[Task]()  # its launcher tries twice itself
    while groups:
        group = groups.pop(0)
        status = _in_a_process(sweep, group, look)
        sweep = replace(sweep, needs=[], opening=[])  # they were there at the start
        if status > 0 and status != LOST:
            return status
        if status == LOST and SLURM in sweep.words:  # nothing could be submitted
            return 1
        killed = [task for task in group if task.run.was_killed()]
        others = [task for task in group if task.run.state() in unmet] if status else []
        if status and len(group) == 1 and group[0].run.state() in (None, INTERRUPTED):
            killed, others = group, []
        if status and not killed:
            return 1
        for task in killed:
            if task in tried:
                why = task.run.ending()[1]
                task.run.mark(FAILED, why if why not in (None, KILLED) else DIED)
        again = [task for task in killed if task not in tried]
        tried.update(again)
        # Where the jobs had processes of their own, the launcher came to its end.
        suspects = [[task] for task in again] if status else [again]
        groups = [each for each in (others, *suspects, *groups) if each]
    return 0


def _in_a_process(sweep: Sweep, tasks: list[Task], look: Callable[[], None]) -> int:
    """Its exit status, negative for a signal. Interrupts are passed on to it."""
    # With a group of its own, since a terminal's Ctrl-C goes to a whole group and is passed on too.
    process = subprocess.Popen([*CHILD, str(os.getpid())], stdin=subprocess.PIPE, process_group=0)

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    kept = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert process.stdin is not None
        with process.stdin:
            pickle.dump((sweep, tasks), process.stdin)
        while True:
            try:
                process.wait(SECONDS_BETWEEN_LOOKS)
                return process.returncode
            except subprocess.TimeoutExpired:
                look()
    finally:
        look()
        for number, handler in kept.items():
            signal.signal(number, handler)


def child() -> None:
    """What runs in that process; the sweep and its tasks come by standard input."""
    end_with_parent(int(sys.argv[1]))
    sweep, tasks = pickle.load(sys.stdin.buffer)
    try:
        look_at_needs(sweep.needs)
        sweep.directory.reserve()
        for line in sweep.opening:
            say(line)
        for task in tasks:  # a status from now on is of this time
            task.run.forget_ending()
        _hand_to_launcher(sweep, tasks)
    except UserError as error:
        say(f"fewshot: {error}")
        sys.exit(WRONG)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def look_at_needs(configs: list[Config]) -> None:
    """Load what the jobs will load, so that what is wrong with it costs no run directory.

    Raises:
        UserError: names what is wrong.
    """
    from fewshot_cli import trackers
    from fewshot_cli.training.setup import device_and_data

    seen: list[object] = []
    for config in configs:
        # Whether a task fits the data is only known here for data that is counted when loaded.
        task = [config.ways, config.shots, config.queries, config.eval.queries]
        algo = [config.algo.train_shots, config.algo.meta_trains]
        tasks = [*task, *algo] if config.data.counted else []
        data = replace(config.data, fingerprint=None)  # which shows when it is loaded
        of_shape = config.model if config.data.image_size is None else None  # may not suit it
        asked = (data, config.cache_dir, config.device, config.compile, tasks, of_shape)
        if asked not in seen:
            seen.append(asked)
            device_and_data(config)
        if config.tracker not in seen:
            seen.append(config.tracker)
            trackers.check(config)


def _hand_to_launcher(sweep: Sweep, tasks: list[Task]) -> None:
    """What Hydra's own sweepers do, with the jobs that are wanted."""
    with compose.initialize():
        hydra_private.add_plugin(RayLauncher)
        hydra_private.add_plugin(OptunaSweeper)
        context, config = hydra_private.sweep_context([*sweep.searched, *sweep.words])
        try:
            with _every_job_awaited(sweep) as queue:
                if sweep.searched:
                    sweeper = Plugins.instance().instantiate_sweeper(
                        hydra_context=context, task_function=job, config=config
                    )
                    sweeper.sweep(sweep.searched)
                    return
                launcher = Plugins.instance().instantiate_launcher(
                    hydra_context=context, task_function=job, config=config
                )
                folder = config.hydra.launcher.get("submitit_folder")
                names = {task.run.path.name for task in tasks}
                there = queue.submitted(folder, names) if queue else {}
                tasks = [task for task in tasks if task.run.path.name not in there]
                # Ray's keeps no more of a job than a number.
                many = len(tasks) if isinstance(launcher, RayLauncher) else JOBS_AT_ONCE
                most = 1 if hydra_private.is_basic(launcher) else many
                at_once = config.hydra.sweeper.get("max_batch_size") or most
                first = 0
                for batch in batches(tasks, at_once):
                    words = [[*task.overrides, folder_word(task.run.path.name)] for task in batch]
                    launcher.launch(words, initial_job_idx=first)
                    first += len(batch)
                for submitted in there.values():
                    submitted.results()
        except UserError:
            raise
        # Of a worker that was killed: each plugin has an error of its own for it.
        except Exception as error:
            say(f"fewshot: {type(error).__name__}: {in_short(error)}")
            sys.exit(LOST)


@contextmanager
def _every_job_awaited(sweep: Sweep) -> Iterator[Queue | None]:
    """Hydra's submitit plugin gives up at the first job whose process died; wait for all."""
    if SLURM in sweep.words:
        from fewshot_cli.sweeps.queue import awaited

        with awaited(sweep.directory.path, sweep.leave) as queue:
            yield queue
        return
    if "hydra/launcher=submitit_local" not in sweep.words:
        yield None
        return
    from submitit import LocalJob
    from submitit.core.utils import FailedJobError, UncompletedJobError

    results = LocalJob.results

    def or_nothing(job: LocalJob[object]) -> list[object]:
        try:
            return list(results(job))
        except (FailedJobError, UncompletedJobError):
            return [None]

    LocalJob.results = or_nothing  # type: ignore[method-assign,assignment]
    try:
        yield None
    finally:
        LocalJob.results = results  # type: ignore[method-assign]
