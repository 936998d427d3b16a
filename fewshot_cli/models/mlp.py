"""The regressor of MAML's sinusoids: two hidden layers of 40 with ReLU (Finn et al. 2017, 5.1)."""

from __future__ import annotations

import math

from torch import nn

from fewshot_cli.config import ModelConfig


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """`[B, *input_shape]` to `[B, outputs]`."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in config.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))
