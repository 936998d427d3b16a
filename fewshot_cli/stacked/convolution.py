"""Grouped convolutions whose second derivative is as fast as their first.

torch differentiates a convolution's gradient group by group, so that a depthwise one of 672
channels takes 672 small convolutions. But a convolution, its gradient by the input and its
gradient by the weight are linear in each argument, and differentiating one gives the other two:

    y = conv(x, w)        dx = to_input(dy, w)       dw = to_weight(dy, x)
    x~ = to_input(u, w)   du = conv(dx~, w)          dw = to_weight(u, dx~)
    w~ = to_weight(u, x)  du = conv(x, dw~)          dx = to_input(u, dw~)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


class FastGroups(TorchFunctionMode):
    """Inside this context, grouped convolutions are those of this file."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is functional.conv2d:
            return conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def has_groups(net: nn.Module) -> bool:
    """Whether a network has what `FastGroups` makes fast."""
    return any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in net.modules())


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | str | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """As torch.nn.functional.conv2d."""
    if groups == 1 or isinstance(padding, str) or not torch.is_grad_enabled():
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    form = Form(_pair(stride), _pair(padding), _pair(dilation), groups)
    y = cast(Tensor, _Conv.apply(x, weight, form))
    return y if bias is None else y + bias[:, None, None]


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@dataclass(frozen=True)
class Form:
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def gradient(self, u: Tensor, x: Tensor, w: Tensor, by: int) -> Tensor:
        """Of <u, conv(x, w)>, by the input (0) or the weight (1)."""
        mask = by == 0, by == 1, False
        still = self.stride, self.padding, self.dilation, False, (0, 0), self.groups
        found: Tensor = torch.ops.aten.convolution_backward(u, x, w, None, *still, mask)[by]
        return found


class _Conv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, form: Form) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.form = form
        return functional.conv2d(x, w, None, form.stride, form.padding, form.dilation, form.groups)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        x, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _ToInput.apply(u, w, x.shape, ctx.form) if wanted[0] else None,
            _ToWeight.apply(u, x, w.shape, ctx.form) if wanted[1] else None,
            None,
        )


class _ToInput(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, w: Tensor, shape: torch.Size, form: Form) -> Tensor:
        ctx.save_for_backward(u, w)
        ctx.form = form
        last = u.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        of_shape = torch.empty(shape, dtype=u.dtype, device=u.device, memory_format=layout)
        return form.gradient(u, of_shape, w, by=0)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        u, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Conv.apply(v, w, ctx.form) if wanted[0] else None,
            _ToWeight.apply(u, v, w.shape, ctx.form) if wanted[1] else None,
            *(None, None),
        )


class _ToWeight(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, x: Tensor, shape: torch.Size, form: Form) -> Tensor:
        ctx.save_for_backward(u, x)
        ctx.form = form
        return form.gradient(u, x, u.new_empty(shape), by=1)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        u, x = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Conv.apply(x, v, ctx.form) if wanted[0] else None,
            _ToInput.apply(u, v, x.shape, ctx.form) if wanted[1] else None,
            *(None, None),
        )
