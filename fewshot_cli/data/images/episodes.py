"""Tasks from labelled images: every N-way K-shot task is a table of indices into one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fewshot_cli.data.images import mapped
from fewshot_cli.data.images.augmentation import Augmentation
from fewshot_cli.data.images.mapped import Mapped
from fewshot_cli.data.task import TaskBatch, TaskShape


class ImageTasks:
    """A source of classification tasks.

    Args:
        images: for each split, every image of every class, uint8 `[classes, samples, C, H, W]`,
            or with `sizes` `[images, C, H, W]`, class after class, in memory or mapped.
        device: where the images lie and the tasks are made.
        sizes: for each split, how many images each class has, by name.
        names: for each split, what to call its classes; none: as in `sizes`, or by number.
    """

    def __init__(
        self,
        images: Mapping[str, Tensor | Mapped],
        device: torch.device,
        sizes: Mapping[str, Mapping[str, int]] | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.images = {
            split: table if isinstance(table, Mapped) else table.to(device)
            for split, table in images.items()
        }
        self.sizes = sizes or {
            split: {str(place): table.shape[1] for place in range(len(table))}
            for split, table in images.items()
        }
        self.names = names or {split: list(classes) for split, classes in self.sizes.items()}
        self.input_shape: tuple[int, ...] = tuple(images["train"].shape[-3:])
        self.train_classes = len(self.sizes["train"])
        self.device = device
        self.augment: Augmentation | None = None  # of the images of meta-train
        self._counts = {
            split: torch.tensor(list(classes.values()), dtype=torch.int64)
            for split, classes in self.sizes.items()
        }

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every image and of which class and split it is in."""
        digest = hashlib.sha256()
        for split, table in self.images.items():
            digest.update(repr((split, list(self.sizes[split].items()), table.shape)).encode())
            if isinstance(table, Mapped):
                digest.update(b"".join(table.digests()))
            else:
                digest.update(table.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """Draw classes, then images, both without replacement: support and query share none.

        Pixels are float32 in [0, 1].
        """
        return self.drawn(split, *self.draw(split, tasks, shape, generator), shape, generator)

    def draw(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The places of each task's images in the split, `[T, N, K+Q]`; its classes, `[T, N]`."""
        ways, shots, queries = shape.ways, shape.shots, shape.queries
        counts = self._counts[split]
        first = counts.cumsum(0) - counts  # each class's first image
        samples = int(counts.max())
        # The largest of uniform keys are a uniform draw without replacement, for all tasks at once.
        chosen = torch.rand(tasks, len(counts), generator=generator).topk(ways).indices
        keys = torch.rand(tasks, ways, samples, generator=generator)
        if int(counts.min()) < samples:
            keys[torch.arange(samples) >= counts[chosen][..., None]] = -1  # no such image
        return first[chosen][..., None] + keys.topk(shots + queries).indices, chosen

    def drawn(
        self,
        split: str,
        places: Tensor,
        classes: Tensor,
        shape: TaskShape,
        generator: torch.Generator,
    ) -> TaskBatch:
        """The tasks that `draw` chose, or some of them."""
        return self.batch(self.examples(split, places, generator), classes, shape)

    def pixels(self, split: str, places: Tensor) -> Tensor:
        """The images at places of a split, uint8 `[..., C, H, W]`, on the device."""
        table = self.images[split]
        if isinstance(table, Mapped):
            return table[places].to(self.device)
        # Whole images; an index in brackets would look up every pixel.
        chosen = table.view(-1, *self.input_shape).index_select(0, places.to(self.device).flatten())
        return chosen.view(*places.shape, *self.input_shape)

    def digests(self, split: str) -> list[bytes]:
        """What tells the images of a split apart, by their pixels."""
        table = self.images[split]
        if isinstance(table, Mapped):
            return table.digests()
        return [mapped.digest(image) for image in table.cpu().view(-1, *self.input_shape)]

    def examples(self, split: str, places: Tensor, generator: torch.Generator) -> Tensor:
        """The same in [0, 1]; images of meta-train are augmented where that is asked for."""
        drawn = self.pixels(split, places).float() / 255
        if split == "train" and self.augment is not None:
            drawn = self.augment(drawn.flatten(0, 2), generator).view_as(drawn)
        return drawn

    def batch(self, drawn: Tensor, classes: Tensor, shape: TaskShape) -> TaskBatch:
        """Tasks from their examples, `[T, N, K+Q, ...]`, and the classes that these are of."""
        ways, shots, queries = shape.ways, shape.shots, shape.queries
        tasks = len(drawn)
        labels = torch.arange(ways, device=self.device)
        return TaskBatch(
            support_x=drawn[:, :, :shots].flatten(1, 2),
            support_y=labels.repeat_interleave(shots).expand(tasks, -1),
            query_x=drawn[:, :, shots:].flatten(1, 2),
            query_y=labels.repeat_interleave(queries).expand(tasks, -1),
            classes=classes.to(self.device),
        )


def with_rotations(images: Tensor) -> Tensor:
    """Each class again turned by 90, 180 and 270 degrees, as classes of their own.

    `[classes, samples, C, S, S]` becomes `[4 * classes, samples, C, S, S]` (Santoro et al. 2016,
    the augmentation of Omniglot that MAML and Reptile use).
    """
    return torch.cat([images.rot90(turns, dims=(-2, -1)) for turns in range(4)])
