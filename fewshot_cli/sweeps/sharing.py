"""Several sweep commands in one folder: each takes what is neither done nor in another's hands.

A job is in the hands of whoever holds the lock of its run directory. Its worker takes the lock and
then looks whether the job is complete, so that none is done twice; what is here only spares the
worker. The system takes a lock back from a process that ended, so that others take its jobs over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import COMPLETED, FAILED, RunDirectory
from fewshot_cli.runs.signals import terminable

SECONDS_BETWEEN_LOOKS = 1.0


class HasRun(Protocol):
    @property
    def run(self) -> RunDirectory: ...


Task = TypeVar("Task", bound=HasRun)


def batches(tasks: Sequence[Task], at_once: int) -> Iterator[list[Task]]:
    """What is left to do, some at a time, each looked at when its turn comes.

    What others are at work on comes last, once they gave it up. It ends when nobody has any left.
    """
    waited = False
    while tasks:
        busy = list[Task]()
        free = _free(tasks, busy)
        while batch := list(islice(free, at_once)):
            yield batch
            busy += [task for task in batch if task.run.is_written()]  # another was faster
        if len(busy) == len(tasks):
            if not waited:
                jobs = "1 job" if len(busy) == 1 else f"{len(busy)} jobs"
                say(f"Waiting for {jobs} that another command is at work on")
                waited = True
            with terminable():
                time.sleep(SECONDS_BETWEEN_LOOKS)
        tasks = busy


def _free(tasks: Sequence[Task], busy: list[Task]) -> Iterator[Task]:
    for task in tasks:
        if task.run.is_written():
            busy.append(task)
        # One that failed meanwhile did so in another command, and would fail again.
        elif task.run.state() not in (COMPLETED, FAILED):
            yield task
