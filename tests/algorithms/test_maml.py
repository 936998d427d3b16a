"""MAML and FOMAML against learn2learn's own loop, task by task."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from helpers import IMAGE_MODELS, config, distance, image_tasks, narrow, of_all, rounded, smooth
from torch import nn
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import maml
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import MANY_IMAGES

DOUBLE = torch.float64
EVERY_TASK = 100
# Rounding moves every layer by less than 2e-4, and a wrong formula moves one by 0.16 or more.
FLOAT32 = 5e-3


def net_for(model: str) -> nn.Module:
    torch.manual_seed(0)
    net = models.build(narrow(model), (1, 16, 16), 3).to(DOUBLE)
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
    maml.MAML(net, settings, 1, Acceleration(chunk)).meta_update(tasks, torch.Generator())
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


@cache
def truth(model: str, algo: str, steps: int, queries: int, kinks: bool) -> list[torch.Tensor]:
    """learn2learn's meta-gradient in float64."""
    net = net_for(model) if kinks else smooth(model)
    tasks = image_tasks(queries=queries, dtype=DOUBLE, channels=1 if kinks else 3)
    return learn2learn_gradient(net, tasks, algo == "fomaml", steps)


SETTINGS: dict[str, list[Any]] = {
    "model": IMAGE_MODELS,
    "algo": ["maml", "fomaml"],
    "steps": [1, 3],
    "queries": [2, MANY_IMAGES],
    "chunk": [1, 2, EVERY_TASK],
}


@pytest.mark.parametrize(*of_all(**SETTINGS))
def test_the_meta_gradient_is_learn2learn_s(
    model: str, algo: str, steps: int, queries: int, chunk: int
) -> None:
    tasks = image_tasks(queries=queries, dtype=DOUBLE)
    ours = meta_gradient(net_for(model), tasks, algo, steps, chunk)
    theirs = truth(model, algo, steps, queries, kinks=True)
    largest = max(float(gradient.abs().max()) for gradient in theirs)
    for mine, gradient in zip(ours, theirs, strict=True):
        assert float((mine - gradient).abs().max()) < 1e-9 * largest


@pytest.mark.parametrize(*of_all(**SETTINGS))
def test_the_meta_gradient_is_learn2learn_s_in_float32(
    model: str, algo: str, steps: int, queries: int, chunk: int
) -> None:
    net, tasks = (
        smooth(model).float(),
        rounded(image_tasks(queries=queries, dtype=DOUBLE, channels=3)),
    )
    ours = meta_gradient(net, tasks, algo, steps, chunk)
    assert distance(net, ours, truth(model, algo, steps, queries, kinks=False)) < FLOAT32


@pytest.mark.parametrize(
    *of_all(**{name: values for name, values in SETTINGS.items() if name != "chunk"})
)
def test_float32_s_tolerance_is_far_below_a_wrong_formula(
    model: str, algo: str, steps: int, queries: int
) -> None:
    net, right = smooth(model), truth(model, algo, steps, queries, kinks=False)
    x, y, query_x, query_y = image_tasks(queries=queries, dtype=DOUBLE, channels=3).fields()
    other_order = truth(model, "fomaml" if algo == "maml" else "maml", steps, queries, kinks=False)
    swapped = TaskBatch(query_x, query_y, x, y)
    wrong = [
        other_order,
        [2 * gradient for gradient in right],
        learn2learn_gradient(net, swapped, algo == "fomaml", steps),
    ]
    names = [name.rpartition(".")[0] for name, _ in net.named_parameters()]
    wrong += [
        [0 * part if name == layer else part for name, part in zip(names, right, strict=True)]
        for layer in set(names)
    ]
    assert min(distance(net, gradient, right) for gradient in wrong) > 30 * FLOAT32


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


class WithAnUnusedLayer(models.Network):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(256, 3), nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x.flatten(1))


def test_errors_of_an_inner_step_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    """learn2learn's own way is to print them and to fail on something else."""
    algorithm = maml.MAML(WithAnUnusedLayer(), config().algo, 1, Acceleration(1))
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        algorithm.meta_update(image_tasks(), torch.Generator())
    assert "Traceback" not in capfd.readouterr().err


def trained(*options: str, updates: int = 1, chunk: int = EVERY_TASK) -> maml.MAML:
    settings = config(
        *("algo=maml", "algo.inner_steps=3", "algo.inner_lr=0.1", "algo.meta_optimizer=sgd"),
        *("algo.meta_lr=1", "algo.meta_schedule=constant", *options),
    ).algo
    learner = maml.MAML(net_for("mlp"), settings, 10, Acceleration(chunk))
    for _ in range(updates):
        learner.meta_update(image_tasks(dtype=DOUBLE), torch.Generator())
    return learner


def moved(learner: maml.MAML) -> torch.Tensor:
    change = [
        a.detach() - b for a, b in zip(learner.weights, net_for("mlp").parameters(), strict=True)
    ]
    return torch.cat([part.flatten() for part in change])


def test_multi_step_counts_the_query_loss_of_every_step_and_at_last_the_last_one_alone() -> None:
    tasks, net = image_tasks(dtype=DOUBLE), net_for("mlp")
    each = [meta_gradient(net, tasks, "maml", steps, EVERY_TASK) for steps in (1, 2, 3)]
    means = [sum(parts) / 3 for parts in zip(*each, strict=True)]
    expected = torch.cat([part.flatten() for part in means])
    assert torch.allclose(-moved(trained("algo.multi_step=4")), expected, rtol=1e-9, atol=1e-12)

    learner = trained("algo.multi_step=4")
    assert learner._shares_of_steps().tolist() == pytest.approx([0, 0.25, 0.25, 0.5])
    learner = trained("algo.multi_step=4", updates=4)
    assert learner._shares_of_steps().tolist() == [0, 0, 0, 1]


def test_first_order_comes_first() -> None:
    annealed = trained("algo.first_order_iterations=2")
    first = torch.cat(
        [
            part.flatten()
            for part in meta_gradient(
                net_for("mlp"), image_tasks(dtype=DOUBLE), "fomaml", 3, EVERY_TASK
            )
        ]
    )
    assert torch.allclose(-moved(annealed), first, rtol=1e-9, atol=1e-12)
    # The third update is of second order.
    ends = {
        order: moved(trained(f"algo.first_order_iterations={order}", updates=3))
        for order in (0, 2, 3)
    }
    assert not torch.allclose(ends[2], ends[3])
    assert not torch.allclose(ends[2], ends[0])


@pytest.mark.parametrize("chunk", [1, EVERY_TASK])
def test_learned_rates_move_along_their_gradient(chunk: int) -> None:
    learner = trained("algo.learn_rates=true", updates=0, chunk=chunk)
    assert [tuple(alpha.shape) for alpha in learner.alphas] == [(3,)] * 6
    tasks, h = image_tasks(dtype=DOUBLE), 1e-6

    def query_loss() -> float:
        *_, phi = learner.inner_loop(tasks, 3, first_order=True)
        return float(losses(phi(tasks.query_x), tasks.query_y).mean().detach())

    numeric = []
    with torch.no_grad():
        for alpha in learner.alphas:
            for step in range(3):
                alpha[step] += h
                with torch.enable_grad():
                    above = query_loss()
                alpha[step] -= 2 * h
                with torch.enable_grad():
                    below = query_loss()
                alpha[step] += h
                numeric.append((above - below) / (2 * h))
    before = torch.cat([alpha.detach().clone() for alpha in learner.alphas])
    learner.meta_update(tasks, torch.Generator())
    change = before - torch.cat([alpha.detach() for alpha in learner.alphas])
    assert torch.allclose(change, torch.tensor(numeric, dtype=DOUBLE), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_what_is_compiled_is_learn2learn_s_loop_and_torch_s_adam(
    first_order: bool, steps: int
) -> None:
    """As a function, before it is compiled: tests/stacked/test_compiled.py has it compiled."""
    tasks, nets = image_tasks(dtype=DOUBLE), [net_for("mlp") for _ in range(2)]
    settings = config(
        *(f"algo={'fomaml' if first_order else 'maml'}", f"algo.inner_steps={steps}"),
        *("algo.inner_lr=0.1", "algo.meta_schedule=constant"),
    ).algo
    learner = maml.MAML(nets[0], settings, 10, Acceleration(compile=True))
    optimizer = learner.meta_optimizer
    theirs = torch.optim.Adam(nets[1].parameters(), settings.meta_lr)
    for _ in range(2):
        told = optimizer.rates(), learner._shares_of_steps()
        given = *optimizer.tensors(), *told, *maml.tensors_of(tasks)
        after = learner._whole_update(len(optimizer.tensors()), *given)
        for old, new in zip(optimizer.tensors(), after, strict=False):
            old.copy_(new)
        gradient = learn2learn_gradient(nets[1], tasks, first_order, steps)
        for weight, part in zip(nets[1].parameters(), gradient, strict=True):
            weight.grad = part
        theirs.step()
        assert bool(after[-1])
    for mine, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)
