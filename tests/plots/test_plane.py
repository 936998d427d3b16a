from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fewshot_cli.plots import plane


def cloud() -> Tensor:
    """40 points in 30 dimensions, of which two carry most of the variance, away from zero."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.tensor([5.0, 2.0, *[0.1] * 28])
    turned = torch.linalg.qr(torch.randn(30, 30, generator=generator)).Q
    return torch.randn(40, 30, generator=generator) * scales @ turned + 7


@pytest.mark.parametrize("kind", ["pca", "random"])
def test_the_axes_are_orthonormal(kind: str) -> None:
    axes = plane.through(cloud(), kind).axes
    assert torch.allclose(axes @ axes.T, torch.eye(2, dtype=torch.float64), atol=1e-12)


def test_pca_is_numpy_s() -> None:
    points = cloud().double().numpy()
    values, vectors = np.linalg.eigh(np.cov(points.T))
    found = plane.through(cloud(), "pca")
    assert found.shares.tolist() == pytest.approx((values[-1:-3:-1] / values.sum()).tolist())
    along = np.abs(found.axes.numpy() @ vectors[:, -1:-3:-1])
    assert along == pytest.approx(np.eye(2), abs=1e-6)


def test_the_last_point_lies_on_the_positive_side_of_each_axis() -> None:
    for points in (cloud(), cloud().flip(0), -cloud()):
        found = plane.through(points, "pca")
        assert (found.coordinates(points[-1] - points.mean(0)) > 0).all()


def test_shares_are_the_variance_of_the_coordinates() -> None:
    points = cloud()
    for kind in ("pca", "random"):
        found = plane.through(points, kind)
        seen = found.coordinates(points).var(0) / points.double().var(0).sum()
        assert torch.allclose(found.shares, seen)


def test_points_of_a_plane_are_shown_whole() -> None:
    """Two dimensions hold all the variance, and distances stay what they are."""
    flat = torch.linalg.qr(torch.randn(9, 2, generator=torch.Generator().manual_seed(0))).Q.T
    inside = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    found = plane.through(inside @ flat, "pca")
    assert float(found.shares.sum()) == pytest.approx(1)
    seen = found.coordinates(inside @ flat)
    assert torch.allclose(torch.cdist(seen, seen), torch.cdist(inside, inside).double(), atol=1e-5)


def test_the_random_plane_is_the_same_for_all_points_of_a_length() -> None:
    one, other = plane.through(cloud(), "random"), plane.through(cloud() * 2 - 1, "random")
    assert torch.equal(one.axes, other.axes)
