"""MAML and first-order MAML (Finn et al. 2017, algorithm 1 and section 5.2), by learn2learn.

    inner loop   phi_0 = theta,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(phi_k) / d theta

MAML differentiates through the inner loop: d phi_k / d theta = product of (I - alpha * Hessian).
First-order MAML takes that Jacobian as the identity, so its meta-gradient is grad L_query(phi_k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.meta_optimizer import MetaOptimizer
from fewshot_cli.algorithms.recompute import recomputed
from fewshot_cli.algorithms.scores import Scores, losses, score
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class MAML:
    def __init__(
        self, net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics
    ) -> None:
        self.net, self.steps, self.tactics = net, config.inner_steps, tactics
        self.weights = list(net.parameters())
        per_task = PerTask(net, tactics.bf16)
        self.maml = l2l.wrap(per_task, config.inner_lr, first_order=config.first_order)
        self.meta_optimizer = MetaOptimizer(self.weights, config, iterations)
        self.meta_gradient: Callable[..., tuple[Tensor, ...]] = self._meta_gradient
        if tactics.compile:
            # Here, since a second goes into importing what compiles.
            from fewshot_cli.algorithms.compiled import Compiled

            self.meta_gradient = Compiled(self._meta_gradient)

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        scores = []
        self.meta_optimizer.zero_grad()
        for chunk in tasks.split(self.tactics.chunk):
            *gradient, loss, accuracy = self.meta_gradient(*chunk.fields())
            for theta, part in zip(self.weights, gradient, strict=True):
                assert theta.grad is not None
                theta.grad.add_(part, alpha=1 / len(tasks))
            scores.append(Scores(loss, None if chunk.query_y.is_floating_point() else accuracy))
        self.meta_optimizer.step()
        return Scores.concatenate(scores)

    def _meta_gradient(self, *fields: Tensor) -> tuple[Tensor, ...]:
        """d sum over tasks of L_query(phi_k) / d theta; each task's loss; its accuracy."""
        tasks = TaskBatch(*fields)
        phi = self._adapted(tasks)
        outputs = phi(tasks.query_x)
        gradient = torch.autograd.grad(losses(outputs, tasks.query_y).sum(), self.weights)
        scores = score(outputs, tasks.query_y)
        return *gradient, scores.loss, scores.loss if scores.accuracy is None else scores.accuracy

    def _adapted(self, tasks: TaskBatch) -> l2l.MAML:
        phi = self.maml.clone()
        if not self.tactics.recompute:
            *_, phi = inner_loop(phi, tasks, self.steps)
            return phi

        def step(weights: list[Tensor]) -> list[Tensor]:
            phi.module.hold(weights)
            inner_step(phi, tasks)
            return list(phi.module.parameters())

        phi.module.stack(len(tasks))
        phi.module.hold(recomputed(step, self.steps, list(phi.module.parameters())))
        return phi

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
        inner_step(phi, tasks)
        yield phi


def inner_step(phi: l2l.MAML, tasks: TaskBatch) -> None:
    phi.adapt(losses(phi(tasks.support_x), tasks.support_y).sum())


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> MAML:
    return MAML(net, config, iterations, tactics)
