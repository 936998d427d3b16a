"""Meta-SGD (Li et al. 2017, algorithm 1), by learn2learn: the inner rates are learned too.

    inner loop   phi_0 = theta,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j)
    meta-update  theta and alpha each by  - beta * mean over tasks of  d L_query(phi_k) / d itself

alpha has one entry for each entry of theta (and the product is entry by entry), so a step's
direction is learned too.
"""

from __future__ import annotations

from fewshot_cli.algorithms.maml import MAML, refuse_frozen
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import PerTask


class MetaSGD(MAML):
    def wrap(self, net: Network, config: AlgoConfig, acceleration: Acceleration) -> l2l.Wrapper:
        refuse_frozen(net, f"algo={config.name}")
        moved = PerTask(net, acceleration.bf16)
        return l2l.MetaSGD(moved, config.inner_lr, config.first_order)
