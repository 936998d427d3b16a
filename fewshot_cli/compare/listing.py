"""The runs of a folder one by one: how each ended, what it reached, how old it is, its labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewshot_cli.compare.runs_read import Run, find, read, where_it_is
from fewshot_cli.compare.settings import full_key, has
from fewshot_cli.compare.tables import word
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import measure
from fewshot_cli.settings.errors import UserError, nearest

STATE = "state"
# The key of a setting, by the name of its column.
SETTINGS = {
    **{"algo": "algo.name", "data": "data.name", "model": "model.name"},
    **{name: name for name in ("ways", "shots", "seed", "notes", "group")},
}
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))

Row = dict[str, Any]


def runs(directory: Path, where: Mapping[str, str], sort: str) -> list[Row]:
    """The runs in or under a folder, each with its columns.

    Args:
        where: settings as a user writes them, `tag`, or `state`; only runs that have them all.
        sort: a column; least first, but for the figure, of which the best comes first.

    Raises:
        UserError: there is no run, no such column, or a setting that no run has.
    """
    now = time.time()
    found = [read(path) for path in find([directory])]
    known = set().union(*(run.settings for run in found))
    wanted = {key if key == STATE else _key(key, known): value for key, value in where.items()}
    state = wanted.pop(STATE, None)
    rows = [
        (run, _row(run, now))
        for run in found
        if state in (None, run.status) and has(run.settings, wanted)
    ]
    columns = [*_row(found[0], now)]
    if sort not in columns:
        raise UserError(f"--sort {sort}: expected {nearest(sort, columns, len(columns))}")
    order: Callable[[tuple[Run, Row]], Any] = (
        _by_figure if sort == "figure" else lambda pair: _least_first(pair[1][sort])
    )
    return [row for _, row in sorted(rows, key=order)]


def show(rows: Sequence[Row]) -> None:
    """Print them as a table."""
    console = Console()
    if not console.is_terminal:
        console.width = 1000
    labels = [name for name in ("tags", "group") if any(row[name] for row in rows)]
    table = Table()
    for name in ("run", STATE, "algo", "data", "task", "figure", "tasks", "age", *labels):
        right = name in ("figure", "tasks", "age")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        cells = [
            *(word(row[name]) for name in ("run", STATE)),
            *("" if row[name] is None else word(row[name]) for name in ("algo", "data")),
            "" if row["ways"] is None else word(f"{row['ways']}w{row['shots']}s"),
            _figure(row),
            "" if row["tasks"] is None else str(row["tasks"]),
            _age(row["age"]),
            *(word(tuple(row[name]) if name == "tags" else row[name] or "") for name in labels),
        ]
        table.add_row(*map(Text, cells))
    console.print(table)


def _key(word: str, known: set[str]) -> str:
    try:
        return full_key(word, known, [STATE])
    except UserError as error:
        raise UserError(f"--where {error}") from error


def _row(run: Run, now: float) -> Row:
    directory = RunDirectory(run.path)
    seen = [now]
    for file in (directory.status, directory.metrics):
        with suppress(OSError):
            seen.append(file.stat().st_mtime)
    figure = run.by_step[max(run.by_step)] if run.by_step else None
    return {
        "run": where_it_is(run),
        STATE: run.status,
        "error": run.error,
        **{column: run.settings.get(key) for column, key in SETTINGS.items()},
        "measure": run.measure.name if run.by_step else None,
        "figure": figure if figure is not None and math.isfinite(figure) else None,
        "ci95": run.ci95,
        "tasks": run.tasks or None,
        "seconds": run.seconds or None,
        "age": round(now - max(seen[1:], default=now), 1),
        "tags": list(run.settings.get("tags") or ()),
    }


def _by_figure(pair: tuple[Run, Row]) -> tuple[bool, str, float]:
    run, row = pair
    figure = row["figure"]
    if figure is None:
        return True, "", 0.0
    return False, run.measure.name, -run.measure.goodness(figure)


def _least_first(value: Any) -> tuple[bool, bool, Any]:
    """Numbers, then words, then what is not there."""
    text = isinstance(value, str | list)
    return value is None, text, 0 if value is None else value


def _figure(row: Row) -> str:
    if row["measure"] is None:
        return ""
    return measure.of({row["measure"]: row["figure"]}).shown(row["figure"], row["ci95"])


def _age(seconds: float) -> str:
    for unit, name in AGES:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
