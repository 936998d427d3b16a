"""What a support set says of itself: each image judged by a head that was fitted to the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.ncm import NearestMean

MOST_ALONE = 200  # images that are left out one by one; of more, a tenth at a time
AT_ONCE = 2**25  # numbers in the features of the folds that are fitted at once
SURE = 0.8  # that another class is meant, from where on an image looks mislabelled
NAMED = 5  # of those
SCALES = torch.logspace(-1, 3, 81)  # by which logits may be multiplied


@dataclass(frozen=True)
class LeftOut:
    """What a head says of support images that it was not fitted to.

    Attributes:
        places: of the L images in the support set, `[L]`.
        outputs: logits, `[L, N]`.
        labels: their classes, `[L]`.
    """

    places: Tensor
    outputs: Tensor
    labels: Tensor

    @property
    def right(self) -> int:
        return int((self.outputs.argmax(-1) == self.labels).sum())

    @property
    def scale(self) -> float:
        """By which logits are multiplied, so that their softmax is as sure as it is right."""
        return float(min(SCALES, key=self._loss))

    @property
    def loss(self) -> float:
        """The mean log-loss at that scale."""
        return self._loss(self.scale)

    def _loss(self, scale: float | Tensor) -> float:
        return float(functional.cross_entropy(scale * self.outputs, self.labels))

    def sureness(self, chose: bool) -> str:
        """How right the head is, with Wilson's interval.

        Args:
            chose: the same images chose the head.
        """
        low, high = binomtest(self.right, len(self.labels)).proportion_ci(method="wilson")
        share = self.right / len(self.labels)
        caution = ", optimistic, since it also chose the head" if chose else ""
        return (
            f"Leave-one-out accuracy {share:.1%} of {len(self.labels)} support images "
            f"(95 % interval {low:.1%} to {high:.1%}{caution})"
        )

    def mislabelled(self, files: Sequence[Path], classes: Sequence[str]) -> list[str]:
        """A line for each image that looks like one of another class, the surest first."""
        said = (self.scale * self.outputs).softmax(-1)
        sure, other = said.max(-1)
        order = sure.argsort(descending=True).tolist()
        found = [at for at in order if sure[at] >= SURE and other[at] != self.labels[at]]
        lines = [
            f"Mislabelled? {files[int(self.places[at])]} looks like {classes[int(other[at])]} "
            f"({float(sure[at]):.0%})"
            for at in found[:NAMED]
        ]
        more = len(found) - NAMED
        return [*lines, f"Mislabelled? {more} images more"] if more > 0 else lines


def left_out(head: NearestMean, features: Tensor, labels: Tensor) -> LeftOut | None:
    """Fit a head without some images and ask it about them, until all were asked about.

    Images that are alone in their class stay; None where all are.

    Args:
        features: of the support set, `[B, D]`, class after class.
        labels: `[B]`.
    """
    counts = labels.bincount()
    free = (counts[labels] > 1).nonzero()[:, 0]
    if not len(free):
        return None
    outputs = torch.empty(len(free), len(counts))
    order = {int(place): at for at, place in enumerate(free)}
    for places in _folds(free, labels):
        rest = torch.stack([_without(len(labels), out) for out in places])
        weight, bias = head.fitted(features[rest], labels[rest])
        for out, own_weight, own_bias in zip(places, weight, bias, strict=True):
            at = [order[int(place)] for place in out]
            outputs[at] = (features[out] @ own_weight.mT + own_bias).cpu()
    return LeftOut(free.cpu(), outputs, labels[free].cpu())


def _without(images: int, out: Tensor) -> Tensor:
    kept = torch.ones(images, dtype=torch.bool)
    kept[out.cpu()] = False
    return kept.nonzero()[:, 0].to(out.device)


def _folds(free: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Places that are left out together, in batches of folds of one size, `[F, ...]`."""
    if len(free) <= MOST_ALONE:
        yield from free[:, None].split(max(1, AT_ONCE // (len(labels) * 2048)))
        return
    # As images lie class after class, each tenth one leaves every class most of its images.
    for first in range(10):
        yield free[first::10][None]
