"""The outer loop's step: clip the meta-gradient, move theta, move the meta learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_cli.config import AlgoConfig, Optimizer, Schedule


class DivergedError(Exception):
    """A loss or gradient is no finite number any more, and has not reached the weights.

    Attributes:
        task: its place in the meta-batch; None where only the gradient is not finite.
        hint: what to try.
    """

    hint = "try a lower algo.inner_lr or algo.meta_lr, or algo.meta_clip=10"

    def __init__(self, loss: Tensor, iteration: int) -> None:
        wrong = (~torch.isfinite(loss)).nonzero()
        self.task = int(wrong[0]) if len(wrong) else None
        self.line = (
            f"the meta-gradient in iteration {iteration} is not finite"
            if self.task is None
            else f"the loss of task {self.task} in iteration {iteration} is {loss[self.task]:.3g}"
        )
        super().__init__(f"{self.line}; {self.hint}")


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

        self.share = share
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

    def step(self, loss: Tensor) -> None:
        """One step along the gradients that lie in `.grad`, which are cleared afterwards.

        Args:
            loss: the tasks' own, `[T]`, from which the gradients come.

        Raises:
            DivergedError: a loss or a gradient is not finite; the weights are as they were.
        """
        if self.clip is not None:
            nn.utils.clip_grad_value_(self.weights, self.clip)
        # What is not finite stays so in a sum; one look, since each waits for the device.
        sums = [weight.grad.sum() for weight in self.weights if weight.grad is not None]
        if not math.isfinite(float(torch.stack([loss.sum(), *sums]).sum())):
            raise DivergedError(loss, self.iteration + 1)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # The run may go on for more iterations than were planned, which stretches the schedule.
        for group, lr in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = lr * self.share(self.iteration)
