"""Tasks from arrays in memory: rows of classes, or rows that are grouped into tasks.

What a batch costs does not grow with the rows: whatever is drawn is drawn by Floyd's method, which
touches as many places as it gives (Bentley & Floyd 1987, algorithm F2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fewshot_cli.data.task import TaskBatch, TaskShape


class ArrayTasks:
    """A source of tasks over rows.

    Without `y`, the rows are of classes, and a task is N-way K-shot. With it, they are of groups,
    each of which is one task: K of its rows are the support set, Q others the query set.

    Args:
        x: `[n, ...]`, float32.
        rows: for each split, the places in `x` of its classes' or groups' rows, int64, one class
            or group after another.
        sizes: for each split, how many rows each class or group has, by name.
        y: of every row, float `[n]` or `[n, D]`, or int64 labels `[n]` of classes that all groups
            share.
        outputs: that a network needs for `y`; None: one for each way.
        unit: of one float target, in which scores are given, `[1]` or `[D]`; None: 1.
        kept: what a run must keep to read other rows as these were read, for JSON.
        fingerprint: a digest of what was read.
        shared_names: of the classes that all groups share.
    """

    def __init__(
        self,
        x: Tensor,
        rows: Mapping[str, Tensor],
        sizes: Mapping[str, Mapping[str, int]],
        device: torch.device,
        y: Tensor | None = None,
        outputs: int | None = None,
        unit: Tensor | None = None,
        kept: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
        shared_names: Sequence[str] | None = None,
    ) -> None:
        self.x, self.y = x.to(device), None if y is None else y.to(device)
        self.unit = None if unit is None else unit.to(device)
        self.rows, self.sizes, self.device = rows, sizes, device
        self.kept, self.fingerprint = kept, fingerprint
        self.shared_names = shared_names
        self.input_shape: tuple[int, ...] = tuple(x.shape[1:])
        self.train_classes = len(sizes["train"]) if outputs is None else outputs
        self._counts = {
            split: torch.tensor(list(groups.values()), dtype=torch.int64)
            for split, groups in sizes.items()
        }
        self._firsts = {split: counts.cumsum(0) - counts for split, counts in self._counts.items()}

    def groups(self, split: str) -> int | None:
        """How many tasks there are; None where tasks are made of classes."""
        return None if self.y is None else len(self._counts[split])

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """Draw classes or groups, then rows, all without replacement.

        Of groups, no task is drawn twice before all were drawn once.
        """
        count, ways = len(self._counts[split]), shape.ways
        if self.y is None:
            chosen = distinct(torch.full((tasks,), count), ways, generator)
        else:
            rounds = torch.full((-(-tasks // count),), count)
            chosen = distinct(rounds, min(tasks, count), generator).view(-1, 1)[:tasks]
        taken = shape.shots + shape.queries
        places = distinct(self._counts[split][chosen], taken, generator)
        places = self.rows[split][self._firsts[split][chosen][..., None] + places].to(self.device)
        support, query = (
            part.flatten(1, 2) for part in places.split([shape.shots, shape.queries], 2)
        )
        if self.y is not None:
            of, y = self.x, self.y
            fields = of[support], y[support], of[query], y[query]
            groups = chosen[:, 0].to(self.device)
            return TaskBatch(*fields, shared=True, unit=self.unit, groups=groups)
        labels = torch.arange(ways, device=self.device)
        return TaskBatch(
            self.x[support],
            labels.repeat_interleave(shape.shots).expand(tasks, -1),
            self.x[query],
            labels.repeat_interleave(shape.queries).expand(tasks, -1),
            chosen.to(self.device),
        )


def distinct(counts: Tensor, taken: int, generator: torch.Generator) -> Tensor:
    """For each n of `counts [...]`, `taken` different numbers of 0..n-1, in any order alike.

    `[..., taken]`, int64; each n is `taken` or more.
    """
    # Doubles, since a float cannot tell 2^24 places apart.
    lots = torch.rand(*counts.shape, taken, generator=generator, dtype=torch.float64)
    found = counts.new_empty(*counts.shape, taken)
    for place in range(taken):
        last = counts - taken + place
        lot = (lots[..., place] * (last + 1)).long()
        known = (found[..., :place] == lot[..., None]).any(-1)
        found[..., place] = torch.where(known, last, lot)
    order = torch.rand(found.shape, generator=generator, dtype=torch.float64).argsort(-1)
    return found.gather(-1, order)
