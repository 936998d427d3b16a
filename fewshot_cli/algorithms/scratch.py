"""No meta-training: SGD from the random initialisation, the floor for every other result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fewshot_cli.algorithms.base import Algorithm, Learner
from fewshot_cli.algorithms.maml import inner_loop
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class ScratchConfig(AlgoConfig):
    meta_trains = False


class Scratch(Algorithm):
    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        theta = PerTask(self.net, self.acceleration.bf16)
        phi = l2l.wrap(theta, self.config.inner_lr, first_order=True).clone()
        return inner_loop(phi, tasks, steps)
