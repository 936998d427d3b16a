"""Tasks from labelled images: every N-way K-shot task is a table of indices into one tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fewshot_cli.data.batch import TaskBatch


class ImageTasks:
    """A source of classification tasks.

    Args:
        images: for each split, every image of every class, uint8 `[classes, samples, C, H, W]`.
        device: where the images lie and the tasks are made.
    """

    def __init__(self, images: Mapping[str, Tensor], device: torch.device) -> None:
        self.images = {split: table.to(device) for split, table in images.items()}
        self.input_shape: tuple[int, ...] = tuple(images["train"].shape[2:])
        self.train_classes = len(images["train"])
        self.device = device

    def sample(
        self,
        split: str,
        tasks: int,
        ways: int,
        shots: int,
        queries: int,
        generator: torch.Generator,
    ) -> TaskBatch:
        """Draw classes, then images, both without replacement: support and query share none.

        Pixels are float32 in [0, 1].
        """
        table = self.images[split]
        classes, samples = table.shape[:2]
        # The largest of uniform keys are a uniform draw without replacement, for all tasks at once.
        chosen = torch.rand(tasks, classes, generator=generator).topk(ways).indices
        picks = torch.rand(tasks, ways, samples, generator=generator).topk(shots + queries).indices
        drawn = table[chosen[..., None].to(self.device), picks.to(self.device)]  # [T, N, K+Q, ...]
        drawn = drawn.float() / 255
        labels = torch.arange(ways, device=self.device)
        return TaskBatch(
            support_x=drawn[:, :, :shots].flatten(1, 2),
            support_y=labels.repeat_interleave(shots).expand(tasks, -1),
            query_x=drawn[:, :, shots:].flatten(1, 2),
            query_y=labels.repeat_interleave(queries).expand(tasks, -1),
            classes=chosen.to(self.device),
        )


def with_rotations(images: Tensor) -> Tensor:
    """Each class again turned by 90, 180 and 270 degrees, as classes of their own.

    `[classes, samples, C, S, S]` becomes `[4 * classes, samples, C, S, S]` (Santoro et al. 2016,
    the augmentation of Omniglot that MAML and Reptile use).
    """
    return torch.cat([images.rot90(turns, dims=(-2, -1)) for turns in range(4)])
