"""CNN-4: four blocks of 3x3 convolution, batch norm and ReLU (Vinyals et al. 2016).

MAML's Omniglot net (Finn et al. 2017, A.1) has 64 channels, strides instead of pooling, and takes
the mean over the last map; its mini-ImageNet net 32 channels, 2x2 max-pooling, and flattens.
Reptile's Omniglot net (Nichol et al. 2018) has strides and flattens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fewshot_cli.models import Network
from fewshot_cli.settings.schema import Downsample, Features, ModelConfig, key

BLOCKS = 4


@dataclass
class CNN4Config(ModelConfig):
    images_only = True
    downsample: Downsample = key(Downsample.stride, help="how a block halves its picture")
    features: Features = key(Features.mean, help="what the linear head reads of the last map")

    @property
    def smallest_image(self) -> int:
        return 16 if self.downsample is Downsample.pool else 2


def build(config: CNN4Config, input_shape: tuple[int, ...], outputs: int) -> Network:
    """`[B, C, S, S]` to `[B, outputs]`; batch norm always uses the batch's statistics."""
    channels, size, _ = input_shape
    pool = config.downsample is Downsample.pool
    layers: list[nn.Module] = []
    for _ in range(BLOCKS):
        layers += [
            nn.Conv2d(channels, config.channels, 3, stride=1 if pool else 2, padding=1),
            nn.BatchNorm2d(config.channels, track_running_stats=False),
            nn.ReLU(),
        ]
        if pool:
            layers.append(nn.MaxPool2d(2))
        channels = config.channels
        size = size // 2 if pool else (size + 1) // 2
    if config.features is Features.mean:
        layers.append(nn.AdaptiveAvgPool2d(1))
        size = 1
    return Network(*layers, nn.Flatten(), nn.Linear(channels * size * size, outputs))
