"""Planes to look at weights in: two orthonormal directions, and how much of a cloud they show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """`axes [2, W]` are orthonormal; `shares [2]` is the part of the variance along each."""

    axes: Tensor
    shares: Tensor

    def coordinates(self, points: Tensor) -> Tensor:
        """`[..., W]` to `[..., 2]`."""
        found: Tensor = points.double() @ self.axes.T
        return found


def through(points: Tensor, kind: str) -> Plane:
    """The plane that shows most of the variance of `points [P, W]`, or one at random.

    Args:
        kind: "pca", or "random", which is the same plane for all points of as many weights.
    """
    centred = (points - points.mean(0)).double()
    if kind == "pca":
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
        # An axis may point either way: let the last point lie on its positive side.
        axes = axes * torch.where(axes @ centred[-1] < 0, -1.0, 1.0)[:, None]
    else:
        drawn = torch.randn(
            points.shape[1], 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        axes = torch.linalg.qr(drawn).Q.T
    return Plane(axes, (centred @ axes.T).square().sum(0) / centred.square().sum())
