"""Transfer learning, the baseline that meta-learning must beat: pretrain, then fine-tune.

    pretraining  theta <- theta - beta * grad L(theta), on images of all meta-train classes pooled
    adaptation   phi_{j+1} = phi_j - alpha * grad L_support(phi_j), phi_0 = theta with a fresh head

The tasks of a meta-batch serve as the pooled batch: their classes are named by what they are in
meta-train, not by their place in the task. Regression has one head for all tasks, and keeps it
(the pretrained network of Finn et al. 2017, section 5.1). With iterations=0 the network is
fine-tuned as it begins, pretrained elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from fewshot_cli.algorithms.anil import adapted_heads
from fewshot_cli.algorithms.base import Learner, MetaLearner
from fewshot_cli.algorithms.maml import begin_head, inner_loop
from fewshot_cli.data.task import Scores, TaskBatch, losses, score
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig, Head, Layers
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class FinetuneConfig(AlgoConfig):
    pretrains = True


class Finetune(MetaLearner):
    """Over a `net` with an output for each meta-train class, or one for regression."""

    pools = True

    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        super().__init__(net, config, iterations, acceleration)
        self.pretrained = PerTask(net, acceleration.bf16)

    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        x = torch.cat([tasks.support_x, tasks.query_x], 1)
        y = torch.cat([tasks.support_y, tasks.query_y], 1)
        if tasks.classes is not None:
            y = tasks.classes.gather(1, y)
        outputs = self.pretrained(x.flatten(0, 1)[None])[0].unflatten(0, y.shape)
        self.add(torch.autograd.grad(losses(outputs, y).mean(), self.weights))
        return score(outputs, y, tasks.unit)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        body, head, bf16 = self.net.body, self.net.head, self.acceleration.bf16
        if not (tasks.shared or tasks.support_y.is_floating_point()):
            head = _fresh(head, ways=int(tasks.support_y.max()) + 1)
        moving = head if self.config.layers is Layers.head else nn.Sequential(*body, head)
        phi = l2l.wrap(PerTask(moving, bf16), self.config.inner_lr, first_order=True).clone()
        with torch.no_grad():
            still = PerTask(body, bf16).copies(len(tasks))
        if moving is head:
            return adapted_heads(still, phi, tasks, steps, self.config.head)
        phi.module.stack(len(tasks))
        if self.config.head is Head.prototypes:
            with torch.no_grad():
                begin_head(phi.module, Head.prototypes, tasks, still(tasks.support_x))
        if self.config.backbone_inner_lr is not None:
            return self._by_two_rates(phi, tasks, steps)
        return inner_loop(phi, tasks, steps)

    def _by_two_rates(self, phi: l2l.Wrapper, tasks: TaskBatch, steps: int) -> Iterator[Learner]:
        """The inner loop with `backbone_inner_lr` for all but the head."""
        slow, fast = self.config.backbone_inner_lr, self.config.inner_lr
        yield phi.module
        for _ in range(steps):
            loss = losses(phi(tasks.support_x), tasks.support_y).sum()
            gradient = iter(torch.autograd.grad(loss, phi.module.learning()))
            weights = phi.module.weights()
            assert slow is not None
            rates = [slow] * (len(weights) - 2) + [fast] * 2
            l2l.maml_update(
                phi.module,
                1.0,
                [
                    rate * next(gradient) if weight.requires_grad else None
                    for weight, rate in zip(weights, rates, strict=True)
                ],
            )
            yield phi.module


def _fresh(head: nn.Linear, ways: int) -> nn.Linear:
    """A head that prefers no class; its weights become different by their gradients."""
    fresh = copy.deepcopy(head)
    fresh.out_features = ways
    fresh.weight = nn.Parameter(torch.zeros_like(head.weight[:1]).expand(ways, -1).clone())
    fresh.bias = nn.Parameter(torch.zeros_like(head.bias[:1]).expand(ways).clone())
    return fresh
