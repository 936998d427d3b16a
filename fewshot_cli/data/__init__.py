"""Sources of tasks, one a file; each has `load(config, cache_dir, device) -> TaskSource`."""

from __future__ import annotations

import torch

from fewshot_cli import kinds
from fewshot_cli.config import DataConfig
from fewshot_cli.data.batch import TaskSource


def load(config: DataConfig, cache_dir: str, device: torch.device) -> TaskSource:
    """The source that the config names, its data in memory on the device.

    Raises:
        UserError: the data cannot be read; names the key or file.
    """
    source: TaskSource = kinds.call("data", config.kind, "load", config, cache_dir, device)
    return source
