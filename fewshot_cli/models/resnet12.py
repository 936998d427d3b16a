"""ResNet-12: four residual blocks of three 3x3 convolutions, for natural images.

The widths 64, 160, 320, 640 are those of Lee et al. 2019 (MetaOptNet, section 4.1), for whom
`channels` is 64. Without their DropBlock: it draws its own numbers on every pass, and an inner loop
that differentiates through several passes, or repeats them, needs the same net each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fewshot_cli.models import Network
from fewshot_cli.settings.schema import ModelConfig

WIDTHS = (1.0, 2.5, 5.0, 10.0)  # of the blocks, in `channels`


@dataclass
class ResNet12Config(ModelConfig):
    images_only = True

    @property
    def smallest_image(self) -> int:
        return 16  # four blocks halve it


class Block(nn.Module):
    """`[B, C, S, S]` to `[B, width, S // 2, S // 2]`."""

    by_example = True  # no image sees another but in its layers (see stacked/per_task.py)

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(convolution(channels, width, 3), nn.LeakyReLU(0.1)),
            *(convolution(width, width, 3), nn.LeakyReLU(0.1)),
            convolution(width, width, 3),
        )
        self.shortcut = convolution(channels, width, 1)
        self.after = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.after(self.layers(x) + self.shortcut(x))
        return halved


def convolution(channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width, track_running_stats=False),
    )


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """`[B, C, S, S]` to `[B, outputs]`; batch norm always uses the batch's statistics."""
    channels = input_shape[0]
    blocks: list[nn.Module] = []
    for share in WIDTHS:
        width = int(share * config.channels)
        blocks.append(Block(channels, width))
        channels = width
    return Network(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
