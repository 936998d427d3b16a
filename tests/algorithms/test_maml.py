"""MAML and FOMAML against learn2learn's own loop, task by task."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import IMAGE_MODELS, config, image_tasks
from torch import nn
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms import maml
from fewshot_cli.algorithms.stacking import MANY_IMAGES
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.data.batch import TaskBatch

DOUBLE = torch.float64
EVERY_TASK = 100


def net_for(model: str) -> nn.Module:
    torch.manual_seed(0)
    # With so few, no two maxima of a pool lie so close that rounding could swap them.
    few = ["model.channels=4"] if model == "cnn4_pool" else []
    net = models.build(config(f"model={model}", *few).model, (1, 16, 16), 3).to(DOUBLE)
    return net.to(memory_format=torch.channels_last)  # as training/setup.py does


def meta_gradient(
    net: nn.Module, tasks: TaskBatch, algo: str, steps: int, chunk: int
) -> list[torch.Tensor]:
    """What one meta-update of plain SGD at rate 1 takes away from theta."""
    settings = config(
        *(f"algo={algo}", f"algo.inner_steps={steps}", "algo.inner_lr=0.1"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    net = copy.deepcopy(net)
    before = [theta.detach().clone() for theta in net.parameters()]
    maml.build(net, settings, 1, Tactics(chunk)).meta_update(tasks, torch.Generator())
    return [old - new.detach() for old, new in zip(before, net.parameters(), strict=True)]


def learn2learn_gradient(
    net: nn.Module, tasks: TaskBatch, first_order: bool, steps: int
) -> list[torch.Tensor]:
    """The loop of learn2learn's examples."""
    wrapper = l2l.MAML(copy.deepcopy(net), lr=0.1, first_order=first_order)
    for task in range(len(tasks)):
        learner = wrapper.clone()
        for _ in range(steps):
            support = learner(tasks.support_x[task])
            learner.adapt(functional.cross_entropy(support, tasks.support_y[task]))
        query = learner(tasks.query_x[task])
        functional.cross_entropy(query, tasks.query_y[task]).backward()
    return [theta.grad / len(tasks) for theta in wrapper.parameters()]


@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("algo", ["maml", "fomaml"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("chunk", [1, 2, EVERY_TASK])
@pytest.mark.parametrize("queries", [2, MANY_IMAGES])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (DOUBLE, 1e-9)])
def test_the_meta_gradient_is_learn2learn_s(
    model: str,
    algo: str,
    steps: int,
    chunk: int,
    queries: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    net = net_for(model).to(dtype)
    x, y, query_x, query_y = image_tasks(queries=queries, dtype=DOUBLE).fields()
    tasks = TaskBatch(x.to(dtype), y, query_x.to(dtype), query_y)
    ours = meta_gradient(net, tasks, algo, steps, chunk)
    theirs = learn2learn_gradient(net, tasks, algo == "fomaml", steps)
    largest = max(float(gradient.abs().max()) for gradient in theirs)
    for mine, gradient in zip(ours, theirs, strict=True):
        assert float((mine - gradient).abs().max()) < tolerance * largest


def test_the_two_orders_differ() -> None:
    net, tasks = net_for("mlp"), image_tasks(dtype=DOUBLE)
    second = meta_gradient(net, tasks, "maml", 2, EVERY_TASK)
    first = meta_gradient(net, tasks, "fomaml", 2, EVERY_TASK)
    differences = [float((a - b).abs().max()) for a, b in zip(second, first, strict=True)]
    assert max(differences) > 1e-4


def test_the_first_order_gradient_is_the_query_gradient_at_the_adapted_weights() -> None:
    net, tasks = net_for("mlp"), image_tasks(tasks=1, dtype=DOUBLE)
    phi = copy.deepcopy(net)
    for _ in range(2):
        loss = functional.cross_entropy(phi(tasks.support_x[0]), tasks.support_y[0])
        gradients = torch.autograd.grad(loss, list(phi.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(phi.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient
    loss = functional.cross_entropy(phi(tasks.query_x[0]), tasks.query_y[0])
    expected = torch.autograd.grad(loss, list(phi.parameters()))
    for mine, gradient in zip(meta_gradient(net, tasks, "fomaml", 2, 1), expected, strict=True):
        assert torch.allclose(mine, gradient, rtol=1e-9, atol=1e-12)


class WithAnUnusedLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(256, 3), nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x.flatten(1))


def test_errors_of_an_inner_step_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    """learn2learn's own way is to print them and to fail on something else."""
    algorithm = maml.build(WithAnUnusedLayer(), config().algo, 1, Tactics(1))
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        algorithm.meta_update(image_tasks(), torch.Generator())
    assert "Traceback" not in capfd.readouterr().err
