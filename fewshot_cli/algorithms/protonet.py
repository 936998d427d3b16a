"""Prototypical networks (Snell et al. 2017, algorithm 1), the reference without an inner loop.

    prototype    c_n = mean of f(x) over the support examples of class n
    prediction   p(n | x) = softmax over n of -|f(x) - c_n|^2
    meta-update  theta <- theta - beta * mean over tasks of d L_query / d theta

f is the network without its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_cli.algorithms.base import (
    Learner,
    MetaLearner,
    answers,
    class_means,
    nearest_mean_head,
)
from fewshot_cli.data.task import Scores, TaskBatch, losses, score
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class ProtoNetConfig(AlgoConfig):
    classifies = True
    by_way = True
    moves_body = True


class ProtoNet(MetaLearner):
    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        super().__init__(net, config, iterations, acceleration, net.learning[:-2])
        self.body = PerTask(net.body, acceleration.bf16)

    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        outputs = answers(Prototypes(self.body.copies(len(tasks)), tasks), tasks, self.net)
        mean = losses(outputs, tasks.query_y).sum() / count
        self.add(torch.autograd.grad(mean, self.weights))
        return score(outputs, tasks.query_y)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        """The prototypes are there at once; steps would not move them."""
        with torch.no_grad():
            learner = Prototypes(self.body.copies(len(tasks)), tasks)
        for _ in range(steps + 1):
            yield learner


class Prototypes:
    """`[T, B, ...]` to the logits `[T, B, N]`, minus the squared distances to the prototypes."""

    def __init__(self, embed: PerTask, tasks: TaskBatch) -> None:
        self.embed = embed
        self.prototypes = class_means(embed(tasks.support_x), tasks.support_y)

    def __call__(self, x: Tensor) -> Tensor:
        distances: Tensor = (self.embed(x)[:, :, None] - self.prototypes[:, None]).square().sum(-1)
        return -distances

    def weights(self) -> list[Tensor]:
        weight, bias = nearest_mean_head(self.prototypes)
        return [*self.embed.weights(), weight.squeeze(0), bias.squeeze(0)]
