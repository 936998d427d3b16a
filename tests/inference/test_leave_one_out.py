from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import config
from torch import Tensor

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.ncm import NearestMean
from fewshot_cli.inference import leave_one_out
from fewshot_cli.inference.leave_one_out import LeftOut, left_out
from fewshot_cli.stacked.acceleration import Acceleration


def head(name: str) -> NearestMean:
    net = models.Network(torch.nn.Linear(6, 3))
    found = algorithms.build(net, config(f"algo={name}").algo, 0, Acceleration(1))
    assert isinstance(found, NearestMean)
    return found


def support(counts: list[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = torch.randn(len(counts), 6, generator=generator)
    return centres[labels] + 0.5 * torch.randn(len(labels), 6, generator=generator), labels


@pytest.mark.parametrize("name", ["ncm", "ridge", "logistic"])
@pytest.mark.parametrize("most_alone", [200, 0])
def test_no_image_is_judged_by_a_head_that_saw_it(
    name: str, most_alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_one_out, "MOST_ALONE", most_alone)
    features, labels = support([12, 1, 15])
    found = left_out(head(name), features, labels)
    assert found is not None
    assert found.places.tolist() == [*range(12), *range(13, 28)]  # not the one that is alone
    step = 1 if most_alone else 10
    for at, place in enumerate(found.places.tolist()):
        out = found.places[at % step :: step] if step > 1 else torch.tensor([place])
        kept = torch.ones(28, dtype=torch.bool)
        kept[out] = False
        weight, bias = head(name).fitted(features[kept][None], labels[kept][None])
        expected = features[place] @ weight[0].mT + bias[0]
        assert torch.allclose(found.outputs[at], expected, atol=1e-4)


def test_without_a_second_image_nothing_is_left_out() -> None:
    assert left_out(head("ncm"), *support([1, 1, 1])) is None


def test_the_scale_makes_it_as_sure_as_it_is_right() -> None:
    """Of ten images with the same logits, eight are right: a softmax of 0.8."""
    outputs = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    labels = torch.tensor([0] * 8 + [1] * 2)
    found = LeftOut(torch.arange(10), outputs, labels)
    assert float((found.scale * outputs[0]).softmax(-1)[0]) == pytest.approx(0.8, abs=0.01)
    assert "80.0% of 10 support images (95 % interval 49.0% to 94.3%)" in found.sureness(False)


def test_the_surest_mislabelled_come_first() -> None:
    outputs = torch.tensor([[0.0, 8.0], [0.0, 9.0], [5.0, 0.0], [0.0, 0.1]])
    right = torch.tensor([[20.0, 0.0]]).repeat(40, 1)  # so that much certainty is deserved
    labels = torch.zeros(44, dtype=torch.int64)
    found = LeftOut(torch.arange(44), torch.cat([outputs, right]), labels)
    files = [Path(f"{place}.png") for place in range(44)]
    lines = found.mislabelled(files, ["cat", "dog"])
    assert [line.split()[1] for line in lines] == ["1.png", "0.png"]
    assert all("looks like dog" in line for line in lines)
