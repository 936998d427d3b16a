"""`fewshot evaluate`: meta-test a run's checkpoint again; leaves RUN/evaluations/NAME/.

Raises UserError where the run, its checkpoint or an override is wrong, before anything is written,
and SystemExit with 1 where the test failed.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from fewshot_cli.arguments import Overrides, Run
from fewshot_cli.runs import result
from fewshot_cli.runs.directory import RunDirectory, new_name, shown
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change


def evaluate(run: Run, overrides: Overrides = None) -> None:
    """Meta-test a run again, with other settings.

    fewshot evaluate outputs/runs/NAME eval.tasks=2000 algo.eval_steps=10

    fewshot evaluate outputs/runs/NAME data=omniglot data.root=DIR
    """
    overrides = overrides or []
    trained = RunDirectory(run)
    before = compose.changed_config(trained.config, [], ()).data
    # The rest of a run's config says how its weights came about.
    config = compose.changed_config(trained.config, overrides, may_change("evaluate"))
    config.compile = False  # there is no meta-gradient in a test
    if config.data.regression != before.regression:
        raise UserError(f"data={config.data.name}: expected data of the kind of {before.name}")

    from fewshot_cli.training import checkpoints
    from fewshot_cli.training.run import meta_test, summary
    from fewshot_cli.training.setup import prepare

    start = time.monotonic()
    path, state = checkpoints.tested(trained, config.eval.checkpoint)
    setup = prepare(config)
    iteration = checkpoints.fill(path, setup.algorithm, state, any_ways=True)
    directory = RunDirectory(run / "evaluations" / new_name())
    directory.begin(config)
    with directory.recorded(again=command(run, overrides)):
        tested = meta_test(setup, directory, iteration, start)
        directory.write_summary(summary(config, tested, iteration, time.monotonic() - start))
    more = [word for word in overrides if not word.lstrip("+").startswith("eval.tasks=")]
    result.show(directory, command(run, [*more, "eval.tasks=2000"]))


def command(run: Path, overrides: list[str]) -> str:
    """What to type to test a run."""
    return shlex.join(["fewshot", "evaluate", str(shown(run)), *overrides])
