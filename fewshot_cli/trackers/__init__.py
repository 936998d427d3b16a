"""Where figures go besides metrics.csv, one tracker a file; each has `start(config, path)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from fewshot_cli import kinds
from fewshot_cli.config import Config
from fewshot_cli.progress import say
from fewshot_cli.runs.directory import Metrics, RunDirectory


class Tracker(Protocol):
    def add(self, rows: Sequence[Metrics]) -> None:
        """Take rows as they are added to metrics.csv."""
        ...

    def close(self) -> None: ...


@contextmanager
def following(config: Config, directory: RunDirectory) -> Iterator[None]:
    """Hand the rows that a run writes inside the `with` to the tracker of its config.

    A tracker that fails is left behind with one line; the run goes on.

    Raises:
        UserError: the tracker is not installed.
    """
    tracker: Tracker = kinds.call("trackers", config.tracker.kind, "start", config, directory.path)

    def add(rows: Sequence[Metrics]) -> None:
        try:
            tracker.add(rows)
        # Servers and their clients fail in ways of their own.
        except Exception as error:
            directory.follow = None
            say(f"fewshot: tracker={config.tracker.name}: {' '.join(str(error).split())}; left out")

    directory.follow = add
    try:
        yield
    finally:
        directory.follow = None
        tracker.close()


def figures(row: Metrics) -> dict[str, float]:
    """A row's loss and accuracy, named by its split: "valid/accuracy"."""
    found = {f"{row.split}/loss": row.loss}
    if row.accuracy is not None:
        found[f"{row.split}/accuracy"] = row.accuracy
    return found
