"""Sinusoid regression (Finn et al. 2017, section 5.1): y = A sin(x - p)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fewshot_cli.data.task import TaskBatch, TaskShape
from fewshot_cli.settings.schema import DataConfig

AMPLITUDE = 0.1, 5.0
PHASE = 0.0, math.pi
INPUT = -5.0, 5.0


@dataclass
class SinusoidConfig(DataConfig):
    regression = True


class Sinusoids:
    """Each task is one curve; all splits draw from the same distribution of curves."""

    input_shape: tuple[int, ...] = (1,)
    train_classes = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """K support and Q query points of each curve: x `[T, n, 1]`, y `[T, n]`."""

        def uniform(limits: tuple[float, float], count: int) -> torch.Tensor:
            low, high = limits
            return torch.rand(tasks, count, generator=generator) * (high - low) + low

        amplitude, phase = uniform(AMPLITUDE, 1), uniform(PHASE, 1)
        x = uniform(INPUT, shape.shots + shape.queries)
        y = amplitude * torch.sin(x - phase)
        x, y = x[..., None].to(self.device), y.to(self.device)
        at = shape.shots
        return TaskBatch(x[:, :at], y[:, :at], x[:, at:], y[:, at:])


def load(config: DataConfig, cache_dir: str, device: torch.device) -> Sinusoids:
    return Sinusoids(device)
