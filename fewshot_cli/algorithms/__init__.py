"""Meta-learning algorithms, one a file, each a class over those of `base.py`."""

from __future__ import annotations

import torch

from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.models import Network
from fewshot_cli.settings import choices
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked.acceleration import Acceleration


def build(
    net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
) -> Algorithm:
    """The algorithm that the config names, over `net`'s weights.

    Args:
        net: its kernels are laid out channels-last where tasks adapt together
            (see `stacked/per_task.py`).
        iterations: meta-updates of the whole run; the meta learning rate's schedule ends there.
    """
    if acceleration.chunk > 1:
        net.to(memory_format=torch.channels_last)
    file = choices.code("algorithms", config.kind)
    algorithm, *more = (
        each
        for each in vars(file).values()
        if isinstance(each, type)
        and issubclass(each, Algorithm)
        and each.__module__ == file.__name__
    )
    if more:
        raise TypeError(f"{file.__name__}: has several algorithms; expected one")
    return algorithm(net, config, iterations, acceleration)
