"""Out of memory: what filled it, and the settings that lower it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fewshot_cli.settings.errors import one_line
from fewshot_cli.settings.schema import Batching, Config


class OutOfMemoryError(Exception):
    """The device has no room for a meta-update."""


@contextmanager
def memory_explained(config: Config) -> Iterator[None]:
    """Say sizes and settings where torch says only that it could not allocate.

    Raises:
        OutOfMemoryError: for any failed allocation inside the `with`.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _no_room(error):
            raise
        asked = one_line(error).partition("Error code")[0]
        shots = config.algo.train_shots or config.shots
        examples = config.ways * (shots + config.queries)
        raise OutOfMemoryError(
            f"out of memory on device={config.device} with meta_batch={config.meta_batch} tasks "
            f"of {examples} examples, algo.inner_steps={config.algo.inner_steps}, "
            f"batching={config.batching.value}, chunk={config.chunk}; try {_less(config)} "
            f"({asked})"
        ) from error


def _no_room(error: Exception) -> bool:
    # torch's CPU allocator has no error of its own.
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def _less(config: Config) -> str:
    settings = []
    if config.batching is not Batching.sequential and config.chunk != 1:
        settings.append("batching=stacked chunk=1")
    if config.algo.recomputable and not config.algo.first_order and not config.recompute:
        settings.append("recompute=true")
    if config.meta_batch > 1:
        settings.append(f"meta_batch={config.meta_batch // 2}")
    return " or ".join(settings) or "a smaller model"
