"""`fewshot evaluate`: meta-test a run's checkpoint again; leaves RUN/evaluations/NAME/.

With -m it tests each combination of several values, and leaves a table of them all.

Raises UserError where the run, its checkpoint or an override is wrong, before anything is written,
and SystemExit with 1 where a test failed.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Json, Overrides, Run
from fewshot_cli.runs import as_json, result
from fewshot_cli.runs.directory import RunDirectory, shown
from fewshot_cli.settings import compose
from fewshot_cli.settings.identity import may_change


def evaluate(
    run: Run,
    overrides: Overrides = None,
    multirun: Annotated[
        bool, typer.Option("-m", "--multirun", help="Test every combination of KEY=A,B,...")
    ] = False,
    json: Json = None,
) -> None:
    """Meta-test a run again, with other settings.

    fewshot evaluate outputs/runs/NAME eval.tasks=2000 algo.eval_steps=10

    fewshot evaluate outputs/runs/NAME data=omniglot data.root=DIR

    fewshot evaluate outputs/runs/NAME data=folder data.root=DIR data.split=test

    fewshot evaluate outputs/runs/NAME -m ways=5,20 shots=1,5 data=glyphs,omniglot:DIR
    """
    overrides = overrides or []
    trained = RunDirectory(run)
    # The rest of a run's config says how its weights came about.
    allowed = may_change("evaluate")
    if multirun:
        configs, keys = compose.changed_configs(trained.config, overrides, allowed)
        from fewshot_cli.training.retest import Retest

        grid = Retest(run).grid(configs, keys, command(run, ["-m", *overrides]))
        with as_json.in_place(json):
            grid.show()
        as_json.leave(json, grid.content())
        return
    config = compose.changed_config(trained.config, overrides, allowed)
    from fewshot_cli.training.retest import Retest

    retest = Retest(run)
    setup, iteration = retest.prepare(config)
    directory = retest.test(setup, iteration, again=command(run, overrides))
    more = [word for word in overrides if not word.lstrip("+").startswith("eval.tasks=")]
    with as_json.in_place(json):
        result.show(directory, command(run, more))
    as_json.leave(json, result.content(directory))


def command(run: Path, overrides: list[str]) -> str:
    """What to type to test a run."""
    return shlex.join(["fewshot", "evaluate", str(shown(run)), *overrides])
