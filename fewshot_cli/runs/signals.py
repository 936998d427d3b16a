"""SIGINT and SIGTERM: a run stops where it can go on from, or at once when told twice.

That is after a meta-update, or between two adaptation steps of a meta-validation.

submitit (SLURM) puts handlers of its own in place, which submit the job again. They stay: a
signal that is put off comes to whatever handled it before.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from fewshot_cli.progress import say

# SLURM, told so by submitit, sends the last one before it takes the machine away.
PUT_OFF = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


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
            signal.signal(number, earlier)
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
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()
