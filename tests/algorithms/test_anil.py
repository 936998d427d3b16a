"""ANIL against learn2learn's example: a body, and its MAML around the head."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import config, image_tasks
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import anil
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration


@pytest.mark.parametrize("model", ["cnn4", "fc", "mlp"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_is_learn2learn_s(model: str, chunk: int, steps: int) -> None:
    torch.manual_seed(0)
    net = models.build(config(f"model={model}").model, (1, 16, 16), 3).double()
    tasks = image_tasks(dtype=torch.float64)
    reference = copy.deepcopy(net)
    body, head = reference[:-1], l2l.MAML(reference[-1], lr=0.1)
    for task in range(len(tasks)):
        learner = head.clone()
        features = body(tasks.support_x[task])
        for _ in range(steps):
            learner.adapt(functional.cross_entropy(learner(features), tasks.support_y[task]))
        outputs = learner(body(tasks.query_x[task]))
        (functional.cross_entropy(outputs, tasks.query_y[task]) / len(tasks)).backward()

    settings = config(
        *("algo=anil", "algo.inner_lr=0.1", f"algo.inner_steps={steps}"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    mine = copy.deepcopy(net)
    anil.ANIL(mine, settings, 10, Acceleration(chunk)).meta_update(tasks, torch.Generator())
    largest = max(float(theta.grad.abs().max()) for theta in reference.parameters())
    for old, new, their in zip(
        net.parameters(), mine.parameters(), reference.parameters(), strict=True
    ):
        assert float((old - new - their.grad).detach().abs().max()) < 1e-9 * largest


def test_adaptation_moves_the_head_alone() -> None:
    torch.manual_seed(0)
    net = models.build(config("model=fc").model, (1, 16, 16), 3).double()
    tasks = image_tasks(dtype=torch.float64)
    algorithm = anil.ANIL(net, config("algo=anil").algo, 10, Acceleration())
    *_, learner = algorithm.adapt(tasks, 3, torch.Generator())
    outputs = learner(tasks.query_x)
    net[-1].weight.data.zero_()
    net[-1].bias.data.zero_()
    # The adapted head is a copy; with the body alone changed it gives something else.
    assert torch.equal(learner(tasks.query_x), outputs)


def test_a_network_without_a_linear_head_is_refused() -> None:
    net = models.Network(torch.nn.Linear(2, 2), torch.nn.ReLU())
    with pytest.raises(UserError, match=r"model: ends in ReLU; expected a Linear, its head"):
        anil.ANIL(net, config("algo=anil").algo, 10, Acceleration())
