"""Meta-SGD (Li et al. 2017, algorithm 1), by learn2learn: the inner rates are learned too.

    inner loop   phi_0 = theta,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j)
    meta-update  theta and alpha each by  - beta * mean over tasks of  d L_query(phi_k) / d itself

alpha has one entry for each entry of theta (and the product is entry by entry), so a step's
direction is learned too.
"""

from __future__ import annotations

from torch import nn

from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.maml import MAML
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig


class MetaSGD(MAML):
    def _wrap(self, net: PerTask) -> l2l.Wrapper:
        return l2l.MetaSGD(net, self.config.inner_lr, self.config.first_order)


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> MetaSGD:
    return MetaSGD(net, config, iterations, tactics)
