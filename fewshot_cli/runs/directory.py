"""The run directory: who writes which file of it, and how it is read again."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from omegaconf import OmegaConf

from fewshot_cli.config import Config, UserError
from fewshot_cli.progress import say


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


COLUMNS = [field.name for field in fields(Metrics)]


class RunDirectory:
    """Every file appears whole (written aside, then renamed); metrics.csv grows row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.follow: Callable[[Sequence[Metrics]], None] | None = None  # gets each row too
        self.metrics = path / "metrics.csv"
        self.summary = path / "summary.json"
        self.status = path / "status.json"
        self.config = path / "config.yaml"
        self.test_tasks = path / "test_tasks.csv"
        self.checkpoints = path / "checkpoints"

    def begin(self, config: Config) -> None:
        """Write the config, the header of metrics.csv and the status `running`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic(self.config) as file:
            file.write(OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
        with atomic(self.metrics) as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)
        self.mark("running")

    def add(self, rows: Sequence[Metrics]) -> None:
        """Append rows to metrics.csv, in one write."""
        with self.metrics.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerows(map(asdict, rows))
        if self.follow is not None:
            self.follow(rows)

    def write_test_tasks(self, rows: Iterable[tuple[int, int, float, float | None]]) -> None:
        """test_tasks.csv: `task, adaptation_steps, loss, accuracy`, a row for each pair."""
        with atomic(self.test_tasks) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["task", "adaptation_steps", "loss", "accuracy"])
            writer.writerows(rows)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        with atomic(self.summary) as file:
            json.dump(summary, file, indent=2)
            file.write("\n")

    def mark(self, status: str, error: str | None = None) -> None:
        """status.json: `running`, `completed`, `failed` or `interrupted`, and why."""
        with atomic(self.status) as file:
            json.dump({"status": status, "error": error}, file)
            file.write("\n")

    @contextmanager
    def recorded(self, aloud: bool = True) -> Iterator[None]:
        """Leave in status.json how the work inside the `with` ended.

        Args:
            aloud: say on stderr what went wrong; a sweep does it at its end.

        Raises:
            SystemExit: 1 after an error, said in one line; traceback.txt has the rest.
            KeyboardInterrupt: as it came.
        """
        try:
            yield
        except KeyboardInterrupt:
            self.mark("interrupted", "interrupted from the keyboard")
            say(f"fewshot: interrupted; what was written is in {shown(self.path)}")
            raise
        except Exception as error:
            line = " ".join(str(error).split()) or type(error).__name__
            self.mark("failed", line)
            with atomic(self.path / "traceback.txt") as file:
                traceback.print_exception(error, file=file)
            if aloud:
                say(f"fewshot: the run failed: {line}; see {shown(self.path)}")
            sys.exit(1)
        self.mark("completed")

    def state(self) -> str | None:
        """The status in status.json; None where none can be read."""
        try:
            return str(self.read(self.status).get("status"))
        except UserError:
            return None

    def best_validation(self) -> float | None:
        """The best of the meta-validations: its accuracy, or for regression minus its loss."""
        with self.metrics.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "valid"]
        figures = [float(row["accuracy"] or -float(row["loss"])) for row in rows]
        return max(figures, default=None)

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


def new_name() -> str:
    """A name for a run or sweep that no other has: the time and a random part."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{uuid4().hex[:8]}"


def shown(path: Path) -> Path:
    """A path as the user would type it here."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that replaces `path` only when it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "b" not in mode
    with tempfile.NamedTemporaryFile(
        mode,
        encoding="utf-8" if text else None,
        newline="" if text else None,
        dir=path.parent,
        prefix=f".{path.name}.",
        delete=False,
    ) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
