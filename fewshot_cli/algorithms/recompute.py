"""Inner steps that keep no graph and are done again on the backward pass (Chen et al. 2016).

Second-order MAML differentiates through K inner steps and so keeps K graphs. Here only the weights
between the steps are kept; a step's graph lives while the backward pass goes through that step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Step = Callable[[list[Tensor]], list[Tensor]]


def recomputed(step: Step, weights: list[Tensor]) -> list[Tensor]:
    """`step(weights)`, differentiable with respect to the weights, once.

    Args:
        step: from the weights before an inner step to those after it; must do the same each time.
    """
    return list(_Recomputed.apply(step, *weights))


class _Recomputed(Function):
    @staticmethod
    def forward(ctx: Any, step: Step, *weights: Tensor) -> Any:
        ctx.step = step
        ctx.save_for_backward(*weights)
        return tuple(weight.detach() for weight in _alone(step, weights)[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        before, after = _alone(ctx.step, ctx.saved_tensors)
        return None, *torch.autograd.grad(after, before, gradients)


def _alone(step: Step, weights: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """The step on weights that no earlier graph hangs on: they, and those after it."""
    with torch.enable_grad():
        before = [weight.detach().requires_grad_() for weight in weights]
        return before, step(before)
