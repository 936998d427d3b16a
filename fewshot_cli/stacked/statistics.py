"""Batch norm by the first examples of a batch alone, such as a task's support set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class LeadingStatistics(TorchFunctionMode):
    """Inside this context, batch norm by a batch's statistics takes those of its first examples.

    So it answers for the others one by one (the statistics "of the context" of Bronskill et al.
    2020, TaskNorm, section 3).

    Args:
        examples: how many.
    """

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.examples = examples

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        first = x[: self.examples]
        others = [dim for dim in range(x.dim()) if dim != 1]
        mean = first.mean(others, keepdim=True)
        scale = (first.var(others, unbiased=False, keepdim=True) + eps).rsqrt()
        if weight is not None:
            scale = scale * weight.view_as(scale)
        y = (x - mean) * scale
        return y if bias is None else y + bias.view_as(mean)
