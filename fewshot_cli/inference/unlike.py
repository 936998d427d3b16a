"""Which images are unlike every class: far from all class means, as support images never are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.base import class_means

# In standard deviations above the mean of how far a support image is from the others of its class.
# docs/images.md has how many images this names, of the classes and of others.
FAR = 1.5
# The mean cosine of two classes' images from where on a backbone hardly tells such images apart.
ALIKE = 0.55


@dataclass(frozen=True)
class Unlike:
    """The means of N classes, `[N, D]`, and how far from them an image of theirs may be."""

    means: Tensor
    limit: float

    def distances(self, features: Tensor) -> Tensor:
        """Of features `[B, D]` to the nearest class, `[B]`: above 1 is too far for all classes."""
        return torch.cdist(features, self.means).min(-1).values / self.limit


def unlike(features: Tensor, labels: Tensor) -> Unlike | None:
    """From a support set, class after class; None where a class mean has nothing to compare with.

    Args:
        features: `[B, D]`.
        labels: `[B]`.
    """
    counts = labels.bincount()[labels][:, None]
    means = class_means(features[None], labels[None])[0]
    others = (means[labels] * counts - features) / (counts - 1).clamp(min=1)
    far = (features - others).norm(dim=1)[counts[:, 0] > 1]
    if len(far) < 2:
        return None
    return Unlike(means, float(far.mean() + FAR * far.std()))


def likeness(features: Tensor, labels: Tensor) -> float:
    """The mean cosine between two images of different classes."""
    unit = functional.normalize(features, dim=-1)
    return float((unit @ unit.mT)[labels[:, None] != labels].mean())
