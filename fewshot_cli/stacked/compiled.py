"""A function of tensors with autograd inside, compiled: worth it for long runs of small networks.

The function is traced once through all its gradients into one graph of plain operations, which
torch.compile then fuses (https://docs.pytorch.org/docs/stable/generated/torch.compile.html).
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]

TRIALS = 5


@dataclass(frozen=True)
class Compilation:
    """What compiling took, in seconds, and what a call takes before and after."""

    seconds: float
    call_before: float
    call_after: float


class Compiled:
    """`function` of tensors, compiled once for each set of shapes that it meets.

    Tensors that the function takes from elsewhere, as a network's weights, are read anew at each
    call, so they may change in place.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.graphs: dict[tuple[torch.Size, ...], Function] = {}
        self.compilations: list[Compilation] = []

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        shapes = tuple(tensor.shape for tensor in given)
        if shapes not in self.graphs:
            self.graphs[shapes] = self._compile(given)
        with torch.no_grad():
            return self.graphs[shapes](*given)

    def _compile(self, given: tuple[Tensor, ...]) -> Function:
        before = _seconds(lambda: self.function(*given))
        start = time.monotonic()
        with torch.no_grad(), _quiet():
            with torch.enable_grad():
                graph = make_fx(self.function)(*given)
            compiled = torch.compile(graph, fullgraph=True, dynamic=False)
            compiled(*given)
            seconds = time.monotonic() - start
            after = _seconds(lambda: compiled(*given))
        self.compilations.append(Compilation(seconds, before, after))
        return compiled


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
