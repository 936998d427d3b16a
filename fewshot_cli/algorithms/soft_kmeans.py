"""Soft k-means, a transductive head without meta-training (Ren et al. 2018, section 3.1.1).

    share        z_n(x) = softmax over n of -|f(x) - c_n|^2 / temperature, for each query x
    class mean   c_n = (sum of f over the support set of n + sum over queries of z_n(x) f(x))
                       / (K + sum over queries of z_n(x))

The means begin as those of the support set, and move in each of `eval_steps` steps. All queries of
a task are seen at once, so what it says of one photograph depends on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.base import Algorithm, Learner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import AlgoConfig, Shapes, key
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class SoftKMeansConfig(AlgoConfig):
    classifies = True
    by_way = True
    meta_trains = False
    together = True
    temperature: float = key(
        0.1, shapes=Shapes.test, above=0, help="of the shares, in squared lengths of the features"
    )


class SoftKMeans(Algorithm):
    config: SoftKMeansConfig

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        with torch.no_grad():
            body = PerTask(self.net.body, self.acceleration.bf16).copies(len(tasks))
            features = body(tasks.support_x)
        for step in range(steps + 1):
            yield Clustered(body, features, tasks.support_y, step, self.config.temperature)


class Clustered:
    """`[T, B, ...]`, all queries of each task, to `[T, B, N]` after some steps on them."""

    def __init__(
        self, body: PerTask, support: Tensor, labels: Tensor, steps: int, temperature: float
    ) -> None:
        self.body, self.support, self.steps = body, support, steps
        self.temperature = temperature
        self.members = functional.one_hot(labels).to(support)

    def __call__(self, x: Tensor) -> Tensor:
        queries: Tensor = self.body(x)
        shares = queries.new_zeros(*queries.shape[:2], self.members.shape[-1])
        logits = shares
        for _ in range(self.steps + 1):
            members = torch.cat([self.members, shares], 1)
            features = torch.cat([self.support, queries], 1)
            means = members.mT @ features / members.sum(1)[..., None]
            logits = -torch.cdist(queries, means).square() / self.temperature
            shares = logits.softmax(-1)
        return logits

    def weights(self) -> list[Tensor]:
        """Raises UserError: what it says of a query depends on the others."""
        raise UserError(
            "algo=soft_kmeans: judges the queries of a test together; expected algo=ncm"
        )
