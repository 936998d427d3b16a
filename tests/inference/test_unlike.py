from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fewshot_cli.inference.unlike import FAR, likeness, unlike


def support() -> tuple[Tensor, Tensor]:
    """Three tight classes of four features each, far from one another."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(4)
    return 5 * torch.eye(3, 8)[labels] + torch.rand(12, 8, generator=generator), labels


def test_the_limit_comes_from_images_beside_the_others_of_their_class() -> None:
    features, labels = support()
    far = torch.stack(
        [
            (one - features[(labels == label) & (torch.arange(12) != place)].mean(0)).norm()
            for place, (one, label) in enumerate(zip(features, labels, strict=True))
        ]
    )
    found = unlike(features, labels)
    assert found is not None
    assert found.limit == pytest.approx(float(far.mean() + FAR * far.std()), rel=1e-5)


def test_a_feature_far_from_all_classes_is_above_one() -> None:
    found = unlike(*support())
    assert found is not None
    own, foreign = support()[0], torch.eye(8)[6:] * 9
    assert (found.distances(own) < 1).all()
    assert (found.distances(foreign) > 1).all()


def test_a_lone_image_of_each_class_tells_nothing() -> None:
    assert unlike(torch.eye(3), torch.arange(3)) is None


def test_likeness_is_between_classes() -> None:
    same = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert likeness(same, torch.arange(2)) == pytest.approx(1)
    assert likeness(torch.eye(2), torch.arange(2)) == pytest.approx(0)
