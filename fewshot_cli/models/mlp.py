"""Fully connected layers with ReLU.

Two of 40 are the regressor of MAML's sinusoids (Finn et al. 2017, section 5.1); with batch norm,
256-128-64-64 is its other net for Omniglot (A.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from fewshot_cli.models import Network
from fewshot_cli.settings.schema import ModelConfig, key


@dataclass
class MLPConfig(ModelConfig):
    norm: bool = key(False, help="batch norm before each ReLU")


def build(config: MLPConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """`[B, *input_shape]` to `[B, outputs]`; batch norm always uses the batch's statistics."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in config.hidden:
        layers.append(nn.Linear(width, hidden))
        if config.norm:
            layers.append(nn.BatchNorm1d(hidden, track_running_stats=False))
        layers.append(nn.ReLU())
        width = hidden
    return Network(*layers, nn.Linear(width, outputs))
