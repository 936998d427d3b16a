"""No meta-training: SGD from the random initialisation, the floor for every other figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fewshot_cli.algorithms import Learner
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.maml import inner_loop
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.config import AlgoConfig
from fewshot_cli.data.batch import TaskBatch


class Scratch:
    def __init__(self, net: nn.Module, config: AlgoConfig, tactics: Tactics) -> None:
        self.net = net
        self.wrapper = l2l.wrap(PerTask(net, tactics.bf16), config.inner_lr, first_order=True)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        return inner_loop(self.wrapper.clone(), tasks, steps)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def build(net: nn.Module, config: AlgoConfig, iterations: int, tactics: Tactics) -> Scratch:
    return Scratch(net, config, tactics)
