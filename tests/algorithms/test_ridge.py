"""Ridge regression to numbers, against numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import config

from fewshot_cli import algorithms, models
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.stacked.acceleration import Acceleration


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("penalty", [1e-10, 0.5])
def test_targets_are_fitted_task_by_task_with_an_intercept(outputs: int, penalty: float) -> None:
    torch.manual_seed(0)
    draw = {"dtype": torch.float64}
    support, query = torch.randn(3, 9, 4, **draw) + 5, torch.randn(3, 6, 4, **draw) + 5
    of = torch.randn(3, 4, outputs, **draw)
    y = support @ of + 7 + 0.1 * torch.randn(3, 9, outputs, **draw)
    targets = y if outputs > 1 else y[..., 0]
    words = ["data=sinusoid", "model=mlp", "model.hidden=[]", "algo=ridge"]
    chosen = config(*words, f"algo.penalty={penalty}")
    net = models.build(chosen.model, (4,), outputs).double()
    identity = torch.nn.Flatten()
    assert isinstance(net[0], type(identity))
    tasks = TaskBatch(support, targets, query, targets[:, :6])
    (learner,) = algorithms.build(net, chosen.algo, 0, Acceleration()).adapt(
        tasks, 0, torch.Generator()
    )
    for task, found in enumerate(learner(query)):
        x, t = support[task].numpy(), y[task].numpy()
        centred = x - x.mean(0)
        pull = penalty * np.square(centred).sum(1).mean()
        # Ridge is least squares with rows of sqrt(pull) for targets of 0.
        rows = np.concatenate([centred, np.sqrt(pull) * np.eye(4)])
        wanted = np.concatenate([t - t.mean(0), np.zeros((4, outputs))])
        weight = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        truth = (query[task].numpy() - x.mean(0)) @ weight + t.mean(0)
        assert np.allclose(found.numpy(), truth, rtol=1e-6, atol=1e-8)
