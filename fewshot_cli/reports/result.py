"""The table at the end of a run, from what the run left on the disk."""

from __future__ import annotations

from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from fewshot_cli.runs.directory import RunDirectory, shown


def show(directory: RunDirectory, following: str | None = None) -> None:
    """Print a meta-test by adaptation step, where its files are and what to type next.

    Args:
        following: what to type next; none: a test of this run with more tasks.
    """
    summary = directory.read(directory.summary)
    test = summary["test"]
    regression = test["steps"][0]["accuracy"] is None
    task = (
        f"{summary['ways']}-way {summary['shots']}-shot"
        if not regression
        else (f"{summary['shots']} points")
    )
    table = Table(
        title=f"{summary['algo']} on {summary['data']}, {summary['model']}, {task}: meta-test",
        caption=f"{test['checkpoint']} checkpoint (iteration {test['iteration']}), "
        f"{test['tasks']} tasks, ± 95 % interval",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("adaptation steps", justify="right")
    if not regression:
        table.add_column("accuracy", justify="right")
    table.add_column("mean squared error" if regression else "loss", justify="right")
    for row in _some(test["steps"]):
        cells = [str(row["adaptation_steps"])]
        if not regression:
            cells.append(figure(row["accuracy"], row["accuracy_ci95"], ".2%"))
        cells.append(figure(row["loss"], row["loss_ci95"], ".4f"))
        table.add_row(*cells)
    console = Console(soft_wrap=True)
    console.print(table)
    print(f"Files: {shown(directory.path)}")
    run = quote(str(shown(directory.path)))
    print(f"Next:  {following or f'fewshot evaluate {run} eval.tasks=2000'}")


def line(directory: RunDirectory) -> str:
    """A job's name and its figure after all adaptation steps, for the log of a sweep."""
    summary = directory.read(directory.summary)
    test = summary["test"]
    last = test["steps"][-1]
    measure, form = ("accuracy", ".2%") if last["accuracy"] is not None else ("loss", ".4f")
    shown_figure = figure(last[measure], last[f"{measure}_ci95"], form)
    seconds = summary["seconds"]
    return f"{directory.path.name}: {measure} {shown_figure} ({test['tasks']} tasks), {seconds} s"


def figure(mean: float | None, ci95: float | None, form: str) -> str:
    """A mean and its interval, as Python's format `form` says."""
    if mean is None:
        return "not finite"
    return f"{mean:{form}}" + (f" ± {ci95:{form}}" if ci95 is not None else "")


def _some(rows: list[dict[str, Any]], most: int = 8) -> list[dict[str, Any]]:
    """All rows, or where they are many the first, the last and some between."""
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]
