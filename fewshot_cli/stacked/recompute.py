"""Inner steps that keep no graph and are done again on the backward pass (Chen et al. 2016).

Second-order MAML differentiates through K inner steps and so keeps K graphs. Here only the weights
before them are kept. The backward pass goes to the middle, differentiates the second half, then the
first, each in the same way: log K weights at a time, and the graph of one step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Step = Callable[[list[Tensor]], list[Tensor]]


def recomputed(step: Step, times: int, weights: list[Tensor]) -> list[Tensor]:
    """`times` steps from `weights`, differentiable with respect to them, once.

    Args:
        step: from the weights before an inner step to those after it; must do the same each time.
    """
    return list(_Recomputed.apply(step, times, *weights))


class _Recomputed(Function):
    @staticmethod
    def forward(ctx: Any, step: Step, times: int, *weights: Tensor) -> Any:
        ctx.step, ctx.times = step, times
        ctx.save_for_backward(*weights)
        return tuple(_after(step, times, list(weights)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weights = list(ctx.saved_tensors)
        return None, None, *_pulled_back(ctx.step, ctx.times, weights, gradients)


def _pulled_back(
    step: Step, times: int, weights: list[Tensor], gradients: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """From the gradients after the steps to those before them."""
    if times == 1:
        with torch.enable_grad():
            before = _leaves(weights)
            return torch.autograd.grad(step(before), before, gradients)
    half = times // 2
    middle = _after(step, half, weights)
    gradients = _pulled_back(step, times - half, middle, gradients)
    del middle
    return _pulled_back(step, half, weights, gradients)


def _after(step: Step, times: int, weights: list[Tensor]) -> list[Tensor]:
    for _ in range(times):
        with torch.enable_grad():
            weights = [weight.detach() for weight in step(_leaves(weights))]
    return weights


def _leaves(weights: list[Tensor]) -> list[Tensor]:
    """The same weights, which no earlier graph hangs on."""
    return [weight.detach().requires_grad_() for weight in weights]
