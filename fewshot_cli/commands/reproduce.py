"""`fewshot reproduce`: run an experiment and set what comes out beside what its paper gives."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot_cli import compose, groups
from fewshot_cli.commands.train import train
from fewshot_cli.config import Config, Published, UserError
from fewshot_cli.kinds import nearest
from fewshot_cli.reports.result import figure
from fewshot_cli.runs.directory import RunDirectory, atomic, shown
from fewshot_cli.runs.place import place, spelled_out

TABLE = Path("outputs/reproduced.csv")
WIDTH = 40
Row = dict[str, Any]


def reproduce(experiment: str | None, overrides: list[str]) -> None:
    """Leave a run directory and a row for each published figure in outputs/reproduced.csv.

    Raises:
        UserError: there is no such experiment, it has nothing published, or an override is wrong.
        SystemExit: 1 if the run failed.
    """
    options = {option.name: option for option in groups.options("experiment")}
    cells = [name for name, option in options.items() if "published" in option.content()]
    if experiment is None:
        for name in cells:
            print(f"{name:<{WIDTH}}{options[name].description}")
        return
    if experiment not in options:
        close = nearest(experiment, cells)
        such = f", such as {close}" if close.split(" or ")[0] in cells else ""
        raise UserError(f"{experiment}: expected a cell that `fewshot reproduce` shows{such}")
    words = [f"experiment={experiment}", *spelled_out(overrides)]
    config = compose.job_config(words)
    if config.published is None:
        raise UserError(
            f"experiment={experiment}: nothing is published; choose what `fewshot reproduce` shows"
        )
    if config.algo.eval_steps < max(config.published.figures):
        raise UserError(
            f"algo.eval_steps={config.algo.eval_steps}: the published figure is after "
            f"{max(config.published.figures)} steps; expected at least that"
        )
    path, words = place(words, "run")
    where = RunDirectory(path)
    train(words, multirun=False, config_dir=None, cfg=None, dry_run=False)
    rows = compared(experiment, config, where.read(where.summary))
    _append([row | {"run": str(where.path)} for row in rows])
    _show(rows, config.published)


def compared(experiment: str, config: Config, summary: Mapping[str, Any]) -> list[Row]:
    """A row for each published figure: `here` beside it, and whether they agree.

    The two agree where the difference is within sqrt(a^2 + b^2), the 95 % interval of a difference
    of two means with intervals a and b.
    """
    assert config.published is not None
    measure = "loss" if config.data.regression else "accuracy"
    by_steps = {row["adaptation_steps"]: row for row in summary["test"]["steps"]}
    rows = []
    for steps, published in config.published.figures.items():
        here, ci95 = by_steps[steps][measure], by_steps[steps][f"{measure}_ci95"]
        width = math.hypot(ci95 or 0.0, config.published.ci95 or 0.0)
        difference = here - published
        better = difference < 0 if measure == "loss" else difference > 0
        verdict = "agrees" if abs(difference) <= width else "better" if better else "worse"
        rows.append(
            {
                "experiment": experiment,
                "measure": measure,
                "adaptation_steps": steps,
                "published": published,
                "published_ci95": config.published.ci95,
                "here": here,
                "here_ci95": ci95,
                "difference": difference,
                "verdict": verdict,
                "tasks": summary["test"]["tasks"],
                "iterations": config.iterations,
                "published_iterations": config.published.iterations,
                "meta_batch": config.meta_batch,
                "seed": config.seed,
                "seconds": summary["seconds"],
            }
        )
    return rows


def _append(rows: list[Row]) -> None:
    known: list[Row] = []
    if TABLE.is_file():
        with TABLE.open(encoding="utf-8", newline="") as file:
            known = list(csv.DictReader(file))
    with atomic(TABLE) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*known, *rows])


def _show(rows: list[Row], published: Published) -> None:
    share = rows[0]["iterations"] / published.iterations
    print(f"{published.source}; here {share:.1%} of the published meta-updates")
    form = ".4f" if rows[0]["measure"] == "loss" else ".2%"
    for row in rows:
        print(
            f"{row['adaptation_steps']} steps: published "
            f"{figure(row['published'], row['published_ci95'], form)}, here "
            f"{figure(row['here'], row['here_ci95'], form)}: {row['verdict']}"
        )
    print(f"Table: {shown(TABLE)}")
