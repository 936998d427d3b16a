"""A function of tensors with autograd inside, compiled: worth it for long runs of small networks.

The function is traced once through all its gradients into one graph of plain operations, which
torch.compile's compiler, Inductor, then fuses. It is handed the graph itself: the checks by which
torch.compile finds the code for a call take a tenth of a small meta-update.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch._inductor
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

Function = Callable[..., tuple[Tensor, ...]]

TRIALS = 5
# What calls the kernels is compiled too, and looks at no tensor's layout: `Compiled` has done so.
ON_CPU = {"cpp_wrapper": True, "size_asserts": False}


@dataclass(frozen=True)
class Compilation:
    """What compiling took, in seconds, and what a call takes before and after.

    Attributes:
        what: a call computes, with its article.
        calls: that an iteration makes.
    """

    what: str
    seconds: float
    call_before: float
    call_after: float
    calls: int = 1

    @property
    def spared(self) -> float:
        """The seconds that an iteration takes less."""
        return self.calls * (self.call_before - self.call_after)


class Compiled:
    """`function` of tensors, compiled once for each set of shapes, layouts and types it meets.

    Tensors that the function takes from elsewhere, as a network's weights, are read anew at each
    call, so they may change in place.

    Args:
        what: a call computes, with its article.
        moves: so many of the tensors that are given take the values of the first results, and the
            call returns the others.
        calls: that an iteration makes.
    """

    def __init__(self, function: Function, what: str, moves: int = 0, calls: int = 1) -> None:
        self.function, self.what, self.moves, self.calls = function, what, moves, calls
        self.graphs: dict[tuple[object, ...], Function] = {}
        self.compilations: list[Compilation] = []

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        layout = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in given)
        if layout not in self.graphs:
            self.graphs[layout] = self._compile(given)
        with torch.no_grad():
            return self.graphs[layout](*given)

    def _compile(self, given: tuple[Tensor, ...]) -> Function:
        before = _seconds(lambda: self.function(*given))
        start = time.monotonic()
        # Tracing and trying it move copies.
        given = *(tensor.clone() for tensor in given[: self.moves]), *given[self.moves :]
        with torch.no_grad(), _quiet():
            with torch.enable_grad():
                graph = make_fx(self._moving, {torch.ops.aten.bmm.default: _product})(*given)
            for node in graph.graph.nodes:  # shapes as traced, which Inductor finds again itself
                node.meta.pop("val", None)
            options = ON_CPU if given[0].device.type == "cpu" else None
            with _keepable():
                compiled: Function = torch._inductor.compile(graph, list(given), options)
            compiled(*given)
            seconds = time.monotonic() - start
            after = _seconds(lambda: compiled(*given))
        self.compilations.append(Compilation(self.what, seconds, before, after, self.calls))
        return compiled

    def _moving(self, *given: Tensor) -> tuple[Tensor, ...]:
        results = self.function(*given)
        with torch.no_grad():
            for old, new in zip(given, results[: self.moves], strict=False):
                old.copy_(new)
        return results[self.moves :]


def _keepable() -> contextlib.AbstractContextManager[object]:
    """Inside it, Inductor keeps the code for other processes, which it asks a `ShapeEnv` for."""
    shapes = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
    return tracing(TracingContext(shapes))


def _product(a: Tensor, b: Tensor) -> Any:
    """`a [T, M, I]`, `b [T, I, O]`: their products `[T, M, O]`, as fast as can be when compiled.

    With one row, column or summand they are fused with what stands around them. A `b` that is one
    matrix expanded to T is multiplied once. Other products stay as they are.
    """
    (_, rows, inner), columns = a.shape, b.shape[2]
    if inner == 1:
        return a * b
    if rows == 1 or columns == 1:
        return (a[..., None] * b[:, None]).sum(2)
    if b.stride(0) == 0:
        return (a.reshape(-1, inner) @ b[0]).view(*a.shape[:2], columns)
    return NotImplemented


def _seconds(call: Callable[[], object]) -> float:
    """The fastest of a few calls."""
    times = []
    for _ in range(TRIALS):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return min(times)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the compiler's own warnings, such as that there is no CUDA."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
