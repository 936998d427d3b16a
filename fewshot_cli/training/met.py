"""Which classes a run has met: a test on all classes of a folder leaves them out."""

from __future__ import annotations

import torch

from fewshot_cli import data
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.images import splits
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config


def classes_met(run: RunDirectory, config: Config) -> set[str] | None:
    """The classes that the run was trained or validated on, by their paths below its `data.root`.

    None where that cannot be told: early releases left no splits.csv, and the data is gone or is
    not what it was.

    Args:
        config: the run's own.

    Raises:
        UserError: its splits.csv cannot be read.
    """
    if not config.algo.meta_trains or not config.data.counted:
        return set()  # it was trained on nothing, or on classes without names
    if run.splits.is_file():
        chosen = splits.read(run.splits)
        return {*chosen["train"], *chosen["valid"]}
    try:
        source = data.load(config.data, config.cache_dir, torch.device("cpu"))
    except UserError:
        return None
    assert isinstance(source, ImageTasks | ArrayTasks)
    if config.data.fingerprint not in (None, source.fingerprint):
        return None
    return {*source.sizes["train"], *source.sizes["valid"]}
