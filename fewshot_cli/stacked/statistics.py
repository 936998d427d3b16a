"""Batch norm that takes its statistics of a part of what passes a network together.

By the first examples alone, such as a task's support set; or of many batches by each one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _BatchNorm(TorchFunctionMode):
    """Inside this context, `batch_norm` stands in the place of torch's own.

    Args:
        examples: what it counts by.
    """

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.examples = examples

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        chosen = self.batch_norm if func is functional.batch_norm else func
        return chosen(*args, **(kwargs or {}))

    def batch_norm(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        raise NotImplementedError


class LeadingStatistics(_BatchNorm):
    """Inside this context, batch norm by a batch's statistics takes those of its first examples.

    So it answers for the others one by one (the statistics "of the context" of Bronskill et al.
    2020, TaskNorm, section 3).

    Args:
        examples: how many.
    """

    def batch_norm(
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


# How many examples in a row are a batch; none: all that pass together. For layers that do not call
# torch's own batch norm (see per_task.py).
batch_size: ContextVar[int | None] = ContextVar("batch_size", default=None)


@contextmanager
def separate_batches(examples: int) -> Iterator[None]:
    """Inside the `with`, batch norm takes each `examples` in a row for a batch of its own.

    So many batches pass a network at once, and none sees another.
    """
    before = batch_size.set(examples)
    try:
        with _SeparateStatistics(examples):
            yield
    finally:
        batch_size.reset(before)


class _SeparateStatistics(_BatchNorm):
    def batch_norm(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        batches = x.split(self.examples)
        return torch.cat([functional.batch_norm(each, *others, **named) for each in batches])
