from __future__ import annotations

import math

import torch

from fewshot_cli.data.sinusoid import Sinusoids
from fewshot_cli.data.task import TaskShape


def test_each_task_is_one_sine_within_the_published_ranges() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = Sinusoids(torch.device("cpu")).sample("train", 500, TaskShape(1, 10, 30), generator)
    assert batch.support_x.shape == (500, 10, 1)
    assert batch.query_y.shape == (500, 30)
    x = torch.cat([batch.support_x, batch.query_x], 1)[..., 0].double()
    y = torch.cat([batch.support_y, batch.query_y], 1).double()
    assert x.min() >= -5
    assert x.max() <= 5
    # A sin(x - p) = a sin(x) + b cos(x): linear least squares finds A and p exactly.
    design = torch.stack([x.sin(), x.cos()], dim=-1)
    solution = torch.linalg.lstsq(design, y[..., None]).solution
    assert torch.allclose((design @ solution)[..., 0], y, atol=1e-5)
    a, b = solution[:, 0, 0], solution[:, 1, 0]
    amplitude, phase = torch.hypot(a, b), torch.atan2(-b, a)
    assert amplitude.min() >= 0.1 - 1e-4
    assert amplitude.max() <= 5 + 1e-4
    assert phase.min() >= -1e-3
    assert phase.max() <= math.pi + 1e-3
    assert amplitude.max() - amplitude.min() > 4.5
    assert phase.max() - phase.min() > 3
