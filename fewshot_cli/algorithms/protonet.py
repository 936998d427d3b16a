"""Prototypical networks (Snell et al. 2017, algorithm 1), the reference without an inner loop.

    prototype    c_n = mean of f(x) over the support examples of class n
    prediction   p(n | x) = softmax over n of -|f(x) - c_n|^2
    meta-update  theta <- theta - beta * mean over tasks of d L_query / d theta

f is the network without its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli.algorithms import Learner
from fewshot_cli.algorithms.body import body_and_head, same_for_all
from fewshot_cli.algorithms.meta_optimizer import MetaOptimizer
from fewshot_cli.algorithms.scores import Scores, losses, score
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class ProtoNet:
    def __init__(
        self, net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics
    ) -> None:
        self.net, self.tactics = net, tactics
        body, _ = body_and_head(net)
        self.body = PerTask(body, tactics.bf16)
        self.meta_optimizer = MetaOptimizer(body.parameters(), config, iterations)

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        scores = []
        self.meta_optimizer.zero_grad()
        for chunk in tasks.split(self.tactics.chunk):
            outputs = Prototypes(same_for_all(self.body, len(chunk)), chunk)(chunk.query_x)
            (losses(outputs, chunk.query_y).sum() / len(tasks)).backward()
            scores.append(score(outputs, chunk.query_y))
        together = Scores.concatenate(scores)
        self.meta_optimizer.step(together.loss)
        return together

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        """The prototypes are there at once; steps would not move them."""
        with torch.no_grad():
            learner = Prototypes(same_for_all(self.body, len(tasks)), tasks)
        for _ in range(steps + 1):
            yield learner

    def state_dict(self) -> dict[str, Any]:
        return self.meta_optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.meta_optimizer.load_state_dict(state)


class Prototypes:
    """`[T, B, ...]` to the logits `[T, B, N]`, minus the squared distances to the prototypes."""

    def __init__(self, embed: PerTask, tasks: TaskBatch) -> None:
        members = functional.one_hot(tasks.support_y).to(tasks.support_x)  # [T, N*K, N]
        features = embed(tasks.support_x)  # [T, N*K, D]
        self.embed = embed
        counts = members.sum(1)[..., None]
        self.prototypes = members.transpose(1, 2) @ features / counts  # [T, N, D]

    def __call__(self, x: Tensor) -> Tensor:
        distances: Tensor = (self.embed(x)[:, :, None] - self.prototypes[:, None]).square().sum(-1)
        return -distances

    def parameters(self) -> Iterator[Tensor]:
        """As a linear head has them: -|f - c|^2 = 2 c.f - |c|^2 - |f|^2, and the last is alike for
        all classes (Snell et al. 2017, section 2.4).
        """
        yield from self.embed.parameters()
        yield (2 * self.prototypes).squeeze(0)
        yield -self.prototypes.square().sum(-1).squeeze(0)


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> ProtoNet:
    return ProtoNet(net, config, iterations, tactics)
