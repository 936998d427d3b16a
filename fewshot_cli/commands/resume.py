"""`fewshot resume`: leaves the run directory as though the run had never been stopped.

Raises UserError where the run, its checkpoints or an override is wrong, before anything is written,
and SystemExit with 1 where the run failed.
"""

from __future__ import annotations

from fewshot_cli.arguments import Json, Overrides, Run
from fewshot_cli.progress import say
from fewshot_cli.runs import as_json, result
from fewshot_cli.runs.directory import RunDirectory, shown
from fewshot_cli.runs.ranks import place
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change


def resume(run: Run, overrides: Overrides = None, json: Json = None) -> None:
    """Go on with a run that was stopped, or with a finished one for more iterations.

    fewshot resume outputs/runs/NAME

    fewshot resume outputs/runs/NAME iterations=60000
    """
    directory = RunDirectory(run)
    if not directory.config.is_file():
        raise UserError(f"{run}: expected a run directory, which has a {directory.config.name}")
    config = compose.changed_config(directory.config, overrides or [], may_change("resume"))

    from fewshot_cli import trackers
    from fewshot_cli.training import checkpoints
    from fewshot_cli.training.ranks import follow, train
    from fewshot_cli.training.setup import device_and_data
    from fewshot_cli.training.state import earlier_in

    here = place(config.ranks)
    if here is not None and here.rank:
        follow(config, here)
        return
    # What is wrong with these costs a line, not the run's status.
    earlier = earlier_in(directory, config)
    if earlier is not None and earlier.trained(config):
        checkpoints.tested(directory, config.eval.checkpoint)
    device_and_data(config, begins=False)
    trackers.check(config)
    if earlier is not None:
        earlier.refuse_others(config)  # once more, since the content of the data is known now
    where = "the beginning" if earlier is None else f"iteration {earlier.content['iteration']}"
    with directory.recorded():
        say(f"Going on from {where}: {shown(run)}")
        train(config, directory)
    with as_json.in_place(json):
        result.show(directory)
    as_json.leave(json, result.content(directory))
