"""CNN-4 in one dimension, for series: blocks of convolution, batch norm, ReLU and max-pooling."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Features, ModelConfig, key


@dataclass
class CNN1dConfig(ModelConfig):
    blocks: int = key(4, above=0, help="of convolutions, each of which halves the series")
    features: Features = key(Features.mean, help="what the linear head reads of the last map")


def build(config: CNN1dConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """`[B, C, L]` to `[B, outputs]`; batch norm always uses the batch's statistics.

    Raises:
        UserError: an example is no series, or one too short.
    """
    if len(input_shape) != 2:
        raise UserError(
            f"model=cnn1d: takes series [channels, length], and an example has shape "
            f"{list(input_shape)}; choose model=mlp, or model=cnn4 for images"
        )
    channels, length = input_shape
    if length < 2**config.blocks:
        most = length.bit_length() - 1
        raise UserError(
            f"model.blocks={config.blocks}: each halves the series, which has length {length}; "
            + (f"expected {most} or fewer" if most else "choose model=mlp")
        )
    layers: list[nn.Module] = []
    for _ in range(config.blocks):
        layers += [
            nn.Conv1d(channels, config.channels, 3, padding=1),
            nn.BatchNorm1d(config.channels, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool1d(2),
        ]
        channels, length = config.channels, length // 2
    if config.features is Features.mean:
        layers.append(nn.AdaptiveAvgPool1d(1))
        length = 1
    return Network(*layers, nn.Flatten(), nn.Linear(channels * length, outputs))
