"""Sinusoid regression (Finn et al. 2017, section 5.1): y = A sin(x - p)."""

from __future__ import annotations

import math

import torch

from fewshot_cli.config import DataConfig
from fewshot_cli.data.batch import TaskBatch

AMPLITUDE = 0.1, 5.0
PHASE = 0.0, math.pi
INPUT = -5.0, 5.0


class Sinusoids:
    """Each task is one curve; all splits draw from the same distribution of curves."""

    input_shape: tuple[int, ...] = (1,)
    train_classes = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def sample(
        self,
        split: str,
        tasks: int,
        ways: int,
        shots: int,
        queries: int,
        generator: torch.Generator,
    ) -> TaskBatch:
        """`shots` support and `queries` query points a curve: x `[T, n, 1]`, y `[T, n]`."""

        def uniform(limits: tuple[float, float], count: int) -> torch.Tensor:
            low, high = limits
            return torch.rand(tasks, count, generator=generator) * (high - low) + low

        amplitude, phase = uniform(AMPLITUDE, 1), uniform(PHASE, 1)
        x = uniform(INPUT, shots + queries)
        y = amplitude * torch.sin(x - phase)
        x, y = x[..., None].to(self.device), y.to(self.device)
        return TaskBatch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])


def load(config: DataConfig, cache_dir: str, device: torch.device) -> Sinusoids:
    return Sinusoids(device)
