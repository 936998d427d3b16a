"""The path of theta through training: checkpoints of the start and of each meta-validation."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training import checkpoints
from fewshot_cli.training.setup import Setup

FOLDER = "paths"


def record(setup: Setup, directory: RunDirectory, iteration: int) -> None:
    """With `record_paths=true`, keep theta and what the algorithm carries as a point of the path.

    A point that is there stays as it is, so that a run that goes on keeps its earlier ones.
    """
    point = directory.path / FOLDER / f"{iteration}.pt"
    if setup.config.record_paths and directory.writes and not point.exists():
        checkpoints.save(point, setup.algorithm, iteration)


def recorded(directory: RunDirectory) -> list[Path]:
    """The points of a run's path, in the order of its iterations.

    Raises:
        UserError: there are none.
    """
    points = sorted((directory.path / FOLDER).glob("[0-9]*.pt"), key=lambda file: int(file.stem))
    if not points:
        raise UserError(
            f"{directory.path}: has no recorded path; expected a run of "
            "`fewshot train record_paths=true`"
        )
    return points
