"""`fewshot resume`: go on with a run where its last checkpoint is."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli import compose
from fewshot_cli.config import UserError
from fewshot_cli.identity import may_change
from fewshot_cli.progress import say
from fewshot_cli.reports import result
from fewshot_cli.runs.directory import RunDirectory, shown


def resume(run: Path, overrides: list[str]) -> None:
    """Leave the run directory as though the run had never been stopped.

    Raises:
        UserError: the run, its checkpoints or an override is wrong; nothing was written.
        SystemExit: 1 if the run failed.
    """
    directory = RunDirectory(run)
    if not directory.config.is_file():
        raise UserError(f"{run}: expected a run directory, which has a {directory.config.name}")
    config = compose.changed_config(directory.config, overrides, may_change("resume"))

    from fewshot_cli.training import checkpoints
    from fewshot_cli.training.run import run as train
    from fewshot_cli.training.setup import device_and_data
    from fewshot_cli.training.standing import left_in

    # What is wrong with these costs a line, not the run's status.
    left = left_in(directory, config)
    if left is not None and left.trained(config):
        checkpoints.tested(directory, config.eval.checkpoint)
    device_and_data(config)
    if left is not None:
        left.refuse_others(config)  # once more, since the content of the data is known now
    where = "the beginning" if left is None else f"iteration {left.state['iteration']}"
    with directory.recorded():
        say(f"Going on from {where}: {shown(run)}")
        train(config, directory)
    result.show(directory)
