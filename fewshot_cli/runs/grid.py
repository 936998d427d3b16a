"""A grid of meta-tests of one checkpoint: its table, on the terminal and as CSV."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fewshot_cli.runs.directory import RunDirectory, shown
from fewshot_cli.settings import measure
from fewshot_cli.settings.identity import plain
from fewshot_cli.settings.measure import RMSE
from fewshot_cli.settings.schema import Config, lookup

TESTED = ("tasks", "adaptation_steps")
FIGURES = ("accuracy", "accuracy_ci95", "loss", "loss_ci95", "rmse", "rmse_ci95")


class Grid:
    """The cells, and what the tests of them found after the last adaptation step.

    The same cells are the same file, which a grid that goes on fills up.

    Args:
        run: whose checkpoint is tested; the file goes into its evaluations/.
        configs: of the cells.
        keys: in which they differ, `data` among them where it does.
    """

    def __init__(self, run: RunDirectory, configs: Sequence[Config], keys: Sequence[str]) -> None:
        self.keys = list(keys)
        self.cells = [_values(config, self.keys) for config in configs]
        told = repr((self.keys, [list(cell.values()) for cell in self.cells]))
        name = hashlib.sha256(told.encode()).hexdigest()[:8]
        self.run, self.csv = run, run.path / "evaluations" / f"grid_{name}.csv"
        self.rows = dict[int, dict[str, Any]]()  # of the cells that are tested

    def label(self, cell: int) -> str:
        return " ".join(f"{key}={value}" for key, value in self.cells[cell].items())

    def add(self, cell: int, directory: RunDirectory) -> None:
        """Take a cell's test in, and write the table."""
        summary = directory.read(directory.summary)
        test, last = summary["test"], summary["test"]["steps"][-1]
        self.rows[cell] = {
            **self.cells[cell],
            "tasks": test["tasks"],
            **{name: last.get(name) for name in ("adaptation_steps", *FIGURES)},
            "seconds": summary["seconds"],
            "evaluation": directory.path.name,
        }
        columns = [*self.keys, *TESTED, *FIGURES, "seconds", "evaluation"]
        rows = ([row[column] for column in columns] for row in self.content())
        self.run.write_table(self.csv, columns, rows)

    def content(self) -> list[dict[str, Any]]:
        """The rows, for scripts."""
        return [row for _, row in sorted(self.rows.items())]

    def show(self) -> None:
        """Print the table, and where its file is."""
        rows = self.content()
        judged = measure.of(rows[0])
        figures = [judged, RMSE] if rows[0][RMSE.name] is not None else [judged]
        tasks = ", ".join(str(count) for count in dict.fromkeys(row["tasks"] for row in rows))
        table = Table(
            title="meta-test of each cell",
            caption=f"{tasks} tasks a cell, ± 95 % interval",
            title_justify="left",
            caption_justify="left",
        )
        for name in (*self.keys, "adaptation steps", *(each.title for each in figures), "seconds"):
            table.add_column(name, justify="right")
        for row in rows:
            means = (each.shown(row[each.name], row[f"{each.name}_ci95"]) for each in figures)
            told = *(str(row[key]) for key in self.keys), str(row["adaptation_steps"])
            table.add_row(*told, *means, f"{row['seconds']:.1f}")
        Console(soft_wrap=True).print(table)
        print(f"Table: {shown(self.csv)}")


def _values(config: Config, keys: Sequence[str]) -> dict[str, Any]:
    """What a cell has for each key; of `data` its name, with its root where it has one."""
    found = dict[str, Any]()
    for key in keys:
        value = config.data.name if key == "data" else plain(lookup(config, key))
        rooted = key == "data" and config.data.root is not None
        found[key] = f"{value}:{config.data.root}" if rooted else _word(value)
    return found


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
