"""The one thing that flows from data to algorithms: a batch of tasks in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskBatch:
    """T tasks, each with N classes (N = 1 for regression), K support and Q query examples a class.

    Shapes: `support_x [T, N*K, ...]`, `support_y [T, N*K]`, `query_x [T, N*Q, ...]`,
    `query_y [T, N*Q]`; class-major, labels 0..N-1 (int64) or float targets. `classes [T, N]` says
    which class of its split a label stands for; regression has none.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    classes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.support_x)

    def split(self, size: int) -> Iterator[TaskBatch]:
        """The same tasks in batches of at most `size`."""
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            support_x, support_y, query_x, query_y = (field[part] for field in self.fields())
            classes = None if self.classes is None else self.classes[part]
            yield TaskBatch(support_x, support_y, query_x, query_y, classes)

    def fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.support_x, self.support_y, self.query_x, self.query_y


class TaskSource(Protocol):
    """Where tasks come from; `input_shape` is that of one example."""

    input_shape: tuple[int, ...]
    train_classes: int  # of the meta-train split; 1 for regression

    def sample(
        self,
        split: str,
        tasks: int,
        ways: int,
        shots: int,
        queries: int,
        generator: torch.Generator,
    ) -> TaskBatch:
        """Draw `tasks` tasks from "train", "valid" or "test", on the source's device."""
        ...
