"""BOIL (Oh et al. 2021, section 3): MAML whose inner loop moves the body alone.

    inner loop   phi_0 = body,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j, head)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(phi_k, head) / d theta

theta is the body and the head, so the classes of a task are told apart by features that change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fewshot_cli.algorithms.base import Learner
from fewshot_cli.algorithms.maml import MAML
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import Joined, PerTask


@dataclass
class BOILConfig(AlgoConfig):
    moves_body = True


class BOIL(MAML):
    def wrap(self, net: Network, config: AlgoConfig, acceleration: Acceleration) -> l2l.Wrapper:
        body = PerTask(net.body, acceleration.bf16)
        self.head = PerTask(net.head, acceleration.bf16)
        return l2l.wrap(body, config.inner_lr, config.first_order)

    def inner_loop(self, tasks: TaskBatch, steps: int, first_order: bool) -> Iterator[Learner]:
        body, head = self.wrapper.clone(), self.head.copies(len(tasks))
        body.first_order = first_order
        body.module.stack(len(tasks))
        yield Joined(body.module, head)
        for _ in range(steps):
            learner = Joined(body.module, head)
            body.adapt(losses(learner(tasks.support_x), tasks.support_y).sum())
            yield Joined(body.module, head)
