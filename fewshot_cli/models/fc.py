"""MAML's other net for Omniglot: 256-128-64-64, batch norm and ReLU (Finn et al. 2017, A.1)."""

from __future__ import annotations

import math

from torch import nn

from fewshot_cli.config import ModelConfig


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """`[B, *input_shape]` to `[B, outputs]`; batch norm always uses the batch's statistics."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in config.hidden:
        norm = nn.BatchNorm1d(hidden, track_running_stats=False)
        layers += [nn.Linear(width, hidden), norm, nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))
