"""The nearest class mean, without meta-training: the head that a good pretrained network needs.

    prediction   argmin over n of |f(x) - c_n|^2,   c_n = mean of f over the support set of class n

On features of one length, model.feature_norm=1, it is SimpleShot (Wang et al. 2019, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_cli.algorithms.base import Algorithm, Learner, class_means, nearest_mean_head
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class NCMConfig(AlgoConfig):
    classifies = True
    by_way = True
    meta_trains = False


class NearestMean(Algorithm):
    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        """The head is there at once; steps would not move it."""
        with torch.no_grad():
            body = PerTask(self.net.body, self.acceleration.bf16).copies(len(tasks))
            learner = Fitted(body, *self.fitted(body(tasks.support_x), tasks.support_y))
        for _ in range(steps + 1):
            yield learner

    def fitted(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The weight `[T, N, D]` and bias `[T, N]` of a linear head.

        Args:
            features: of the support sets, `[T, B, D]`, with labels `[T, B]`.
        """
        return nearest_mean_head(class_means(features, labels))


class Fitted:
    """A body with a linear head that was fitted to its features: `[T, B, ...]` to `[T, B, N]`."""

    def __init__(self, body: PerTask, weight: Tensor, bias: Tensor) -> None:
        self.body, self.weight, self.bias = body, weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[:, None], self.body(x), self.weight.mT)

    def weights(self) -> list[Tensor]:
        return [*self.body.weights(), self.weight.squeeze(0), self.bias.squeeze(0)]
