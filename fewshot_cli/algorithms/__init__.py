"""Meta-learning algorithms, one a file; each has `build(net, config, iterations, tactics)`.

An algorithm knows tasks, weights and gradients; nothing of files, bars or devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fewshot_cli import kinds

# Where it is missing, this says so before a run begins.
from fewshot_cli.algorithms import learn2learn as learn2learn
from fewshot_cli.algorithms.scores import Scores
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class Learner(Protocol):
    """Networks adapted to T tasks: `[T, B, ...]` to `[T, B, outputs]`."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[Tensor]:
        """First those of `net`, in their order, each `[T, ...]` where tasks are several."""
        ...


class Algorithm(Protocol):
    """What evaluation needs."""

    net: nn.Module  # holds the initialisation theta

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        """Copies of theta adapted to the support sets: before, and after each of `steps` steps.

        The same learner comes back each time, changed; theta stays as it is.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What training carries from one meta-update to the next, besides theta."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class MetaLearner(Algorithm, Protocol):
    """An algorithm that has an outer loop too."""

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        """Move theta once; the scores are those of the query sets after the inner loop."""
        ...


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> Algorithm:
    """The algorithm that the config names, over `net`'s weights.

    Args:
        net: its kernels are laid out channels-last where tasks adapt together (see `per_task.py`).
        iterations: meta-updates of the whole run; the meta learning rate's schedule ends there.
    """
    if tactics.chunk > 1:
        net.to(memory_format=torch.channels_last)
    algorithm: Algorithm = kinds.call(
        "algorithms", config.kind, "build", net, config, iterations, tactics
    )
    return algorithm
