"""The table at the end of a run, from what the run left on the disk."""

from __future__ import annotations

from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from fewshot_cli.runs.directory import RunDirectory, shown
from fewshot_cli.settings import measure
from fewshot_cli.settings.measure import ACCURACY, LOSS, RMSE

MORE = 2000  # tasks of a better test
FEW = 4  # times the ways: with fewer classes in the test, much depends on which they are


def show(directory: RunDirectory, following: str | None = None) -> None:
    """Print a meta-test by adaptation step, where its files are and what to type next.

    Args:
        following: what to type next, with more tasks; none: a test of this run.
    """
    summary = directory.read(directory.summary)
    test = summary["test"]
    columns = [LOSS] if measure.of(test["steps"][0]) is LOSS else [ACCURACY, LOSS]
    if RMSE.name in test["steps"][0]:  # early releases did not give it
        columns.append(RMSE)
    classes = f"{summary['ways']}-way {summary['shots']}-shot"
    grouped = summary["ways"] == 1  # tasks that are there by name, whatever their targets
    task = f"{summary['shots']} points" if grouped else classes
    rows = _some(test["steps"])
    told = _stopped(summary), _left_out(test["steps"], rows), _few(summary)
    notes = [f"\n{note}" for note in told if note]
    table = Table(
        title=f"{summary['algo']} on {summary['data']}, {summary['model']}, {task}: meta-test",
        caption=f"{test['checkpoint']} checkpoint (iteration {test['iteration']}), "
        f"{test['tasks']} tasks, ± 95 % interval{''.join(notes)}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("adaptation steps", justify="right")
    for each in columns:
        table.add_column(each.title if each in (columns[0], RMSE) else each.name, justify="right")
    for row in rows:
        cells = [each.shown(row[each.name], row[f"{each.name}_ci95"]) for each in columns]
        table.add_row(str(row["adaptation_steps"]), *cells)
    console = Console(soft_wrap=True)
    console.print(table)
    print(f"Files: {shown(directory.path)}")
    run = quote(str(shown(directory.path)))
    more = f"eval.tasks={more_tasks(summary)}"
    print(f"Next:  {following or f'fewshot evaluate {run}'} {more}")


def content(directory: RunDirectory) -> dict[str, Any]:
    """The same, for scripts: where the files are and all of summary.json."""
    return {"run": str(shown(directory.path))} | directory.read(directory.summary)


def more_tasks(summary: dict[str, Any]) -> int:
    """That a better test has; where tasks are there by name, no more than there are."""
    there = summary["test"].get("classes")
    return min(MORE, there) if summary["ways"] == 1 and there else MORE


def line(directory: RunDirectory) -> str:
    """A job's name and its result after all adaptation steps, for the log of a sweep."""
    summary = directory.read(directory.summary)
    test = summary["test"]
    last = test["steps"][-1]
    judged = measure.of(last)
    name, value = judged.name, judged.shown(last[judged.name], last[f"{judged.name}_ci95"])
    return f"{directory.path.name}: {name} {value} ({test['tasks']} tasks), {summary['seconds']} s"


def _stopped(summary: dict[str, Any]) -> str:
    """The limit that ended meta-training; early releases had none."""
    limit = summary.get("stopped")
    return f"Meta-training ended at iteration {summary['iterations']}: {limit}" if limit else ""


def _few(summary: dict[str, Any]) -> str:
    """What an interval over tasks leaves out where the tasks share few classes."""
    classes = summary["test"].get("classes")  # early releases did not count them
    if classes is None or classes >= FEW * summary["ways"]:
        return ""
    return (
        f"The interval is over tasks of these {classes} classes alone: "
        "it says nothing of other classes"
    )


def _left_out(rows: list[dict[str, Any]], shown_rows: list[dict[str, Any]]) -> str:
    """Which steps the table does not show: `Not shown: 2 to 6, 8`."""
    parts: list[list[int]] = []
    after = None
    for row in rows:
        if row in shown_rows:
            after = None
        elif after is None:
            parts.append(after := [row["adaptation_steps"]])
        else:
            after.append(row["adaptation_steps"])
    said = [f"{part[0]} to {part[-1]}" if len(part) > 1 else str(part[0]) for part in parts]
    return f"Steps that are not shown: {', '.join(said)} (summary.json has all)" if said else ""


def _some(rows: list[dict[str, Any]], most: int = 8) -> list[dict[str, Any]]:
    """All rows, or where they are many the first, the last and some between."""
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]
