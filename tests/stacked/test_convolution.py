from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli.stacked import convolution
from fewshot_cli.stacked.convolution import FastGroups, conv2d

FORMS = [
    {"stride": 1, "padding": 1, "groups": 6},
    {"stride": 2, "padding": (2, 1), "groups": 6},
    {"stride": (1, 2), "padding": 0, "dilation": 2, "groups": 3},
]


def arguments(groups: int, layout: torch.memory_format = torch.contiguous_format) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 6, 7, 8), (6, 6 // groups, 3, 3), (6,)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[0] = drawn[0].to(memory_format=layout)
    return [each.requires_grad_() for each in drawn]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_both_derivatives_are_those_of_finite_differences(form: dict[str, int]) -> None:
    x, weight, bias = arguments(form["groups"])

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv2d(x, weight, bias, **form)

    assert torch.allclose(of(x, weight, bias), functional.conv2d(x, weight, bias, **form))
    assert torch.autograd.gradcheck(of, (x, weight, bias))
    assert torch.autograd.gradgradcheck(of, (x, weight, bias))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_second_derivative_is_torch_s(
    form: dict[str, int], layout: torch.memory_format
) -> None:
    found = []
    for of in (conv2d, functional.conv2d):
        x, weight, bias = arguments(form["groups"], layout)
        loss = of(x, weight, bias, **form).pow(3).sum()
        first = torch.autograd.grad(loss, (x, weight), create_graph=True)
        found.append(torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, weight)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)


def test_only_grouped_convolutions_of_the_context_are_ours() -> None:
    net = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 2, 1))
    x = torch.randn(1, 6, 5, 5)
    with FastGroups():
        ours = net[0](x)
        assert "_Conv" in type(ours.grad_fn).__name__ or "Add" in type(ours.grad_fn).__name__
        assert "Convolution" in type(net[1](x).grad_fn).__name__
    assert "Convolution" in type(net[0](x).grad_fn).__name__
    assert convolution.has_groups(net)
    assert not convolution.has_groups(net[1])


def test_autocast_reaches_it() -> None:
    x, weight, bias = (each.detach().float().requires_grad_() for each in arguments(6))
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(x, weight, bias, groups=6)
    assert y.dtype is torch.bfloat16
    y.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype is torch.float32
