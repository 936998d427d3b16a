"""Where figures go besides metrics.csv, one tracker a file.

A file has `start(config, path)`, whose result is a `Tracker`, and where the tracker needs more than
fewshot does, `check(config)`, which imports it. The path is that of a run, or of a folder of runs,
which has pictures and tables alone.
"""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import yaml

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import COMPLETED, Metrics, RunDirectory, ending
from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError, in_short
from fewshot_cli.settings.measure import ACCURACY, LOSS, RMSE
from fewshot_cli.settings.schema import Config

HURRY = 15.0  # seconds at most for all trackers of a run that was told to stop
FIGURES = [name for each in (LOSS, ACCURACY, RMSE) for name in (each.name, f"{each.name}_ci95")]


class Tracker(Protocol):
    def add(self, rows: Sequence[Metrics]) -> None:
        """Take rows as they are added to metrics.csv."""
        ...

    def show(self, name: str, file: Path) -> None:
        """Take a picture, which is a PNG, or a table, which is a CSV; the file may go then."""
        ...

    def close(self, status: str, why: str | None) -> None:
        """The last word: `completed`, `failed` or `interrupted`, and why."""
        ...


def check(config: Config) -> None:
    """Refuse trackers that cannot work here; import what they need.

    Raises:
        UserError: one is not installed, or lacks something that the user has to do.
    """
    for kind in config.tracker.kinds:
        file = choices.code("trackers", kind)
        try:
            if hasattr(file, "check"):
                file.check(config)
        except ImportError as error:
            raise UserError(
                f"tracker={kind}: not installed; expected pip install 'fewshot[{kind}]'"
            ) from error


@contextmanager
def following(config: Config, directory: RunDirectory) -> Iterator[None]:
    """Hand the rows that a run writes inside the `with` to the trackers of its config.

    They work beside the run, which waits for none of them but at its end. One that fails, or does
    not come to an end in `tracker.timeout` seconds then, costs a line. They hear how the work
    inside the `with` ended.

    Raises:
        UserError: as `check` does.
    """
    if not directory.writes:  # the first rank of the run has the trackers
        yield
        return
    check(config)
    at_work = [_AtWork(kind, config, directory.path) for kind in config.tracker.kinds]

    def add(rows: Sequence[Metrics]) -> None:
        for each in at_work:
            each.work.put(methodcaller("add", rows))

    directory.follow = add
    end: BaseException | None = None
    try:
        yield
    except BaseException as error:
        end = error
        raise
    finally:
        directory.follow = None
        told_to_stop = end is not None and not isinstance(end, Exception)
        seconds = min(config.tracker.timeout, HURRY) if told_to_stop else config.tracker.timeout
        status, why = ending(end)
        _end(at_work, status, why or directory.stopped, seconds)


def show(config: Config, path: Path, files: Mapping[str, Path]) -> None:
    """Hand pictures and tables to the trackers of a run that has ended, or of a folder of runs.

    A tracker that fails, or takes longer than `tracker.timeout`, costs a line.

    Args:
        files: by name, PNG or CSV.
    """
    at_work = [_AtWork(kind, config, path) for kind in config.tracker.kinds]
    for each in at_work:
        for name, file in files.items():
            each.work.put(methodcaller("show", name, file))
    directory = RunDirectory(path)
    status, why = directory.ending() if directory.status.is_file() else (COMPLETED, None)
    _end(at_work, status or COMPLETED, why, config.tracker.timeout)


class _AtWork:
    """A tracker at work in a thread of its own."""

    def __init__(self, kind: str, config: Config, path: Path) -> None:
        self.kind, self.left = kind, False
        self.work = SimpleQueue[Callable[[Tracker], None] | None]()  # None: no more
        # A copy, since the run writes into its config. The context has the name of a sweep's job.
        given = copy.deepcopy(config), path
        self.thread = Thread(target=copy_context().run, args=(self._run, *given), daemon=True)
        self.thread.start()

    def end(self, status: str, why: str | None) -> None:
        self.ending = status, why
        self.work.put(None)

    def leave(self, why: str) -> None:
        """Say once that it is of no use any more."""
        if not self.left:
            self.left = True
            say(f"fewshot: tracker={self.kind}: {why}; left out")

    def _run(self, config: Config, path: Path) -> None:
        # Servers and their clients fail in ways of their own.
        try:
            tracker: Tracker = choices.function("trackers", self.kind, "start")(config, path)
        except Exception as error:
            self.leave(in_short(error))
            return
        try:
            while (work := self.work.get()) is not None:
                work(tracker)
        except Exception as error:
            self.leave(in_short(error))
            while self.work.get() is not None:
                pass
        try:
            tracker.close(*self.ending)
        except Exception as error:
            self.leave(in_short(error))


def _end(at_work: list[_AtWork], status: str, why: str | None, seconds: float) -> None:
    """Tell the trackers how it ended, and wait for them all together so many seconds at most."""
    last = time.monotonic() + seconds
    for each in at_work:
        each.end(status, why)
    for each in at_work:
        each.thread.join(max(0.0, last - time.monotonic()))
        if each.thread.is_alive():
            each.leave(f"no answer for {seconds:g} s")


def measured(row: Metrics) -> dict[str, float]:
    """A row's figures, named by its split: "valid/accuracy", "valid/accuracy_ci95"."""
    found = {name: getattr(row, name) for name in FIGURES}
    return {f"{row.split}/{name}": value for name, value in found.items() if value is not None}


def axis(row: Metrics) -> tuple[str, int]:
    """What a row's figures are drawn over: iterations, or in the meta-test adaptation steps."""
    name = "adaptation_steps" if row.split == "test" else "iteration"
    return name, getattr(row, name)


def settings(path: Path) -> dict[str, Any]:
    """What a run's config.yaml holds, nested, of plain values; a folder of runs has none."""
    file = RunDirectory(path).config
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def goes_on_after(path: Path) -> int | None:
    """The last iteration with a row in metrics.csv as a run begins; None for a new run."""
    try:
        with RunDirectory(path).metrics.open(encoding="utf-8", newline="") as file:
            rows = [int(row["iteration"]) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None
    return max(rows, default=None)
