"""`fewshot evaluate`: meta-test a run's checkpoint again; leaves RUN/evaluations/NAME/.

Raises UserError where the run, its checkpoint or an override is wrong, before anything is written,
and SystemExit with 1 where the test failed.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from fewshot_cli.arguments import Json, Overrides, Run
from fewshot_cli.progress import say
from fewshot_cli.runs import as_json, result
from fewshot_cli.runs.directory import RunDirectory, new_name, shown
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.settings.schema import DataConfig, Split


def evaluate(run: Run, overrides: Overrides = None, json: Json = None) -> None:
    """Meta-test a run again, with other settings.

    fewshot evaluate outputs/runs/NAME eval.tasks=2000 algo.eval_steps=10

    fewshot evaluate outputs/runs/NAME data=omniglot data.root=DIR

    fewshot evaluate outputs/runs/NAME data=folder data.root=DIR data.split=test
    """
    overrides = overrides or []
    trained = RunDirectory(run)
    before = compose.changed_config(trained.config, [], ())
    # The rest of a run's config says how its weights came about.
    config = compose.changed_config(trained.config, overrides, may_change("evaluate"))
    config.compile = False  # there is no meta-gradient in a test
    if config.data.regression != before.data.regression:
        raise UserError(f"data={config.data.name}: expected data of the kind of {before.data.name}")

    from fewshot_cli.training import checkpoints
    from fewshot_cli.training.met import classes_met
    from fewshot_cli.training.run import meta_test, summary
    from fewshot_cli.training.setup import prepare

    start = time.monotonic()
    if trained.data.is_file():
        config.data.kept_in = str(trained.data)
    path, state = checkpoints.tested(trained, config.eval.checkpoint)
    every_class = _tests_every_class(config.data)
    left_out = _leave_out(config.data, classes_met(trained, before)) if every_class else None
    setup = prepare(config, ["test"])
    iteration = checkpoints.fill(path, setup.algorithm, state, any_ways=True)
    if every_class:
        say(_what_is_left_out(left_out, config.data.grouped))
    directory = RunDirectory(run / "evaluations" / new_name())
    directory.begin(config)
    with directory.recorded(again=command(run, overrides)):
        tested = meta_test(setup, directory, iteration, start)
        found = summary(setup, tested, iteration, time.monotonic() - start)
        if every_class:
            found["test"]["left_out"] = left_out
        directory.write_summary(found)
    more = [word for word in overrides if not word.lstrip("+").startswith("eval.tasks=")]
    with as_json.in_place(json):
        result.show(directory, command(run, more))
    as_json.leave(json, result.content(directory))


def _tests_every_class(data: DataConfig) -> bool:
    return data.counted and data.split == Split.test and data.split_file is None


def _leave_out(data: Any, met: set[str] | None) -> int | None:
    """Have a test on all classes leave out those that the run has met; how many they are."""
    from fewshot_cli.data import folder

    if met is None:
        return None
    if met and data.root is not None:
        there = folder.images(data).classes.keys() if data.images else met
        data.left_out = sorted(met & there)
        data.reads |= {"left_out"}
    return len(data.left_out)


def _what_is_left_out(count: int | None, grouped: bool) -> str:
    one, many = ("task", "tasks") if grouped else ("class", "classes")
    if count is None:
        return (
            f"Nothing is left out: which {many} the run was trained on cannot be told, since it "
            "has no splits.csv and its data is gone or is not what it was"
        )
    return (
        f"Left out {count} {one if count == 1 else many} that the run was trained or validated on"
    )


def command(run: Path, overrides: list[str]) -> str:
    """What to type to test a run."""
    return shlex.join(["fewshot", "evaluate", str(shown(run)), *overrides])
