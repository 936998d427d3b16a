"""What flows from data to algorithms, a batch of tasks in memory, and how answers are scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.settings.measure import ACCURACY, LOSS, Measure


@dataclass(frozen=True)
class TaskShape:
    """N-way K-shot: N classes (1 for regression) with K support and Q query examples each."""

    ways: int
    shots: int
    queries: int


@dataclass(frozen=True)
class TaskBatch:
    """T tasks of one shape: N classes with K support and Q query examples each.

    Shapes: `support_x [T, N*K, ...]`, `support_y [T, N*K]`, `query_x [T, N*Q, ...]`,
    `query_y [T, N*Q]`; class-major, labels 0..N-1 (int64) or float targets, `[T, K, D]` with
    several outputs. `classes [T, N]` says which class of its split a label stands for; regression
    has none. `shared`: labels mean the same in all tasks, and `groups [T]` says which group of its
    split a task is. `unit [D]` is that of float targets, in which scores are given; without it, it
    is 1.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    classes: Tensor | None = None
    shared: bool = field(default=False, kw_only=True)
    unit: Tensor | None = field(default=None, kw_only=True)
    groups: Tensor | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.support_x)

    def split(self, size: int) -> Iterator[TaskBatch]:
        """The same tasks in batches of at most `size`."""
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            classes = None if self.classes is None else self.classes[part]
            groups = None if self.groups is None else self.groups[part]
            support_x, support_y, query_x, query_y = (field[part] for field in self.fields())
            fields = support_x, support_y, query_x, query_y
            yield TaskBatch(*fields, classes, shared=self.shared, unit=self.unit, groups=groups)

    def fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.support_x, self.support_y, self.query_x, self.query_y

    @staticmethod
    def concatenate(parts: list[TaskBatch]) -> TaskBatch:
        """The tasks of several batches from one source."""
        first = parts[0]
        if len(parts) == 1:
            return first
        support_x, support_y, query_x, query_y = (
            torch.cat(each) for each in zip(*(part.fields() for part in parts), strict=True)
        )
        fields = support_x, support_y, query_x, query_y
        known = [part.classes for part in parts if part.classes is not None]
        classes = torch.cat(known) if known else None
        named = [part.groups for part in parts if part.groups is not None]
        groups = torch.cat(named) if named else None
        return TaskBatch(*fields, classes, shared=first.shared, unit=first.unit, groups=groups)


class TaskSource(Protocol):
    """Where tasks come from; `input_shape` is that of one example."""

    input_shape: tuple[int, ...]
    train_classes: int  # of the meta-train split; outputs where targets mean the same in all tasks

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """Draw `tasks` tasks from "train", "valid" or "test", on the source's device."""
        ...


@dataclass(frozen=True)
class Judged:
    """What the B query examples of each of T tasks are, and what they were taken for.

    `truth`, `taken [T, B]` are labels, `confidence [T, B]` the probability of what was taken;
    `classes [T, N]`, `shared` and `groups [T]` are those of the `TaskBatch`.
    """

    truth: np.ndarray
    taken: np.ndarray
    confidence: np.ndarray
    classes: np.ndarray | None
    shared: bool
    groups: np.ndarray | None


@dataclass(frozen=True)
class Scores:
    """`loss [T]`, and `accuracy [T]` in 0..1 (None for regression), of T tasks.

    `judged` has what each query example was taken for, where that is asked for, in parts.
    """

    loss: Tensor
    accuracy: Tensor | None
    judged: tuple[Judged, ...] = ()

    def measured(self) -> dict[Measure, Tensor]:
        """What there is of each measure, `[T]`."""
        found = {LOSS: self.loss}
        return found if self.accuracy is None else found | {ACCURACY: self.accuracy}

    def by_task(self) -> Iterator[tuple[float, float | None]]:
        """Each task's loss and accuracy."""
        accuracies = repeat(None) if self.accuracy is None else self.accuracy.tolist()
        return zip(self.loss.tolist(), accuracies, strict=False)

    @staticmethod
    def concatenate(parts: list[Scores]) -> Scores:
        accuracies = [part.accuracy for part in parts if part.accuracy is not None]
        return Scores(
            torch.cat([part.loss for part in parts]),
            torch.cat(accuracies) if accuracies else None,
            tuple(chain.from_iterable(part.judged for part in parts)),
        )


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each task's mean loss, `[T]`: cross-entropy for integer targets, else squared error.

    Args:
        outputs: `[T, B, N]` logits, or `[T, B, D]` values.
        targets: `[T, B]`; `[T, B, D]` with several outputs, over which the loss is the mean.
    """
    if targets.is_floating_point():
        return squared_errors(outputs, targets).mean(1)
    each = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(1)


def squared_errors(outputs: Tensor, targets: Tensor, unit: Tensor | None = None) -> Tensor:
    """Of every example, `[T, B]`; the mean over outputs where they are several."""
    errors = outputs - targets if targets.dim() == outputs.dim() else outputs[..., 0] - targets
    if unit is not None:
        errors = errors * (unit if targets.dim() == outputs.dim() else unit[0])
    squares = errors.square()
    return squares.mean(2) if squares.dim() == 3 else squares


def score(outputs: Tensor, targets: Tensor, unit: Tensor | None = None) -> Scores:
    """Losses, those of float targets in their unit, and accuracies, without their graph.

    The shapes are those of `losses`; `unit` is that of `TaskBatch`.
    """
    with torch.no_grad():
        if targets.is_floating_point():
            return Scores(squared_errors(outputs, targets, unit).mean(1), None)
        return Scores(losses(outputs, targets), (outputs.argmax(-1) == targets).float().mean(1))
