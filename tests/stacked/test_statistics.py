from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.stacked import per_task
from fewshot_cli.stacked.statistics import LeadingStatistics, batch_size, separate_batches

SUPPORT = 4


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (6, 3, 4, 4), (3,), (3,)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )
    return x, weight, bias


def leading(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    with LeadingStatistics(SUPPORT):
        return functional.batch_norm(x, None, None, weight, bias, True)


def test_the_first_examples_give_the_statistics() -> None:
    x, weight, bias = batch()
    y = leading(x, weight, bias)
    alone = functional.batch_norm(x[:SUPPORT], None, None, weight, bias, True)
    assert torch.allclose(y[:SUPPORT], alone)
    mean, deviation = x[:SUPPORT].mean((0, 2, 3)), x[:SUPPORT].var((0, 2, 3), unbiased=False)
    wide = (each[:, None, None] for each in (mean, deviation, weight, bias))
    mean, deviation, scale, shift = wide
    assert torch.allclose(y, (x - mean) / (deviation + 1e-5).sqrt() * scale + shift)


def test_no_example_sees_a_later_one() -> None:
    x, weight, bias = batch()
    both, one = leading(x, weight, bias), leading(x[: SUPPORT + 1], weight, bias)
    assert torch.allclose(both[SUPPORT], one[SUPPORT])


def test_it_is_differentiable_twice() -> None:
    assert torch.autograd.gradcheck(leading, batch())
    assert torch.autograd.gradgradcheck(leading, batch())


def test_stored_statistics_stay() -> None:
    x, weight, bias = batch()
    stored = torch.rand(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 1
    with LeadingStatistics(SUPPORT):
        y = functional.batch_norm(x, *stored, weight, bias)
    assert torch.equal(y, functional.batch_norm(x, *stored, weight, bias))


@pytest.mark.parametrize("tasks", [1, 2])
def test_each_of_many_batches_has_statistics_of_its_own(tasks: int) -> None:
    """Through torch's own batch norm, and through that of many tasks."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, 5, SUPPORT, 3, 4, 4, generator=generator, dtype=torch.float64)
    weight, bias = torch.randn(2, tasks, 3, generator=generator, dtype=torch.float64)
    with separate_batches(SUPPORT), per_task.PerTaskLayers() if tasks > 1 else nullcontext():
        own = (weight, bias) if tasks > 1 else (weight[0], bias[0])
        y = functional.batch_norm(x.flatten(0, 2), None, None, *own, True)
    for task, batches in enumerate(x):
        for place, batch in enumerate(batches):
            alone = functional.batch_norm(batch, None, None, weight[task], bias[task], True)
            assert torch.allclose(y.view(x.shape)[task, place], alone)
    assert batch_size.get() is None
