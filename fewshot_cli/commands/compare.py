"""`fewshot compare`: settings side by side, from what their runs left on the disk."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from fewshot_cli.config import UserError
from fewshot_cli.progress import say
from fewshot_cli.reports import comparison as reports
from fewshot_cli.reports import tables
from fewshot_cli.reports.runs_read import Run, find, read
from fewshot_cli.reports.settings import full_key, has
from fewshot_cli.runs.directory import atomic, shown
from fewshot_cli.runs.sweep import COMPARISON

STDOUT = Path("-")


@dataclass
class Asked:
    """The command's options."""

    columns: str | None = None
    sort: str | None = None
    where: list[str] = field(default_factory=list)
    baseline: str | None = None
    steps: int | None = None
    csv: Path | None = None
    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None
    html: Path | None = None


def compare(directories: list[Path], asked: Asked) -> None:
    """Print the table, and write what is asked for.

    Raises:
        UserError: a folder holds no run, or an option names what no run has; after the table,
            no run could be averaged.
    """
    runs = [read(path) for path in find(directories)]
    wanted = _pairs("--where", asked.where, runs)
    # A run whose settings cannot be read is shown whatever was asked for.
    runs = [run for run in runs if not run.settings or has(run.settings, wanted)]
    if wanted and not any(run.settings for run in runs):
        raise UserError(f"--where {' '.join(asked.where)}: no run has that")
    before = asked.baseline.split(",") if asked.baseline is not None else []
    comparison = reports.compare(runs, asked.steps, _pairs("--baseline", before, runs))

    columns = None
    if asked.columns is not None:
        names = asked.columns.split(",")
        columns = list(dict.fromkeys(_column("--columns", name, runs) for name in names))
    sort = None if asked.sort is None else _column("--sort", asked.sort, runs)
    table = _table(comparison, columns, sort)
    words = tables.words(comparison, table, columns)
    data = table if columns is None else table[columns]
    if STDOUT not in (asked.csv, asked.json, asked.markdown):
        tables.show(words)
    _write(asked.csv, lambda: data.to_csv(index=False, lineterminator="\n"))
    _write(asked.json, lambda: _json(comparison, data))
    _write(asked.markdown, lambda: tables.markdown(words))
    if asked.plot or asked.html:
        _draw(comparison, words, asked)
    if asked == Asked():
        _beside_the_jobs(directories, data)
    if not comparison.settings:
        raise UserError(
            f"{' '.join(str(shown(path)) for path in directories)}: no run there is completed "
            "and counted; expected one at least"
        )


def _table(comparison: reports.Comparison, columns: list[str] | None, sort: str | None) -> Any:
    keys = None if columns is None else [name for name in columns if name not in reports.FIGURES]
    table = comparison.table(keys)
    if sort is None:
        return table
    by = table if sort in table else comparison.table([sort])
    return table.loc[sorted(table.index, key=lambda row: _rank(by.loc[row, sort]))]


def _rank(value: Any) -> tuple[bool, bool, Any]:
    """Numbers, then words, then what is not there."""
    missing = value is None or value != value
    return missing, isinstance(value, str), 0 if missing else value


def _column(option: str, name: str, runs: Sequence[Run]) -> str:
    """A figure of the table or a setting."""
    if name in ("accuracy", "loss"):  # what the mean is headed with
        return "mean"
    if name in reports.FIGURES:
        return name
    return _setting(option, name, runs, reports.FIGURES)


def _setting(option: str, name: str, runs: Sequence[Run], others: Sequence[str] = ()) -> str:
    try:
        return full_key(name, _keys(runs), others)
    except UserError as error:
        raise UserError(f"{option} {error}") from error


def _keys(runs: Sequence[Run]) -> set[str]:
    return set().union(*(run.settings for run in runs))


def _pairs(option: str, words: Sequence[str], runs: Sequence[Run]) -> dict[str, str]:
    """KEY=VALUE, ... with whole keys."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{option} {word}: expected KEY=VALUE")
        pairs[_setting(option, key, runs)] = value
    return pairs


def _json(comparison: reports.Comparison, data: pd.DataFrame) -> str:
    rows = [
        {key: None if _not_finite(value) else value for key, value in row.items()}
        for row in data.to_dict("records")
    ]
    content = {"caption": comparison.caption, "rows": rows}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _write(path: Path | None, content: Callable[[], str]) -> None:
    if path == STDOUT:
        sys.stdout.write(content())
    elif path is not None:
        with atomic(path) as file:
            file.write(content())
        say(f"Written: {shown(path)}")


def _draw(comparison: reports.Comparison, words: list[tables.Words], asked: Asked) -> None:
    from fewshot_cli.reports import figures, page, style

    pictures = figures.draw(comparison)
    if asked.plot is not None:
        for picture in pictures:
            style.save(picture.figure, asked.plot / f"{picture.name}.png")
        say(f"Written: {', '.join(picture.name for picture in pictures)} in {shown(asked.plot)}")
    _write(asked.html, lambda: page.page(words, pictures))


def _beside_the_jobs(directories: list[Path], data: pd.DataFrame) -> None:
    """A sweep keeps the comparison of all its jobs; one that may not be written to goes without."""
    if len(directories) == 1 and (directories[0] / COMPARISON).exists():
        path = directories[0] / COMPARISON
        try:
            with atomic(path) as file:
                data.to_csv(file, index=False, lineterminator="\n")
        except OSError as error:
            say(f"{shown(path)}: not written, {error.strerror}")
        else:
            say(f"Written: {shown(path)}")
