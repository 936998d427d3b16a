"""ANIL, almost no inner loop (Raghu et al. 2020, section 4): MAML whose inner loop moves the head.

    inner loop   phi_0 = head,   phi_{j+1} = phi_j - alpha * grad L_support(body, phi_j)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(body, phi_k) / d theta

theta is the body and the head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fewshot_cli.algorithms.base import Learner
from fewshot_cli.algorithms.maml import MAML, begin_head, inner_loop
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig, Head
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import Joined, PerTask


class ANIL(MAML):
    def wrap(self, net: Network, config: AlgoConfig, acceleration: Acceleration) -> l2l.Wrapper:
        self.body = PerTask(net.body, acceleration.bf16)
        head = PerTask(net.head, acceleration.bf16)
        return l2l.wrap(head, config.inner_lr, config.first_order)

    def inner_loop(self, tasks: TaskBatch, steps: int, first_order: bool) -> Iterator[Learner]:
        head = self.wrapper.clone()
        head.first_order = first_order
        body = self.body.copies(len(tasks))
        return adapted_heads(body, head, tasks, steps, self.config.head)


def adapted_heads(
    body: PerTask, head: l2l.Wrapper, tasks: TaskBatch, steps: int, begin: Head = Head.own
) -> Iterator[Learner]:
    """The body as it is, before and after each step of a fresh clone of the head."""
    seen = replace(tasks, support_x=body(tasks.support_x))
    if begin is not Head.own:
        head.module.stack(len(tasks))
        begin_head(head.module, begin, tasks, seen.support_x)
    for adapted in inner_loop(head, seen, steps):
        yield Joined(body, adapted)
