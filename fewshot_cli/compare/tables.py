"""A comparison as words: for the terminal, Markdown, the page and the labels of pictures.

What comes from files is made one line of printable characters here; each format then escapes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewshot_cli.compare.comparison import RESULTS, Comparison, Setting
from fewshot_cli.runs.directory import INTERRUPTED
from fewshot_cli.settings.measure import ACCURACY, LOSS, RMSE

LONGEST = 200
MOST_ROWS = 50
BOLD = "the best, and what cannot be told from it"
RATES = (
    *("mean", "ci95_seeds", "ci95_tasks", "area"),
    *("difference", "difference_ci95", "unpaired_ci95"),
)
HEADERS = {
    "ci95_seeds": "± seeds",
    "ci95_tasks": "± tasks",
    "difference_ci95": "± 95 %",
    "until_iterations": "iterations to it",
    "until_seconds": "seconds to it",
}
FORMS = {
    "p": ".2g",
    "seconds": ".1f",
    RMSE.name: RMSE.form,
    "until_iterations": ",.0f",
    "until_seconds": ",.1f",
}


@dataclass
class Words:
    """A table as text."""

    title: str
    header: list[str]
    rows: list[list[str]]
    texts: list[bool]  # for each column, whether it holds words rather than numbers
    caption: str = ""
    mean: int | None = None  # the column of the mean
    first: list[bool] | None = None  # for each row, whether it is the best or not told from it


def words(
    comparison: Comparison, table: pd.DataFrame, columns: Sequence[str] | None
) -> list[Words]:
    """The table of the settings, and that of the runs that are not averaged in, if there are any.

    Args:
        table: of the comparison, with the keys and in the order to show.
        columns: those to show; none: the settings and the main results.
    """
    keys = [column for column in table.columns if column not in RESULTS]
    if columns is None:
        tests = ["test"] if table["test"].nunique() > 1 else []
        differences = ["difference", "difference_ci95", "verdict"]
        several = differences if table["difference"].notna().any() else []
        means = ["seeds", "mean", "ci95_seeds", "ci95_tasks"]
        means += [RMSE.name] if table[RMSE.name].notna().any() else []
        learned = ["area"] if table["area"].notna().any() else []
        until = ["reached", "until_iterations", "until_seconds"]
        learned += until if table["reached"].notna().any() else []
        columns = [*keys, *tests, *means, *several, *learned, "seconds"]
    done, left = (table[table["mean"].notna()], table[table["mean"].isna()])
    measures = set(done["measure"])
    mean = measures.pop() if len(measures) == 1 else "mean"
    found = [_words("", done, columns, mean, comparison.caption)]
    if len(left):
        stopped = (left["status"] == INTERRUPTED).any()
        caption = "Next:  fewshot resume RUN, for each that was interrupted." if stopped else ""
        found.append(
            _words("Not averaged in", left, [*keys, "status", "error", "run"], mean, caption)
        )
    return found


def _words(
    title: str, table: pd.DataFrame, columns: Sequence[str], mean: str, caption: str
) -> Words:
    header = [
        mean if column == "mean" else HEADERS.get(column, short(column)) for column in columns
    ]
    rows = [
        [cell(row[column], column, row["measure"]) for column in columns]
        for row in table.to_dict("records")
    ]
    texts = [any(isinstance(value, str) for value in table[column]) for column in columns]
    verdicts = [*table["verdict"]]
    first = [verdict in ("best", "not distinguishable") for verdict in verdicts]
    ranked = "best" in verdicts and len(verdicts) > verdicts.count("best")
    mean_at = [*columns].index("mean") if "mean" in columns else None
    return Words(title, header, rows, texts, caption, mean_at, first if ranked else None)


def cell(value: Any, column: str, measure: Any) -> str:
    """One value of the table as text."""
    if column not in RESULTS:
        return "" if isinstance(value, float) and math.isnan(value) else word(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if column in RATES:
        sign = "+" if column == "difference" else ""
        if not math.isfinite(value):
            return "not finite"
        form = next(each.form for each in (ACCURACY, LOSS) if each.name == measure)
        return f"{value:{sign}{form}}"
    return f"{value:{FORMS[column]}}" if column in FORMS else word(value)


def word(value: Any) -> str:
    """A value as one line of printable characters, as YAML writes it."""
    if isinstance(value, tuple):
        value = ", ".join(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def short(key: str) -> str:
    """`algo.name` is `algo`, `algo.inner_lr` is `inner_lr`; evaluation's and data's stay whole."""
    head, _, tail = key.partition(".")
    if tail == "name":
        return head
    return word(tail if head == "algo" else key)


def label(setting: Setting, keys: Sequence[str]) -> str:
    """What a setting is called in a picture: `maml, inner_lr 0.4`."""
    parts = [
        word(setting.settings.get(key))
        if key.endswith(".name")
        else f"{short(key)} {word(setting.settings.get(key))}"
        for key in keys
    ]
    return ", ".join(parts) or word(setting.settings.get("algo.name"))


def show(tables: Sequence[Words]) -> None:
    """Print on the terminal; of a long table the first rows."""
    console = Console()
    if not console.is_terminal:
        console.width = 1000
    for table in tables:
        if not table.rows:
            console.print(Text(table.caption))
            continue
        drawn = Table(title=table.title or None, title_justify="left")
        for name, text in zip(table.header, table.texts, strict=True):
            drawn.add_column(Text(name), justify="left" if text else "right", overflow="fold")
        for row in table.rows[:MOST_ROWS]:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
        if len(table.rows) > MOST_ROWS:
            console.print(Text(f"and {len(table.rows) - MOST_ROWS:,} more; --csv FILE has all"))
        if table.caption:
            console.print(Text(table.caption), width=100, soft_wrap=False)


def markdown(tables: Sequence[Words]) -> str:
    """GitHub's tables, with nothing in them that Markdown or HTML would take for its own.

    The means of the best settings, and of those that cannot be told from them, are bold.
    """
    parts = []
    for table in tables:
        rule = ["---" if text else "---:" for text in table.texts]
        lines = [table.header, *table.rows]
        escaped = [[_escaped(text) for text in line] for line in lines]
        caption = table.caption
        if table.first is not None and table.mean is not None:
            for row, first in zip(escaped[1:], table.first, strict=True):
                row[table.mean] = f"**{row[table.mean]}**" if first else row[table.mean]
            caption += f" Bold: {BOLD}."
        drawn = ["| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:])]
        parts += [part for part in (table.title, "\n".join(drawn), caption) if part]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    # Underscores inside a word, as in inner_lr, are no emphasis.
    return re.sub(r"[\\|`*~\[\]]|\b_|_\b", r"\\\g<0>", text)
