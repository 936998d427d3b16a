"""MAML and first-order MAML (Finn et al. 2017, algorithm 1 and section 5.2), by learn2learn.

    inner loop   phi_0 = theta,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(phi_k) / d theta

MAML differentiates through the inner loop: d phi_k / d theta = product of (I - alpha * Hessian).
First-order MAML takes that Jacobian as the identity, so its meta-gradient is grad L_query(phi_k).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.meta_optimizer import MetaOptimizer
from fewshot_cli.algorithms.scores import Scores, losses, score
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class MAML:
    def __init__(self, net: nn.Module, config: AlgoConfig, iterations: int, chunk: int) -> None:
        self.net, self.steps, self.chunk = net, config.inner_steps, chunk
        self.maml = l2l.wrap(PerTask(net), config.inner_lr, first_order=config.first_order)
        self.meta_optimizer = MetaOptimizer(net.parameters(), config, iterations)

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        scores = []
        for chunk in tasks.split(self.chunk):
            *_, phi = inner_loop(self.maml.clone(), chunk, self.steps)
            outputs = phi(chunk.query_x)
            # mean over tasks of L_query(phi_k), added up chunk by chunk in theta's .grad
            (losses(outputs, chunk.query_y).sum() / len(tasks)).backward()
            scores.append(score(outputs, chunk.query_y))
        self.meta_optimizer.step()
        return Scores.concatenate(scores)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[l2l.MAML]:
        # Nobody differentiates through this inner loop: its steps need no graph.
        return inner_loop(self.maml.clone(first_order=True), tasks, steps)

    def state_dict(self) -> dict[str, Any]:
        return self.meta_optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.meta_optimizer.load_state_dict(state)


def inner_loop(phi: l2l.MAML, tasks: TaskBatch, steps: int) -> Iterator[l2l.MAML]:
    """A fresh clone of theta, before and after each SGD step on the support sets."""
    phi.module.stack(len(tasks))
    yield phi
    for _ in range(steps):
        phi.adapt(losses(phi(tasks.support_x), tasks.support_y).sum())
        yield phi


def build(net: nn.Module, config: AlgoConfig, iterations: int, chunk: int) -> MAML:
    return MAML(net, config, iterations, chunk)
