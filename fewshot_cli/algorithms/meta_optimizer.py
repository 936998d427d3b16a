"""The outer loop's step: clip the meta-gradient, move theta, move the meta learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fewshot_cli.config import AlgoConfig, Optimizer, Schedule


class MetaOptimizer:
    """SGD or Adam over theta with a schedule that ends after `iterations` steps."""

    def __init__(
        self, weights: Iterable[nn.Parameter], config: AlgoConfig, iterations: int
    ) -> None:
        self.weights = list(weights)
        self.clip = config.meta_clip
        kind = torch.optim.Adam if config.meta_optimizer is Optimizer.adam else torch.optim.SGD
        self.optimizer: torch.optim.Optimizer = kind(self.weights, lr=config.meta_lr, fused=True)

        def share(step: int) -> float:
            done = step / max(iterations, 1)
            if config.meta_schedule is Schedule.linear:
                return 1 - done
            if config.meta_schedule is Schedule.cosine:
                return (1 + math.cos(math.pi * done)) / 2
            return 1.0

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    @property
    def iteration(self) -> int:
        """How many steps it has made."""
        return int(self.schedule.last_epoch)

    def zero_grad(self) -> None:
        """Zeros in every `.grad`, in its weight's own layout, to add gradients to.

        Fused optimisers take that layout for granted: a gradient in another one moves other
        weights, without an error.
        """
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)

    def step(self) -> None:
        """One step along the gradients that lie in `.grad`, which are cleared afterwards."""
        if self.clip is not None:
            nn.utils.clip_grad_value_(self.weights, self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
