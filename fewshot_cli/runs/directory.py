"""The run directory: who writes which file of it, and how it is read again."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import IO, Any
from uuid import uuid4

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from fewshot_cli.progress import say
from fewshot_cli.runs.signals import terminable
from fewshot_cli.settings import measure
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config, recorded


@dataclass(frozen=True)
class Metrics:
    """One row of metrics.csv: means over tasks, each with the half-width of its 95 % interval."""

    iteration: int
    split: str
    adaptation_steps: int
    tasks: int
    loss: float
    loss_ci95: float | None  # None for a single task
    accuracy: float | None  # 0..1; None for regression
    accuracy_ci95: float | None
    elapsed_s: float
    tasks_per_s: float
    # No columns, since the header of an earlier run's file has none.
    rmse: float | None = None  # of regression
    rmse_ci95: float | None = None
    calibration_error: float | None = None  # of a meta-test's last step; None for regression


COLUMNS = [field.name for field in fields(Metrics) if field.default is MISSING]
ENDINGS = COMPLETED, RUNNING, FAILED, INTERRUPTED = "completed", "running", "failed", "interrupted"
ASIDE = ".tmp"  # ends the name of a file that is not whole yet
KILLED = "its process was killed"
LOOKED_AT = 0.2  # seconds; whoever only looks holds the lock for a moment


class BusyError(UserError):
    """Another process is at work in the run directory."""


class RunDirectory:
    """Every file appears whole (written aside, then renamed); metrics.csv grows row by row.

    Attributes:
        writes: whether this process writes it.
    """

    writes = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped: str | None = None  # the limit that ended meta-training early
        self.follow: Callable[[Sequence[Metrics]], None] | None = None  # gets each row too
        self.metrics = path / "metrics.csv"
        self.summary = path / "summary.json"
        self.status = path / "status.json"
        self.config = path / "config.yaml"
        self.splits = path / "splits.csv"
        self.data = path / "data.json"
        self.test_tasks = path / "test_tasks.csv"
        self.test_contents = path / "test_contents.csv"
        self.test_classes = path / "test_classes.csv"
        self.test_confusions = path / "test_confusions.csv"
        self.test_calibration = path / "test_calibration.csv"
        self.lock = path / ".lock"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.previous = self.checkpoints / "previous.pt"  # the one before, should `last` be damaged
        self.best = self.checkpoints / "best.pt"

    def id(self) -> str:
        """By which trackers know the run: made once and kept, wherever the folder goes."""
        file = self.path / ".id"
        if not file.is_file():
            with atomic(file) as aside:
                aside.write(f"{uuid4().hex[:12]}\n")
        return file.read_text(encoding="utf-8").strip()

    def begin(self, config: Config, metrics: str = ",".join(COLUMNS) + "\n") -> None:
        """Write the config, metrics.csv as far as it goes already and the status `running`."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.record(config)
        with atomic(self.metrics) as file:
            file.write(metrics)
        self.mark(RUNNING)

    def record(self, config: Config) -> None:
        """Write config.yaml: the settings that the run reads."""
        with atomic(self.config) as file:
            file.write(OmegaConf.to_yaml(OmegaConf.create(recorded(config))))

    def write_data(self, kept: Mapping[str, Any]) -> None:
        """data.json: how the run read its table, for `evaluate` on other rows."""
        with atomic(self.data) as file:
            json.dump(kept, file)
            file.write("\n")

    def write_splits(self, splits: Mapping[str, Iterable[str]]) -> None:
        """splits.csv: `class, split`, a row for each class, in the first split that has it."""
        first = dict[str, str]()
        for split, names in splits.items():
            first |= {name: split for name in names if name not in first}
        self.write_table(self.splits, ("class", "split"), first.items())

    def add(self, rows: Sequence[Metrics]) -> None:
        """Append rows to metrics.csv, in one write.

        Raises:
            FileNotFoundError: somebody took the file away; a new one would lack the earlier rows.
        """
        lines = io.StringIO()
        csv.DictWriter(lines, COLUMNS, extrasaction="ignore", lineterminator="\n").writerows(
            map(asdict, rows)
        )
        with self.metrics.open("r+", encoding="utf-8", newline="") as file:
            file.seek(0, os.SEEK_END)
            file.write(lines.getvalue())
        if self.follow is not None:
            self.follow(rows)

    def write_test_tasks(self, rows: Iterable[tuple[int, int, float, float | None]]) -> None:
        """test_tasks.csv: `task, adaptation_steps, loss, accuracy`, a row for each pair."""
        with atomic(self.test_tasks) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["task", "adaptation_steps", "loss", "accuracy"])
            writer.writerows(rows)

    def write_table(
        self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """A CSV file whose words may be names of classes."""
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([columns, *rows])
        with atomic(path, "wb") as file:  # a folder's name may be any bytes
            file.write(lines.getvalue().encode("utf-8", "surrogateescape"))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        with atomic(self.summary) as file:
            json.dump(summary, file, indent=2)
            file.write("\n")

    def mark(self, status: str, error: str | None = None) -> None:
        """status.json: `running`, `completed`, `failed` or `interrupted`, and why.

        Where a limit ended meta-training, `stopped` says which.
        """
        with atomic(self.status) as file:
            ended = {} if self.stopped is None else {"stopped": self.stopped}
            json.dump({"status": status, "error": error, **ended}, file)
            file.write("\n")

    @contextmanager
    def recorded(self, aloud: bool = True, again: str | None = None) -> Iterator[None]:
        """Leave in status.json how the work inside the `with` ended; no other process writes here.

        Args:
            aloud: say on stderr what went wrong and what to type next; a sweep does it at its end.
            again: what to type where the work was interrupted; none: go on with this run.

        Raises:
            BusyError: another process is at work in this directory.
            SystemExit: 1 after an error, said in one line; traceback.txt has the rest. 143 after
                SIGTERM.
            KeyboardInterrupt: as it came.
        """
        self.stopped = None
        with self._locked(), terminable():
            try:
                yield
            except (KeyboardInterrupt, SystemExit) as end:
                self._mark_if_possible(*ending(end))
                say(f"fewshot: interrupted; what was written is in {shown(self.path)}")
                if aloud:
                    say(f"Next:  {again or self.way_on}")
                raise
            except Exception as error:
                status, line = ending(error)
                self._mark_if_possible(status, line, error)
                if aloud:
                    say(f"fewshot: the run failed: {line}; see {shown(self.path)}")
                    if self.has_checkpoint():
                        say(f"Next:  {self.way_on}")
                sys.exit(1)
            (self.path / "traceback.txt").unlink(missing_ok=True)  # of an earlier attempt
            self.mark(*ending(None))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold this directory's lock, which the system takes back from a process that ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.lock, timeout=LOOKED_AT)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"{shown(self.path)}: another process writes into it; expected one at a time"
            ) from error
        try:
            # On a network file system, a change to the folder shows what other hosts made in it.
            aside = self.path / f".{uuid4().hex[:8]}{ASIDE}"
            aside.touch()
            for folder in (self.path, self.checkpoints):
                for left in folder.glob(f".*{ASIDE}"):  # by a process that was killed
                    left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def forget_ending(self) -> None:
        """Take away how an earlier attempt ended, unless it is complete or in hand."""
        if self.state() in (None, COMPLETED):
            return
        with suppress(BusyError), self._locked():
            if self.state() != COMPLETED:
                self.status.unlink(missing_ok=True)

    @property
    def way_on(self) -> str:
        """What to type to go on with the run."""
        return f"fewshot resume {quote(str(shown(self.path)))}"

    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return self.last.exists() or self.previous.exists()

    def is_written(self) -> bool | None:
        """Whether a process is at work in this directory now; None where that cannot be told.

        Nothing is written, so that it can be asked of any directory.
        """
        try:
            file = os.open(self.lock, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe too
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # some file systems say the latter
            return True
        except OSError:  # of a file system without locks
            return None
        finally:
            os.close(file)
        return False

    def was_killed(self) -> bool:
        """It says that it runs, and nobody is at work on it."""
        # The lock first: a process writes how it ended before it lets go.
        return self.is_written() is False and self._told()[0] == RUNNING

    def _mark_if_possible(
        self, status: str, why: str | None, error: Exception | None = None
    ) -> None:
        """On a full disk, or in a directory that is gone, the line on stderr has to do."""
        try:
            if self.path.is_dir():  # atomic() would make it again
                self.mark(status, why)
                if error is not None:
                    with atomic(self.path / "traceback.txt") as file:
                        traceback.print_exception(error, file=file)
        except OSError:
            say(f"fewshot: cannot write {shown(self.status)}, which keeps its earlier status")

    def state(self) -> str | None:
        """How the run ended, or `running`; None where nothing can be read."""
        return self.ending()[0]

    def ending(self) -> tuple[str | None, str | None]:
        """The status and its error, as in status.json unless the process was killed since."""
        told = self._told()
        killed = told[0] == RUNNING and self.was_killed()
        return (INTERRUPTED, told[1] or KILLED) if killed else told

    def _told(self) -> tuple[str | None, str | None]:
        try:
            content = self.read(self.status)
        except UserError:
            return None, None
        return str(content.get("status")), content.get("error")

    def best_validation(self) -> float | None:
        """The goodness of the best meta-validation; None where none gave a number."""
        with self.metrics.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "valid"]
        measured = [(measure.of(row), row) for row in rows]
        found = (each.goodness(float(row[each.name])) for each, row in measured)
        return max((value for value in found if math.isfinite(value)), default=None)

    def read(self, path: Path) -> dict[str, Any]:
        """One of the JSON files.

        Raises:
            UserError: it is missing or no JSON object.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: expected a file that a run left there ({error})") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: expected a JSON object")
        return content


class Unwritten(RunDirectory):
    """For a process of a run whose directory another process writes."""

    writes = False

    def record(self, config: Config) -> None: ...

    def begin(self, config: Config, metrics: str = "") -> None: ...

    def write_data(self, kept: Mapping[str, Any]) -> None: ...

    def write_splits(self, splits: Mapping[str, Iterable[str]]) -> None: ...

    def add(self, rows: Sequence[Metrics]) -> None: ...

    def write_test_tasks(self, rows: Iterable[tuple[int, int, float, float | None]]) -> None: ...

    def write_table(
        self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None: ...

    def write_summary(self, summary: Mapping[str, Any]) -> None: ...


def new_name() -> str:
    """A name for a run or sweep that no other has: the time and a random part."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{uuid4().hex[:8]}"


def shown(path: Path) -> Path:
    """A path as the user would type it here."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def ending(error: BaseException | None) -> tuple[str, str | None]:
    """The status of work that ended with `error`, or with none, and why."""
    if error is None:
        return COMPLETED, None
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        said = error.code if isinstance(error.code, str) else None
        return INTERRUPTED, said or "told to stop by a signal"
    return FAILED, _in_a_line(error)


def _in_a_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{shown(Path(error.filename))}: " if isinstance(error.filename, str) else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that replaces `path` only when it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}{ASIDE}")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with aside.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and error.filename is None:  # of a write: a full disk
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
