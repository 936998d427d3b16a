"""SIGINT and SIGTERM: a run stops where it can go on from, or at once when told twice.

That is after a meta-update, or between two adaptation steps of a meta-validation.

A signal that is put off comes to whatever handled it before: for SIGUSR2 in a job of submitit's,
that is its handler, which queues the job again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any, NoReturn

from fewshot_cli.progress import say

# SLURM, told so, sends one of the last two before its limit; submitit asks for the last.
PUT_OFF = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
WARNINGS = PUT_OFF[2:]
SECONDS_BETWEEN_LOOKS = 0.5


class Waiting:
    """The signal that waits until the work comes to where it looks."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal that came
        self.earlier: dict[int, Any] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self.earlier[number](number, frame)
            return
        self.number = number
        say("fewshot: stopping at the next step; once more to stop at once")

    def is_there(self) -> bool:
        return self.number is not None

    def forget(self) -> None:
        self.number = None

    def deliver(self) -> None:
        """Do what the signal would have done. A handler that only returns lets the run go on."""
        number, self.number = self.number, None
        if number is not None:
            self.earlier[number](number, None)


@contextmanager
def put_off() -> Iterator[Waiting]:
    """Keep signals waiting inside the `with`, whose work looks at `.number` now and then."""
    waiting = Waiting()
    for each in PUT_OFF if _may_handle() else ():
        earlier = signal.getsignal(each)
        if callable(earlier):  # not ignored, nor left to the system
            waiting.earlier[each] = earlier
            signal.signal(each, waiting.note)
    try:
        yield waiting
    finally:
        for number, earlier in waiting.earlier.items():
            _give_back(number, waiting.note, earlier)
    waiting.deliver()


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM an exception that ends the work with exit status 143."""
    ours = _may_handle() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        if ours:
            _give_back(signal.SIGTERM, _exit, signal.SIG_DFL)


def end_in_peace() -> None:
    """Take no notice of SIGTERM any more.

    SLURM sends it to a job that it was told to queue again, which would cut short what the run
    writes at its end. SIGKILL follows in any case (`KillWait`).
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def warnable(warned: bool, requeue: bool) -> Iterator[None]:
    """Have SLURM's warning before its limit end the work as SIGTERM does.

    Args:
        warned: whether such a warning is to be expected.
        requeue: then have SLURM queue this job again.
    """

    def end(number: int, frame: FrameType | None) -> None:
        job = os.environ.get("SLURM_JOB_ID")
        if requeue and job is None:
            say("fewshot: requeue=true: this is no job of SLURM's, so that nothing is queued again")
        elif requeue and job is not None:
            end_in_peace()
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
            if done.returncode:
                say(f"fewshot: requeue=true: scontrol says: {' '.join(done.stderr.split())}")
        _exit(number, frame)

    theirs = {
        number: signal.signal(number, end)
        for number in (WARNINGS if warned and _may_handle() else ())
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, earlier in theirs.items():
            signal.signal(number, earlier)


@cache
def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when the one that started it is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def _give_back(number: int, ours: Any, earlier: Any) -> None:
    """Handle a signal as before, unless somebody changed that in the meantime."""
    if signal.getsignal(number) == ours:
        signal.signal(number, earlier)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()
