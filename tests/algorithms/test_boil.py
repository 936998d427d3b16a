from __future__ import annotations

import copy

import torch
from helpers import config, image_tasks
from torch.nn import functional

from fewshot_cli import algorithms, models
from fewshot_cli.stacked.acceleration import Acceleration


def test_the_inner_loop_spares_the_head() -> None:
    torch.manual_seed(0)
    net = models.build(config("model=mlp").model, (1, 16, 16), 3).double()
    tasks = image_tasks(tasks=1, dtype=torch.float64)
    chosen = config("algo=boil").algo
    learner = algorithms.build(net, chosen, 10, Acceleration(1))
    *_, phi = learner.adapt(tasks, 2, torch.Generator())
    assert all(map(torch.equal, phi.weights()[-2:], net.head.parameters()))
    own = copy.deepcopy(net)
    optimizer = torch.optim.SGD(own.body.parameters(), lr=chosen.inner_lr)
    for _ in range(2):
        optimizer.zero_grad()
        functional.cross_entropy(own(tasks.support_x[0]), tasks.support_y[0]).backward()
        optimizer.step()
    for mine, theirs in zip(phi.weights(), own.parameters(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-12)
