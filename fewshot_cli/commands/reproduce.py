"""`fewshot reproduce`: run an experiment and set what comes out beside what its paper gives.

Leaves a run directory and a row for each published result in outputs/reproduced.csv. Raises
UserError where there is no such experiment, it has nothing published, or an override is wrong, and
SystemExit with 1 where the run failed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot_cli.arguments import Json, Overrides
from fewshot_cli.commands.train import train
from fewshot_cli.runs import as_json
from fewshot_cli.runs.directory import RunDirectory, atomic, shown
from fewshot_cli.runs.place import place, spelled_out
from fewshot_cli.settings import choices, compose
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.measure import Measure
from fewshot_cli.settings.schema import Config, Published

TABLE = Path("outputs/reproduced.csv")
WIDTH = 40
Row = dict[str, Any]


def reproduce(
    experiment: Annotated[
        str | None,
        typer.Argument(help="An experiment with published results.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    json: Json = None,
) -> None:
    """Run a published experiment and compare; without a name, show which there are.

    fewshot reproduce sinusoid_maml compile=true

    fewshot reproduce omniglot_5w1s_maml_budget data.root=DIR
    """
    options = {option.name: option for option in choices.options("experiment")}
    cells = [name for name, option in options.items() if "published" in option.content()]
    if experiment is None:
        with as_json.in_place(json):
            for name in cells:
                print(f"{name:<{WIDTH}}{options[name].description}")
        shown_cells = {name: options[name].description for name in cells}
        as_json.leave(json, [{"name": name, "description": of} for name, of in shown_cells.items()])
        return
    if experiment not in options:
        close = nearest(experiment, cells)
        such = f", such as {close}" if close.split(" or ")[0] in cells else ""
        raise UserError(f"{experiment}: expected a cell that `fewshot reproduce` shows{such}")
    words = [f"experiment={experiment}", *spelled_out(overrides or [])]
    config = compose.job_config(words)
    if config.published is None:
        raise UserError(
            f"experiment={experiment}: nothing is published; choose what `fewshot reproduce` shows"
        )
    if config.algo.eval_steps < max(config.published.figures):
        raise UserError(
            f"algo.eval_steps={config.algo.eval_steps}: the published result is after "
            f"{max(config.published.figures)} steps; expected at least that"
        )
    path, words = place(words, "run")
    where = RunDirectory(path)
    with as_json.in_place(json):
        train(words)
        rows = compared(experiment, config, where.read(where.summary))
        _append([row | {"run": str(where.path)} for row in rows])
        _show(rows, config.published, config.data.measure)
    as_json.leave(json, rows)


def compared(experiment: str, config: Config, summary: Mapping[str, Any]) -> list[Row]:
    """A row for each published result: `here` beside it, and whether they agree.

    The two agree where the difference is within sqrt(a^2 + b^2), the 95 % interval of a difference
    of two means with intervals a and b.
    """
    assert config.published is not None
    measure = config.data.measure
    by_steps = {row["adaptation_steps"]: row for row in summary["test"]["steps"]}
    rows = []
    for steps, published in config.published.figures.items():
        here, ci95 = (by_steps[steps][f"{measure.name}{end}"] for end in ("", "_ci95"))
        width = math.hypot(ci95 or 0.0, config.published.ci95 or 0.0)
        difference = here - published
        better = measure.goodness(difference) > 0
        verdict = "agrees" if abs(difference) <= width else "better" if better else "worse"
        rows.append(
            {
                "experiment": experiment,
                "measure": measure.name,
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


def _show(rows: list[Row], published: Published, measure: Measure) -> None:
    share = rows[0]["iterations"] / published.iterations
    print(f"{published.source}; here {share:.1%} of the published meta-updates")
    for row in rows:
        print(
            f"{row['adaptation_steps']} steps: published "
            f"{measure.shown(row['published'], row['published_ci95'])}, here "
            f"{measure.shown(row['here'], row['here_ci95'])}: {row['verdict']}"
        )
    print(f"Table: {shown(TABLE)}")
