"""Runs from their directories, for comparisons: fast, and whatever the files hold.

The files may be damaged, or made to do harm: a run that cannot be read is a run with the status
`damaged` and the file's name in its error, never an exception.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from fewshot_cli.runs.directory import (
    COMPLETED,
    ENDINGS,
    INTERRUPTED,
    KILLED,
    RUNNING,
    RunDirectory,
    shown,
)
from fewshot_cli.settings import measure
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.measure import ACCURACY, LOSS, Measure

Values = NDArray[np.float64]

# More than any run writes. In YAML it also bounds the depth: 30,000 nested lists in a config end
# the process in libyaml, 8,000 do not.
MOST_YAML_BLOCK = 8_000
MOST_CHARACTERS = 4_000_000
MOST_ROWS = 10_000_000
MOST_KEYS = 1_000


class DamagedError(Exception):
    """A file of a run does not hold what a run writes there; says which."""


@dataclass(frozen=True)
class Run:
    """A run: how it ended, its settings by dotted key, and what it tested."""

    path: Path
    status: str  # one of ENDINGS, or damaged
    error: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tasks: int = 0
    # Mean accuracy or loss over tasks after each number of steps that was scored, the fewest first.
    by_step: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    measure: Measure = ACCURACY  # what it is judged by
    ci95: float | None = None  # half-width of the interval after the last step


def find(directories: Iterable[Path]) -> list[Path]:
    """Every run directory in or under the directories, once; a run's evaluations are no runs.

    Raises:
        UserError: a directory is none, or holds no run.
    """
    found: dict[Path, None] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory}: expected a folder of runs or sweeps")
        here = list(_under(directory))
        if not here:
            raise UserError(f"{directory}: no run in it; expected folders with a status.json")
        found |= dict.fromkeys(here)
    return list({path.resolve(): path for path in found}.values())


def _under(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        if "status.json" in files and ("config.yaml" in files or "metrics.csv" in files):
            folders.clear()
            yield Path(folder)
        # Jobs in the order of their numbers, 2 before 10.
        folders.sort(key=lambda name: (not name.isdigit(), name.zfill(12)))


def read(path: Path) -> Run:
    """The run in a directory; one that cannot be read is `damaged`."""
    directory = RunDirectory(path)
    settings: dict[str, Any] = {}
    try:
        settings = _settings(directory.config)
        status = _json(directory.status)
        ended, error = status.get("status"), status.get("error")
        if ended not in ENDINGS:
            raise DamagedError("status.json")
        if ended == RUNNING and directory.was_killed():
            ended, error = INTERRUPTED, error or KILLED
        if ended != COMPLETED:
            why = None if error is None else _writable(str(error))
            return Run(path, str(ended), why, settings)
        return _completed(directory, settings)
    except DamagedError as damage:
        return Run(path, "damaged", f"{damage} is missing or damaged", settings)


def _completed(directory: RunDirectory, settings: dict[str, Any]) -> Run:
    summary = _json(directory.summary)
    try:
        steps = summary["test"]["steps"]
        judged = measure.of(steps[0])
        # A number that is not finite is null.
        by_step = {
            int(step["adaptation_steps"]): float(
                "nan" if step[judged.name] is None else step[judged.name]
            )
            for step in steps
        }
        tasks, seconds = int(summary["test"]["tasks"]), float(summary["seconds"])
        width = steps[-1].get(f"{judged.name}_ci95")  # None of a single task
        ci95 = None if width is None else float(width)
    # Of whatever stands in the place of a list of mappings.
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DamagedError("summary.json") from error
    whole = list(by_step) == sorted(by_step) and len(by_step) == len(steps) and min(by_step) >= 0
    if not whole or not 1 <= tasks <= MOST_ROWS:
        raise DamagedError("summary.json")
    return Run(directory.path, "completed", None, settings, tasks, by_step, seconds, judged, ci95)


def by_task(run: Run, steps: int) -> Values:
    """The accuracy (loss for regression) of each meta-test task after `steps` steps: `[T]`.

    Only those rows of test_tasks.csv are read: they stand together, after those of fewer steps.

    Raises:
        DamagedError: the file is missing, cut or holds something else.
    """
    column = {LOSS: 2, ACCURACY: 3}[run.measure]
    path = RunDirectory(run.path).test_tasks
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of too few rows
            rows: Values = np.loadtxt(
                _checked(path, MOST_ROWS * 80),
                delimiter=",",
                skiprows=1 + [*run.by_step].index(steps) * run.tasks,
                max_rows=run.tasks,
                usecols=(0, 1, column),
                ndmin=2,
                encoding="utf-8",
            )
    except (OSError, ValueError, OverflowError, Warning) as error:
        raise DamagedError("test_tasks.csv") from error
    whole = len(rows) == run.tasks and bool(
        (rows[:, 0] == np.arange(run.tasks)).all() and (rows[:, 1] == steps).all()
    )
    values: Values = rows[:, 2]
    if not whole or (run.measure is ACCURACY and not ((values >= 0) & (values <= 1)).all()):
        raise DamagedError("test_tasks.csv")
    return values


class Curve(NamedTuple):
    """The meta-validations of a run, `[n]` each: accuracies, or losses for regression."""

    iterations: Values
    values: Values
    seconds: Values  # since the run began


def curve(run: Run) -> Curve:
    """How a run learned.

    Raises:
        DamagedError: metrics.csv is missing or holds something else.
    """
    import csv

    text = _text(RunDirectory(run.path).metrics, MOST_CHARACTERS * 50)
    try:
        rows = [row for row in csv.DictReader(text.splitlines()) if row["split"] == "valid"]
        columns = "iteration", run.measure.name, "elapsed_s"
        points = [[float(row[column]) for column in columns] for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DamagedError("metrics.csv") from error
    return Curve(*np.array(points).reshape(-1, 3).T)


def _settings(path: Path) -> dict[str, Any]:
    """config.yaml by dotted key.

    Its top-level blocks are parsed one by one, since most of them recur from run to run: ten times
    as fast for the runs of a sweep.
    """
    settings: dict[str, Any] = {}
    for block in re.split(r"^(?=[A-Za-z_])", _text(path, MOST_CHARACTERS), flags=re.MULTILINE):
        settings |= _block(block)
    if not settings:
        raise DamagedError(path.name)
    return settings


@lru_cache(maxsize=10_000)
def _block(text: str) -> dict[str, Any]:
    if len(text) > MOST_YAML_BLOCK:
        raise DamagedError("config.yaml")
    try:
        content = yaml.load(text, Loader=yaml.CSafeLoader)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise DamagedError("config.yaml")
        leaves: dict[str, Any] = {}
        for key, value in _leaves(content, ""):
            leaves[key] = value
            if len(leaves) > MOST_KEYS:  # aliases can stand for more leaves than there is memory
                raise DamagedError("config.yaml")
        return leaves
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise DamagedError("config.yaml") from error


def _leaves(content: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{key}.")
        elif isinstance(value, list) and all(isinstance(each, int | float) for each in value):
            yield key, ",".join(map(str, value))
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            yield key, tuple(value)  # tags, which may have commas themselves
        elif isinstance(value, str | int | float | None):
            if isinstance(value, int):
                float(value)  # an OverflowError for one that could not be compared or printed
            yield key, value
        else:
            raise DamagedError("config.yaml")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path, MOST_CHARACTERS))
    except (ValueError, RecursionError) as error:
        raise DamagedError(path.name) from error
    if not isinstance(content, dict):
        raise DamagedError(path.name)
    return content


def _text(path: Path, most: int) -> str:
    try:
        return _checked(path, most).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DamagedError(path.name) from error


def _checked(path: Path, most: int) -> Path:
    """The path of a plain file (a pipe would never end) that is not larger than any run's."""
    if not path.is_file() or path.stat().st_size > most:
        raise DamagedError(path.name)
    return path


def where_it_is(run: Run) -> str:
    return _writable(str(shown(run.path)))


def _writable(text: str) -> str:
    """Without halves of characters, which names of files and JSON can hold but UTF-8 cannot."""
    return text.encode(errors="replace").decode()
