"""Transfer learning, the baseline that meta-learning must beat: pretrain, then fine-tune.

    pretraining  theta <- theta - beta * grad L(theta), on images of all meta-train classes pooled
    adaptation   phi_{j+1} = phi_j - alpha * grad L_support(phi_j), phi_0 = theta with a fresh head

The tasks of a meta-batch serve as the pooled batch: their classes are named by what they are in
meta-train, not by their place in the task. Regression has one head for all tasks, and keeps it
(the pretrained network of Finn et al. 2017, section 5.1).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fewshot_cli.algorithms import Learner
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.body import adapted_heads, body_and_head, same_for_all
from fewshot_cli.algorithms.maml import inner_loop
from fewshot_cli.algorithms.meta_optimizer import MetaOptimizer
from fewshot_cli.algorithms.scores import Scores, losses, score
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig, Layers
from fewshot_cli.data.batch import TaskBatch


class Finetune:
    """Over a `net` with an output for each meta-train class, or one for regression."""

    def __init__(
        self, net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics
    ) -> None:
        self.net, self.config, self.bf16 = net, config, tactics.bf16
        self.pretrained = PerTask(net, tactics.bf16)
        self.meta_optimizer = MetaOptimizer(net.parameters(), config, iterations)

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        x = torch.cat([tasks.support_x, tasks.query_x], 1)
        y = torch.cat([tasks.support_y, tasks.query_y], 1)
        if tasks.classes is not None:
            y = tasks.classes.gather(1, y)
        self.meta_optimizer.zero_grad()
        outputs = self.pretrained(x.flatten(0, 1)[None])[0].unflatten(0, y.shape)
        losses(outputs, y).mean().backward()
        scores = score(outputs, y)
        self.meta_optimizer.step(scores.loss)
        return scores

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        body, head = body_and_head(self.net)
        if not tasks.support_y.is_floating_point():
            head = _fresh(head, ways=int(tasks.support_y.max()) + 1)
        moving = head if self.config.layers is Layers.head else nn.Sequential(*body, head)
        wrapper = l2l.wrap(PerTask(moving, self.bf16), self.config.inner_lr, first_order=True)
        if moving is not head:
            return inner_loop(wrapper.clone(), tasks, steps)
        with torch.no_grad():
            still = same_for_all(PerTask(body, self.bf16), len(tasks))
        return adapted_heads(still, wrapper.clone(), tasks, steps)

    def state_dict(self) -> dict[str, Any]:
        return self.meta_optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.meta_optimizer.load_state_dict(state)


def _fresh(head: nn.Linear, ways: int) -> nn.Linear:
    """A head that prefers no class; its weights become different by their gradients."""
    fresh = copy.deepcopy(head)
    fresh.out_features = ways
    fresh.weight = nn.Parameter(torch.zeros_like(head.weight[:1]).expand(ways, -1).clone())
    fresh.bias = nn.Parameter(torch.zeros_like(head.bias[:1]).expand(ways).clone())
    return fresh


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> Finetune:
    return Finetune(net, config, iterations, tactics)
