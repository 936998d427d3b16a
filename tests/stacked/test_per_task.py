"""Each layer against torch's own, task by task, with its first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from fewshot_cli.stacked.per_task import PerTaskLayers, covers

TASKS, EXAMPLES = 3, 4

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def conv(stride: tuple[int, int], padding: tuple[int, int]) -> Layer:
    return lambda x, w, b: functional.conv2d(x, w, b, stride, padding, (1, 1), 1)


def conv1d(stride: int, padding: int) -> Layer:
    return lambda x, w, b: functional.conv1d(x, w, b, (stride,), (padding,), (1,), 1)


def norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return functional.batch_norm(x, None, None, w, b, True, 0.1, 1e-5)


CASES: dict[str, tuple[Layer, tuple[int, ...], tuple[int, ...]]] = {
    "linear": (functional.linear, (5,), (3, 5)),
    "conv": (conv((1, 1), (0, 0)), (2, 4, 5), (3, 2, 3, 3)),
    "strided conv": (conv((2, 2), (1, 1)), (2, 5, 4), (3, 2, 3, 3)),
    "odd conv": (conv((1, 2), (2, 1)), (2, 4, 5), (3, 2, 3, 2)),
    "conv of series": (conv1d(1, 1), (2, 5), (3, 2, 3)),
    "strided conv of series": (conv1d(2, 0), (2, 6), (3, 2, 2)),
    "norm of series": (norm, (3, 4), (3,)),
    "norm of vectors": (norm, (3,), (3,)),
    "norm of maps": (norm, (3, 2, 2), (3,)),
}


def draw(case: str) -> tuple[Layer, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    layer, inputs, weights = CASES[case]
    shapes = (TASKS * EXAMPLES, *inputs), (TASKS, *weights), (TASKS, weights[0])
    x, w, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    return layer, x, w, b


def per_task(layer: Layer, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    with PerTaskLayers():
        return layer(x, w, b)


@pytest.mark.parametrize("case", CASES)
def test_each_task_has_its_own_weights(case: str) -> None:
    layer, x, w, b = draw(case)
    alone = [layer(*task) for task in zip(x.chunk(TASKS), w, b, strict=True)]
    assert torch.allclose(per_task(layer, x, w, b), torch.cat(alone), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_weights_that_all_tasks_share_need_no_copies(case: str) -> None:
    layer, x, w, b = draw(case)
    shared = per_task(layer, x, w[0].expand(w.shape), b[0].expand(b.shape))
    alone = [layer(task, w[0], b[0]) for task in x.chunk(TASKS)]
    assert torch.allclose(shared, torch.cat(alone), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_derivatives(case: str) -> None:
    layer, *given = draw(case)

    def run(*inputs: Tensor) -> Tensor:
        return per_task(layer, *inputs)

    assert gradcheck(run, given)
    assert gradgradcheck(run, given)


def test_what_is_not_covered_is_known() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    assert covers(plain)
    assert covers(nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.MaxPool1d(2)))
    for other in (
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.Conv1d(2, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.BatchNorm2d(2),
        nn.BatchNorm2d(2, affine=False, track_running_stats=False),
        nn.LayerNorm(2),
    ):
        assert not covers(nn.Sequential(plain, other))
