"""Bars where a person watches, a line now and then where nobody does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


# tqdm's own lock is a semaphore for all processes, and one that is killed leaves it behind.
tqdm.set_lock(RLock())
speaker: ContextVar[str] = ContextVar("speaker", default="")
silent = False  # of several processes at one work only the first one speaks


def be_silent() -> None:
    """Say and show nothing from now on."""
    global silent
    silent = True


@contextmanager
def quiet() -> Iterator[None]:
    """Say and show nothing inside the `with`."""
    global silent
    before, silent = silent, True
    try:
        yield
    finally:
        silent = before


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Begin each line inside the `with` with a name, since several jobs share the terminal."""
    before = speaker.set(f"[{name}] " if name else "")
    try:
        yield
    finally:
        speaker.reset(before)


def say(text: str = "") -> None:
    """Print a line on stderr without breaking a bar that is on the screen."""
    if not silent:
        tqdm.write(f"{speaker.get()}{text}", file=sys.stderr)


class Progress:
    """A bar on a terminal; else a line at the start, every 15 s and at the end.

    Both carry the rate and the latest numbers.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.before, self.said, self.latest = 0, 0, -1, ""
        self.start = self.last_line = time.monotonic()
        name = f"{speaker.get()}{label}"
        self.bar = (
            # leave=None: a bar inside another one goes away when it is done.
            tqdm(
                total=total,
                desc=name,
                unit=f" {unit}",
                leave=None,
                dynamic_ncols=True,
            )
            if sys.stderr.isatty() and not silent
            else None
        )

    def begin_at(self, done: int) -> None:
        """What an earlier process did already; it does not count for the rate."""
        self.done = self.before = done
        if self.bar is not None:
            self.bar.initial = self.bar.n = done

    def advance(self, count: int = 1, numbers: Mapping[str, str] | None = None) -> None:
        self.done += count
        if numbers is not None:
            self.latest = ", ".join(f"{name} {value}" for name, value in numbers.items())
        if self.bar is not None:
            self.bar.set_postfix_str(self.latest, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self.last_line, self.said = time.monotonic(), self.done
        rate = (self.done - self.before) / max(self.last_line - self.start, 1e-9)
        numbers = f", {self.latest}" if self.latest else ""
        say(f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s{numbers}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif error is None and self.total and self.said != self.done:
            self._line()
