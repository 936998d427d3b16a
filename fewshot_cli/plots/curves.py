"""Loss and accuracy over the iterations of training and over the steps of adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fewshot_cli.arguments import Picture, Runs, Track
from fewshot_cli.compare import runs_read, style
from fewshot_cli.plots.destination import Destination
from fewshot_cli.runs.directory import COLUMNS, RunDirectory
from fewshot_cli.settings.errors import UserError

UNITS = {"loss": 1, "accuracy": 100}
FAR = 100  # times the median loss
MOST = len(style.COLOURS) * len(style.MARKERS)
NUMBERS = [column for column in COLUMNS if column != "split"]


def curves(runs: Runs, out: Picture = Path("curves.png"), track: Track = False) -> None:
    """Loss and accuracy over training and over adaptation steps.

    fewshot plot curves outputs/runs/NAME outputs/runs/OTHER

    fewshot plot curves outputs/sweeps/NAME
    """
    destination = Destination(out, runs, track)
    destination.leave(draw(_jobs(runs)))


def _jobs(runs: list[Path]) -> list[Path]:
    """The runs, and for a sweep those in it that have a metrics.csv.

    Raises:
        UserError: a folder holds no run, or there are more than can be told apart.
    """
    found: list[Path] = []
    for path in runs:
        run = RunDirectory(path)
        if run.config.is_file() or run.metrics.is_file() or not path.is_dir():
            found.append(path)
            continue
        jobs = [job for job in runs_read.find([path]) if RunDirectory(job).metrics.is_file()]
        if not jobs:
            raise UserError(f"{path}: no job there has a {run.metrics.name} yet")
        found += jobs
    if len(found) > MOST:
        raise UserError(
            f"{len(found)} runs: expected at most {MOST}, which colours and signs tell apart; "
            "`fewshot compare DIR --plot DIR` draws means over seeds"
        )
    return found


def draw(runs: list[Path]) -> Figure:
    """Rows for loss and, where there are classes, accuracy; a colour and a sign for each run.

    Raises:
        UserError: a run's metrics.csv cannot be read, or runs with and without classes are mixed.
    """
    tables = [_read(RunDirectory(run)) for run in runs]
    units = [{name: UNITS[name] for name in UNITS if table[name].notna().any()} for table in tables]
    for run, of_run in zip(runs, units, strict=True):
        if of_run != units[0]:
            raise UserError(f"{run}: has another kind of loss than {runs[0]}; expected the same")
    rows = len(units[0])
    figure = style.new(9.6, 1.2 + 2.6 * rows + 0.1 * max(0, len(runs) - 4))
    panels = figure.subplots(rows, 2, squeeze=False, sharey="row", sharex="col")
    for (measure, unit), (training, adaptation) in zip(units[0].items(), panels, strict=True):
        for number, table in enumerate(tables):
            colour, marker = _look(number)
            table["mean"], table["ci95"] = table[measure] * unit, table[f"{measure}_ci95"] * unit
            train, valid, test = (table[table.split == s] for s in ("train", "valid", "test"))
            _band(training, train, colour)
            _bars(training, valid, "iteration", colour, marker, "--")
            _bars(adaptation, test, "adaptation_steps", colour, marker, "-")
        training.set_ylabel(f"{measure}, %" if unit == 100 else measure)
        for axes in (training, adaptation):
            axes.grid(alpha=0.3)
    _limit(panels[0, 0], pd.concat([table.loss for table in tables]))
    panels[0, 0].set_title("meta-train (band) and meta-validation (dashed)", fontsize=10)
    panels[0, 1].set_title("meta-test", fontsize=10)
    panels[-1, 0].set_xlabel("meta-updates")
    panels[-1, 1].set_xlabel("adaptation steps")
    for axes in panels[-1]:
        axes.xaxis.get_major_locator().set_params(integer=True)
    _name(figure, runs)
    return figure


def _limit(axes: Axes, losses: pd.Series[float]) -> None:
    """Let a loss that is far beyond the others leave the picture rather than flatten them."""
    axes.set_yscale("log")
    if losses.notna().any():
        axes.set_ylim(top=min(1.5 * losses.max(), FAR * losses.median()))


def _read(directory: RunDirectory) -> pd.DataFrame:
    if not directory.metrics.is_file():
        name = directory.metrics.name
        raise UserError(f"{directory.path}: expected a run directory, which has a {name}")
    try:
        table = pd.read_csv(directory.metrics, dtype=dict.fromkeys(NUMBERS, float))
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise UserError(f"{directory.metrics}: expected a CSV file ({error})") from error
    if list(table.columns) != COLUMNS:
        raise UserError(f"{directory.metrics}: expected the columns {', '.join(COLUMNS)}")
    if table.empty:
        raise UserError(f"{directory.metrics}: has no row yet; expected a run that went on a while")
    return table.replace(float("inf"), float("nan"))  # which is not drawn


def _look(number: int) -> tuple[str, str]:
    return (
        style.COLOURS[number % len(style.COLOURS)],
        # Another one each time that the colours begin again.
        style.MARKERS[(number + number // len(style.COLOURS)) % len(style.MARKERS)],
    )


def _band(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Means with their 95 % intervals as a band."""
    axes.plot(rows.iteration, rows["mean"], color=colour, linewidth=1)
    low, high = rows["mean"] - rows.ci95, rows["mean"] + rows.ci95
    axes.fill_between(rows.iteration, low, high, color=colour, alpha=0.2, linewidth=0)


def _bars(axes: Axes, rows: pd.DataFrame, over: str, colour: str, marker: str, line: str) -> None:
    """Means with their 95 % intervals as bars."""
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1}
    axes.errorbar(rows[over], rows["mean"], rows.ci95, linestyle=line, capsize=2, **look)


def _name(figure: Figure, runs: list[Path]) -> None:
    handles = []
    for number, run in enumerate(runs):
        colour, marker = _look(number)
        handles.append(Line2D([], [], color=colour, marker=marker, label=str(run)))
    columns = 1 if len(runs) == 1 else 2
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
