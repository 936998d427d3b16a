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
from dataclasses import dataclass

import torch
from torch import nn

from fewshot_cli.algorithms.anil import adapted_heads
from fewshot_cli.algorithms.base import Learner, MetaLearner
from fewshot_cli.algorithms.maml import inner_loop
from fewshot_cli.data.task import Scores, TaskBatch, losses, score
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig, Layers
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class FinetuneConfig(AlgoConfig):
    pretrains = True


class Finetune(MetaLearner):
    """Over a `net` with an output for each meta-train class, or one for regression."""

    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        super().__init__(net, config, iterations, acceleration)
        self.pretrained = PerTask(net, acceleration.bf16)

    def chunks(self, tasks: TaskBatch) -> Iterator[TaskBatch]:
        """One batch, since batch norm has its examples see one another."""
        yield tasks

    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        x = torch.cat([tasks.support_x, tasks.query_x], 1)
        y = torch.cat([tasks.support_y, tasks.query_y], 1)
        if tasks.classes is not None:
            y = tasks.classes.gather(1, y)
        outputs = self.pretrained(x.flatten(0, 1)[None])[0].unflatten(0, y.shape)
        self.add(torch.autograd.grad(losses(outputs, y).mean(), self.weights))
        return score(outputs, y)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        body, head, bf16 = self.net.body, self.net.head, self.acceleration.bf16
        if not tasks.support_y.is_floating_point():
            head = _fresh(head, ways=int(tasks.support_y.max()) + 1)
        moving = head if self.config.layers is Layers.head else nn.Sequential(*body, head)
        wrapper = l2l.wrap(PerTask(moving, bf16), self.config.inner_lr, first_order=True)
        if moving is not head:
            return inner_loop(wrapper.clone(), tasks, steps)
        with torch.no_grad():
            still = PerTask(body, bf16).copies(len(tasks))
        return adapted_heads(still, wrapper.clone(), tasks, steps)


def _fresh(head: nn.Linear, ways: int) -> nn.Linear:
    """A head that prefers no class; its weights become different by their gradients."""
    fresh = copy.deepcopy(head)
    fresh.out_features = ways
    fresh.weight = nn.Parameter(torch.zeros_like(head.weight[:1]).expand(ways, -1).clone())
    fresh.bias = nn.Parameter(torch.zeros_like(head.bias[:1]).expand(ways).clone())
    return fresh
