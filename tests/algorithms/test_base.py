from __future__ import annotations

import math

import pytest
import torch
from helpers import config
from torch import nn

from fewshot_cli.algorithms.base import MetaOptimizer, for_ways


def steps(gradient: float, count: int, *overrides: str) -> list[float]:
    """How far each step moves a weight down along a constant gradient."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    settings = config("algo.meta_optimizer=sgd", "algo.meta_lr=0.5", *overrides).algo
    optimizer = MetaOptimizer([weight], settings, count)
    moves = []
    for _ in range(count):
        before = weight.item()
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step(torch.zeros(3))
        assert weight.grad is None
        moves.append(before - weight.item())
    return moves


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]),
    ],
)
def test_schedules(schedule: str, shares: list[float]) -> None:
    moves = steps(2.0, 4, f"algo.meta_schedule={schedule}")
    assert moves == pytest.approx([0.5 * 2 * share for share in shares])


def test_the_meta_gradient_is_clipped_by_value() -> None:
    assert steps(-7.0, 1, "algo.meta_clip=3", "algo.meta_schedule=constant") == [-1.5]
    assert steps(2.0, 1, "algo.meta_clip=3", "algo.meta_schedule=constant") == [1.0]


def test_what_fits_comes_back_as_it_is() -> None:
    learned = torch.rand(5, 3)
    assert for_ways(learned, torch.empty(5, 3)) is learned


def test_every_row_is_the_mean_of_the_learned_rows() -> None:
    learned = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert for_ways(learned, torch.empty(3, 2)).tolist() == [[2.0, 4.0]] * 3
    assert for_ways(torch.tensor([1.0, 5.0]), torch.empty(1)).tolist() == [3.0]
