"""Which judged images a contact sheet shows: a few of each class, so that memory stays bounded."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OF_A_CLASS = 20
CLASSES = 40
SIDE = 96  # pixels; a sheet draws an image smaller than that


class LeastSure:
    """Of the images that are taken for a class, the least sure; of the classes, the first.

    Attributes:
        thumbnails: uint8 `[C, S, S]`, by the image's place among all that were judged.
    """

    def __init__(self) -> None:
        self.judged = 0
        self.kept: dict[int, list[tuple[float, int]]] = {}  # by class: how sure, which image
        self.thumbnails: dict[int, Tensor] = {}

    def add(self, images: Tensor, probabilities: Tensor) -> None:
        """The next images, uint8 `[B, C, S, S]`, and what is said of them, `[B, N]`."""
        first = self.judged
        self.judged += len(images)
        sure, classes = probabilities.max(-1)
        for place, own, image in zip(
            classes.tolist(), sure.tolist(), range(first, self.judged), strict=True
        ):
            self.kept.setdefault(place, []).append((own, image))
        for place in sorted(self.kept)[CLASSES:]:
            del self.kept[place]
        for of_class in self.kept.values():
            of_class.sort()
            del of_class[OF_A_CLASS:]
        self.thumbnails = {
            image: self.thumbnails[image] if image < first else thumbnail(images[image - first])
            for of_class in self.kept.values()
            for _, image in of_class
        }


def thumbnail(image: Tensor) -> Tensor:
    """`[C, S, S]` with at most `SIDE` pixels a side, apart from the batch that it comes from."""
    if image.shape[-1] <= SIDE:
        return image.clone()
    small = functional.interpolate(image[None].float(), SIDE, mode="area")[0]
    return small.round().to(torch.uint8)
