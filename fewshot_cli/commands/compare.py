"""`fewshot compare`: settings side by side, from what their runs left on the disk.

Raises UserError where a folder holds no run or an option names what no run has, and after the table
where no run could be averaged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

from fewshot_cli.arguments import Track
from fewshot_cli.compare import comparison as comparisons
from fewshot_cli.compare import tables
from fewshot_cli.compare.runs_read import Run, find, read
from fewshot_cli.compare.settings import full_key, has
from fewshot_cli.progress import say
from fewshot_cli.runs import as_json
from fewshot_cli.runs.directory import atomic, shown
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.measure import ACCURACY
from fewshot_cli.sweeps.directory import COMPARISON

if TYPE_CHECKING:  # drawing takes a second to import
    from matplotlib.figure import Figure

File = Annotated[Path | None, typer.Option(metavar="FILE", help="- is the terminal.")]


def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Runs, sweeps, or folders of them.", show_default=False
        ),
    ],
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="What to show: settings, or columns of the CSV."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Least first, not the best first.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only runs with this; may be given again."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="Compare with this setting, not the best."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Adaptation steps after which to compare; else the last."),
    ] = None,
    until: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            help="Show how long it took until a meta-validation was as good, such as 0.95.",
        ),
    ] = None,
    csv: File = None,
    json: File = None,
    markdown: File = None,
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures, as PNG.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One page with tables and pictures.")
    ] = None,
    track: Track = False,
) -> None:
    """Average over seeds, and compare settings task by task.

    fewshot compare outputs/runs outputs/sweeps

    fewshot compare outputs/sweeps/NAME --where algo=maml --html page.html

    fewshot compare outputs/sweeps/NAME --until 0.95
    """
    whole = not (columns or sort or where or baseline or steps is not None or until is not None)
    whole = whole and not any((csv, json, markdown, plot, html, track))
    tracked = []
    if track:
        from fewshot_cli.plots.destination import Tracked

        tracked = [Tracked(path) for path in directories]
    runs = [read(path) for path in find(directories)]
    wanted = _pairs("--where", where or [], runs)
    # A run whose settings cannot be read is shown whatever was asked for.
    runs = [run for run in runs if not run.settings or has(run.settings, wanted)]
    if wanted and not any(run.settings for run in runs):
        raise UserError(f"--where {' '.join(where or [])}: no run has that")
    before = baseline.split(",") if baseline is not None else []
    comparison = comparisons.compare(runs, steps, _pairs("--baseline", before, runs))

    shown_columns = None
    if columns is not None:
        names = columns.split(",")
        shown_columns = list(dict.fromkeys(_column("--columns", name, runs) for name in names))
    if until is not None or "area" in {sort, *(shown_columns or [])}:
        measures = {setting.measure for setting in comparison.settings}
        if until is not None and ACCURACY in measures and not 0 <= until <= 1:
            raise UserError(f"--until {until}: expected an accuracy from 0 to 1, such as 0.95")
        comparison.learn(until)
    by = None if sort is None else _column("--sort", sort, runs)
    table = _table(comparison, shown_columns, by)
    words = tables.words(comparison, table, shown_columns)
    data = table if shown_columns is None else table[shown_columns]
    if as_json.TERMINAL not in (csv, json, markdown):
        tables.show(words)
    as_csv = partial(data.to_csv, index=False, lineterminator="\n")
    _write(csv, as_csv)
    rows = data.to_dict("records")
    as_json.leave(json, {"caption": comparison.caption, "rows": rows})
    _write(markdown, lambda: tables.markdown(words))
    if plot or html or tracked:
        pictures = _draw(comparison, words, plot, html, directories)
        for each in tracked:
            each.show(pictures, {"comparison": as_csv()})
    if whole:
        _beside_the_jobs(directories, data)
    if not comparison.settings:
        raise UserError(
            f"{' '.join(str(shown(path)) for path in directories)}: no run there is completed "
            "and counted; expected one at least"
        )


def _table(comparison: comparisons.Comparison, columns: list[str] | None, sort: str | None) -> Any:
    keys = (
        None if columns is None else [name for name in columns if name not in comparisons.RESULTS]
    )
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
    """A column of the table or a setting."""
    if name in ("accuracy", "loss"):  # what the mean is headed with
        return "mean"
    if name in comparisons.RESULTS:
        return name
    return _setting(option, name, runs, comparisons.RESULTS)


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


def _write(path: Path | None, content: Callable[[], str]) -> None:
    if path == as_json.TERMINAL:
        sys.stdout.write(content())
    elif path is not None:
        with atomic(path) as file:
            file.write(content())
        say(f"Written: {shown(path)}")


def _draw(
    comparison: comparisons.Comparison,
    words: list[tables.Words],
    folder: Path | None,
    html: Path | None,
    directories: list[Path],
) -> dict[str, Figure]:
    from fewshot_cli.compare import page, plots, style

    pictures = plots.draw(comparison)
    if folder is not None:
        for picture in pictures:
            style.save(picture.figure, folder / f"{picture.name}.png")
        say(f"Written: {', '.join(picture.name for picture in pictures)} in {shown(folder)}")
    where = ", ".join(str(shown(path)) for path in directories)
    _write(html, lambda: page.page(comparison.settings, where, words, pictures))
    return {picture.name: picture.figure for picture in pictures}


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
