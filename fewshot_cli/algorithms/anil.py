"""ANIL, almost no inner loop (Raghu et al. 2020, section 4): MAML whose inner loop moves the head.

    inner loop   phi_0 = head,   phi_{j+1} = phi_j - alpha * grad L_support(body, phi_j)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(body, phi_k) / d theta

theta is the body and the head.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fewshot_cli.algorithms import Learner
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.body import adapted_heads, body_and_head, same_for_all
from fewshot_cli.algorithms.maml import MAML
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class ANIL(MAML):
    def _wrap(self, net: PerTask) -> l2l.Wrapper:
        body, head = body_and_head(self.net)
        self.body = PerTask(body, self.tactics.bf16)
        return super()._wrap(PerTask(head, self.tactics.bf16))

    def inner_loop(self, tasks: TaskBatch, steps: int, first_order: bool) -> Iterator[Learner]:
        head = self.wrapper.clone()
        head.first_order = first_order
        return adapted_heads(same_for_all(self.body, len(tasks)), head, tasks, steps)


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> ANIL:
    return ANIL(net, config, iterations, tactics)
