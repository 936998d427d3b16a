"""Sources of tasks, one a file; each has `load(config, cache_dir, device) -> TaskSource`."""

from __future__ import annotations

import copy
import dataclasses
import typing

from fewshot_cli.settings import choices
from fewshot_cli.settings.schema import DataConfig

if typing.TYPE_CHECKING:  # `fewshot data` reads data/images/tree.py and needs no torch
    import torch

    from fewshot_cli.data.task import TaskSource

# The latest source: the check before a run and the jobs of a sweep ask for the same one again.
_held: dict[str, typing.Any] = {}


def load(config: DataConfig, cache_dir: str, device: torch.device) -> TaskSource:
    """The source that the config names, its data in memory on the device.

    Raises:
        UserError: the data cannot be read; names the key or file.
    """
    asked = (dataclasses.replace(config, fingerprint=None), cache_dir, device)
    if _held.get("asked") != asked:
        _held.clear()  # first, so that two data sets are never in memory together
        source: TaskSource = choices.function("data", config.kind, "load")(
            config, cache_dir, device
        )
        if config.image_size is not None:
            # Here, since a list of what a folder holds needs no torch.
            from fewshot_cli.data.images import augmentation, episodes

            if isinstance(source, episodes.ImageTasks):
                source.augment = augmentation.build(config.augment, config.image_size)
        _held.update(asked=copy.deepcopy(asked), source=source)
    return typing.cast("TaskSource", _held["source"])
