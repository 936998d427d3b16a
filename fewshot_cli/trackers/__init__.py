"""Where numbers go besides metrics.csv, one tracker a file; each has `start(config, path)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import Metrics, RunDirectory, ending
from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import one_line
from fewshot_cli.settings.measure import ACCURACY, LOSS
from fewshot_cli.settings.schema import Config


class Tracker(Protocol):
    def add(self, rows: Sequence[Metrics]) -> None:
        """Take rows as they are added to metrics.csv."""
        ...

    def close(self, status: str, why: str | None) -> None:
        """The last word: `completed`, `failed` or `interrupted`, and why."""
        ...


@contextmanager
def following(config: Config, directory: RunDirectory) -> Iterator[None]:
    """Hand the rows that a run writes inside the `with` to the tracker of its config.

    A tracker that fails is left behind with one line; the run goes on. In the end it hears how
    the work inside the `with` ended.

    Raises:
        UserError: the tracker is not installed.
    """
    if not directory.writes:  # the first rank of the run has the tracker
        yield
        return
    tracker: Tracker = choices.function("trackers", config.tracker.kind, "start")(
        config, directory.path
    )
    left_out = False

    @contextmanager
    def left_out_if_it_fails() -> Iterator[None]:
        nonlocal left_out
        try:
            yield
        # Servers and their clients fail in ways of their own.
        except Exception as error:
            line = one_line(error)
            if not left_out:
                say(f"fewshot: tracker={config.tracker.name}: {line}; left out")
            directory.follow, left_out = None, True

    def add(rows: Sequence[Metrics]) -> None:
        with left_out_if_it_fails():
            tracker.add(rows)

    directory.follow = add
    end: BaseException | None = None
    try:
        yield
    except BaseException as error:
        end = error
        raise
    finally:
        directory.follow = None
        with left_out_if_it_fails():
            status, why = ending(end)
            tracker.close(status, why or directory.stopped)


def measured(row: Metrics) -> dict[str, float]:
    """A row's loss and accuracy, named by its split: "valid/accuracy"."""
    found = {each.name: getattr(row, each.name) for each in (LOSS, ACCURACY)}
    return {f"{row.split}/{name}": value for name, value in found.items() if value is not None}
