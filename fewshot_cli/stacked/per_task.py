"""Layers whose weights have a leading dimension of T tasks, fast for few images a task.

The tasks lie one behind another in the batch dimension, `[T*B, ...]`; whatever has no weights
treats each example by itself and needs no change. Under `PerTaskLayers`, torch's `linear`,
`conv1d`, `conv2d` and `batch_norm` give each task its own weights:

- A convolution is a matrix product over unfolded patches, batched over tasks. Grouped convolutions
  are the other way, and slower on a CPU. Images and kernels lie channels-last, so that neither
  patches nor kernels are ever transposed.
- Batch norm's second derivative is written out: torch's own takes several times as long.

Everything is differentiable twice, as MAML needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fewshot_cli.stacked.statistics import batch_size

Pair = tuple[int, int]

FEW_CHANNELS = 3


class PerTaskLayers(TorchFunctionMode):
    """Inside this context, layers take `[T*B, ...]` and weights with a leading dimension T."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        chosen: Callable[..., Any] = PER_TASK.get(func, func)
        return chosen(*args, **(kwargs or {}))


def covers(net: nn.Module) -> bool:
    """Whether every layer of the network that has weights or mixes examples is one of these."""
    return all(
        type(module)
        in (
            *(nn.Linear, nn.ReLU, nn.LeakyReLU, nn.Flatten, nn.Sequential),
            *(nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
        )
        or "by_example" in vars(type(module))  # what a model says of its own modules
        or (
            isinstance(module, nn.Conv1d | nn.Conv2d)
            and type(module) in (nn.Conv1d, nn.Conv2d)
            and (module.groups, {*module.dilation}, module.padding_mode) == (1, {1}, "zeros")
            and not isinstance(module.padding, str)
        )
        or (
            type(module) in (nn.BatchNorm1d, nn.BatchNorm2d)
            and cast(nn.BatchNorm2d, module).affine
            and not cast(nn.BatchNorm2d, module).track_running_stats
        )
        for module in net.modules()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`[T*B, I]` and weights `[T, O, I]` to `[T*B, O]`."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    y = _Product.apply(x.reshape(len(weight), -1, x.shape[-1]), weight)
    if bias is not None:
        y = y.add_(bias[:, None])
    return cast(Tensor, y.view(*x.shape[:-1], -1))


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, *_: object
) -> Tensor:
    """`[T*B, C, H, W]` and weights `[T, O, C, h, w]` to `[T*B, O, H', W']`, channels-last."""
    patches = _Patches.apply(x.permute(0, 2, 3, 1), weight.shape[-2:], stride, padding)
    # [T, O, h*w*C]: no copy where the kernels lie channels-last
    kernels = weight.permute(0, 1, 3, 4, 2).flatten(2)
    return linear(patches, kernels, bias).permute(0, 3, 1, 2)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int],
    padding: tuple[int],
    *_: object,
) -> Tensor:
    """`[T*B, C, L]` and weights `[T, O, C, l]` to `[T*B, O, L']`: of images of one row."""
    rows = x[:, :, None], weight[:, :, :, None]
    return conv2d(*rows, bias, (1, *stride), (0, *padding))[:, :, 0]


def batch_norm(
    x: Tensor,
    mean: None,
    var: None,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """`[T*B, C, ...]` and weights `[T, C]`: by the statistics of each task's own batch.

    Inside `separate_batches` a task has several, each with statistics of its own.
    """
    examples = batch_size.get()
    if examples is not None:
        batches = len(x) // (examples * len(weight))
        weight, bias = (each.repeat_interleave(batches, 0) for each in (weight, bias))
    last = x.movedim(1, -1).to(weight.dtype)  # under autocast the statistics stay in float32
    y = _Norm.apply(last.reshape(*weight.shape[:1], -1, weight.shape[1]), weight, bias, eps)
    return cast(Tensor, y.view(last.shape).movedim(-1, 1))


PER_TASK: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.linear: linear,
    functional.conv1d: conv1d,
    functional.conv2d: conv2d,
    functional.batch_norm: batch_norm,
}


class _Product(Function):
    """`x [T, M, I]`, `w [T, O, I]`: `x w^T [T, M, O]`. `w` may be one matrix expanded to T."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return torch.bmm(x, w.mT)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Product.apply(g, w.mT) if wanted[0] else None,
            _Outer.apply(g, x) if wanted[1] else None,
        )


class _Outer(Function):
    """`g [T, M, O]`, `x [T, M, I]`: `g^T x [T, O, I]`, laid out as the weights are."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return torch.bmm(g.mT, x)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        g, x = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Product.apply(x, v) if wanted[0] else None,
            _Product.apply(g, v.mT) if wanted[1] else None,
        )


class _Patches(Function):
    """`[N, H, W, C]` to the patches under a kernel, `[N, H', W', h*w*C]`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        ctx.geometry = x.shape, kernel, stride, padding
        (top, left) = padding
        x = functional.pad(x, (0, 0, left, left, top, top))
        if x.shape[-1] > FEW_CHANNELS:
            return _unfolded(x, kernel, stride)
        # Pieces of so few numbers in a row take longer to copy than numbers that are looked up.
        places = torch.arange(x[0].numel(), device=x.device).view_as(x[:1])
        places = _unfolded(places, kernel, stride)
        return x.flatten(1).index_select(1, places.flatten()).view(-1, *places.shape[1:])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _AddPatches.apply(g, *ctx.geometry), None, None, None


def _unfolded(x: Tensor, kernel: Pair, stride: Pair) -> Tensor:
    patches = x.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
    return patches.permute(0, 1, 2, 4, 5, 3).flatten(3)


class _AddPatches(Function):
    """The transpose of `_Patches`: `[N, H', W', h*w*C]` added up to `[N, H, W, C]`."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, shape: torch.Size, kernel: Pair, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.geometry = kernel, stride, padding
        (top, left), (down, right) = padding, stride
        images, height, width, channels = shape
        rows, columns = g.shape[1:3]
        g = g.reshape(images, rows, columns, *kernel, channels)
        # The pixels of one stride lie side by side in a patch, and no other patch has them first:
        # they are added together, which takes a third of the passes over memory.
        high = max(rows + (kernel[0] - 1) // down, -(-(height + 2 * top) // down))
        wide = max(columns + (kernel[1] - 1) // right, -(-(width + 2 * left) // right))
        x = g.new_zeros(images, high, down, wide, right, channels)
        for i in range(-(-kernel[0] // down)):
            for j in range(-(-kernel[1] // right)):
                of_patch = slice(i * down, (i + 1) * down), slice(j * right, (j + 1) * right)
                part = g[:, :, :, *of_patch].transpose(2, 3)
                there = x[:, i : i + rows, : part.shape[2], j : j + columns, : part.shape[4]]
                if i or j:
                    there += part
                else:
                    there.copy_(part)
        x = x.view(images, high * down, wide * right, channels)
        return x[:, top : top + height, left : left + width]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        return _Patches.apply(v, *ctx.geometry), None, None, None, None


# Batch norm over the M rows of x [T, M, C], in each channel of each task. With
#     xh = (x - mean) * inv,   inv = 1 / sqrt(var + eps),   y = xh * w + b
# and the projection that takes out the parts along 1 and along xh,
#     P(u) = u - mean(u) - xh * mean(u * xh),
# the gradients are  dx = w * inv * P(g),  dw = sum(g * xh),  db = sum(g)  (Ioffe & Szegedy 2015).
# All of them, and their own gradients, are combinations of g, x and constants of a channel, which
# takes few passes over memory once the sums of products are known.


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        inv = centred.square().mean(1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, w, mean, inv)
        return torch.addcmul(b[:, None], centred, inv * w[:, None], out=centred)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return *_NormBackward.apply(g, *ctx.saved_tensors), None


class _NormBackward(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, mean: Tensor, inv: Tensor) -> Any:
        rows = x.shape[1]
        db = g.sum(1, keepdim=True)
        dw = (_sum_of_products(g, x) - mean * db) * inv
        scale = inv * w[:, None]
        of_x = -scale * inv * dw / rows
        dx = torch.addcmul(-scale * db / rows - of_x * mean, g, scale).addcmul_(x, of_x)
        ctx.save_for_backward(g, x, w, mean, inv, dw, db)
        return dx, dw[:, 0], db[:, 0]

    @staticmethod
    def backward(ctx: Any, vx: Tensor, vw: Tensor, vb: Tensor) -> Any:
        """The gradients of <vx, dx> + <vw, dw> + <vb, db> with respect to g, x and w."""
        g, x, w, mean, inv, dw, db = ctx.saved_tensors
        rows, w, vw, vb = x.shape[1], w[:, None], vw[:, None], vb[:, None]
        sum_v = vx.sum(1, keepdim=True)
        v_xh = (_sum_of_products(vx, x) - mean * sum_v) * inv / rows  # mean(vx * xh)
        g_xh = dw / rows
        v_pg = _sum_of_products(vx, g) - sum_v * db / rows - rows * v_xh * g_xh  # <vx, P(g)>
        scale = inv * w
        # d/dg = scale * P(vx) + vw * xh + vb
        of_x = (vw - scale * v_xh) * inv
        to_g = torch.addcmul(vb - scale * sum_v / rows - of_x * mean, vx, scale)
        to_g.addcmul_(x, of_x)
        # d/dx = inv * P(h) - w * inv^2 * v_pg * xh / rows,  h = d/dxh = of_v * vx + of_g * g
        of_v, of_g = -inv * scale * g_xh, inv * (vw - scale * v_xh)
        of_x = -(of_v * v_xh + of_g * g_xh + w * inv * inv * v_pg / rows) * inv
        to_x = torch.addcmul(-(of_v * sum_v + of_g * db) / rows - of_x * mean, vx, of_v)
        to_x.addcmul_(g, of_g).addcmul_(x, of_x)
        return to_g, to_x, (inv * v_pg)[:, 0], None, None


def _sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)
