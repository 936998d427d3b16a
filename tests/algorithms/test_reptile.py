"""Reptile against a loop over plain copies of the network, task by task."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import IMAGE_MODELS, config, distance, image_tasks, narrow, rounded, smooth
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import reptile
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.schema import AlgoConfig
from fewshot_cli.stacked.acceleration import Acceleration

DOUBLE = torch.float64
STEPS, BATCH, RATE, EPSILON = 3, 4, 0.01, 0.7
EVERY_TASK = 100


def settings(*overrides: str) -> AlgoConfig:
    return config(
        *("algo=reptile", f"algo.inner_steps={STEPS}", f"algo.inner_batch={BATCH}"),
        *(f"algo.inner_lr={RATE}", f"algo.meta_lr={EPSILON}", "algo.meta_schedule=constant"),
        *overrides,
    ).algo


def net_for(model: str) -> nn.Module:
    torch.manual_seed(0)
    return models.build(narrow(model), (1, 16, 16), 3).to(DOUBLE)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def adapted(
    net: nn.Module, tasks: TaskBatch, optimizer: str, rate: float = RATE
) -> list[list[Tensor]]:
    """Each task's weights after the inner loop, from copies and torch's own optimisers."""
    order = reptile.mini_batches(len(tasks), tasks.support_y.shape[1], STEPS, BATCH, generator())
    results = []
    for task in range(len(tasks)):
        phi = copy.deepcopy(net)
        inner: torch.optim.Optimizer = (
            torch.optim.Adam(phi.parameters(), lr=rate, betas=(0.0, 0.999))
            if optimizer == "adam"
            else torch.optim.SGD(phi.parameters(), lr=rate)
        )
        for images in order[task]:
            inner.zero_grad()
            output = phi(tasks.support_x[task, images])
            functional.cross_entropy(output, tasks.support_y[task, images]).backward()
            inner.step()
        results.append([weight.detach() for weight in phi.parameters()])
    return results


def without_effect(net: nn.Module) -> set[str]:
    """The biases that batch norm takes away again."""
    layers = list(net.children())
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    return {f"{i}.bias" for i, after in enumerate(layers[1:]) if isinstance(after, norms)}


@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("chunk", [1, 2, EVERY_TASK])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_theta_moves_towards_the_mean_of_the_adapted_weights(
    model: str, chunk: int, optimizer: str
) -> None:
    net, tasks = net_for(model), image_tasks(dtype=DOUBLE)
    before = [theta.detach().clone() for theta in net.parameters()]
    phis = adapted(net, tasks, optimizer)
    net.to(memory_format=torch.channels_last)  # as training/setup.py does
    algorithm = reptile.Reptile(
        net, settings(f"algo.inner_optimizer={optimizer}"), 10, Acceleration(chunk)
    )
    algorithm.meta_update(tasks, generator())
    moved, wrong = [], []
    for number, (old, (name, theta)) in enumerate(zip(before, net.named_parameters(), strict=True)):
        if name in without_effect(net) and optimizer == "adam":
            continue  # its gradient is nothing but rounding
        mean = torch.stack([phi[number] for phi in phis]).mean(0)
        moved.append(float((mean - old).abs().max()) * EPSILON)
        wrong.append(float((old + EPSILON * (mean - old) - theta.detach()).abs().max()))
    assert max(wrong) < 1e-9 * max(moved)


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_is_compiled_is_a_step_of_torch_s_optimiser(optimizer: str, tasks: int) -> None:
    """As a function, before it is compiled: tests/stacked/test_compiled.py has it compiled."""
    net, batch = net_for("mlp"), image_tasks(tasks, dtype=DOUBLE)
    expected = [torch.stack(phi) for phi in zip(*adapted(net, batch, optimizer), strict=True)]
    chosen = settings(f"algo.inner_optimizer={optimizer}")
    algorithm = reptile.Reptile(net, chosen, 10, Acceleration())

    def in_place(*given: Tensor) -> None:
        for old, new in zip(given, algorithm._stepped(*given), strict=False):
            old.copy_(new)

    *_, (phi, _) = algorithm._inner_loop(batch, STEPS, BATCH, generator(), in_place)
    for mine, theirs in zip(phi.learning(), expected, strict=True):
        assert torch.allclose(mine.view_as(theirs), theirs, rtol=1e-9, atol=1e-12)


# Adam is left out: it brings every gradient to size one, also those that are only rounding.
@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("chunk", [1, 2, EVERY_TASK])
def test_so_it_does_in_float32(model: str, chunk: int) -> None:
    net, tasks = smooth(model), image_tasks(dtype=DOUBLE, channels=3)
    rate = 0.1  # far enough that the weights' own rounding is small beside the move
    phis = adapted(net, tasks, "sgd", rate)
    means = [torch.stack(phi).mean(0) for phi in zip(*phis, strict=True)]
    truth = [
        EPSILON * (mean - old.detach()) for mean, old in zip(means, net.parameters(), strict=True)
    ]
    net.float()
    before = [theta.detach().clone() for theta in net.parameters()]
    chosen = settings("algo.inner_optimizer=sgd", f"algo.inner_lr={rate}")
    algorithm = reptile.Reptile(net, chosen, 10, Acceleration(chunk))
    algorithm.meta_update(rounded(tasks), generator())
    moved = [new.detach() - old for old, new in zip(before, net.parameters(), strict=True)]
    assert distance(net, moved, truth) < 1e-2


def test_serial_with_carried_state_is_one_adam_over_all_tasks() -> None:
    """The authors' code: one Adam whose state goes on while the weights are set back."""
    net, tasks = net_for("mlp"), image_tasks(tasks=4, dtype=DOUBLE)
    reference = copy.deepcopy(net)
    inner = torch.optim.Adam(reference.parameters(), lr=RATE, betas=(0.0, 0.999))
    draws = generator()
    for task in tasks.split(1):
        theta = [weight.detach().clone() for weight in reference.parameters()]
        order = reptile.mini_batches(1, task.support_y.shape[1], STEPS, BATCH, draws)
        for images in order[0]:
            inner.zero_grad()
            output = reference(task.support_x[0, images])
            functional.cross_entropy(output, task.support_y[0, images]).backward()
            inner.step()
        with torch.no_grad():
            for weight, old in zip(reference.parameters(), theta, strict=True):
                weight.copy_(old + EPSILON * (weight - old))
    algorithm = reptile.Reptile(net, settings("algo.carry_state=true"), 10, Acceleration(1))
    draws = generator()
    for task in tasks.split(1):
        algorithm.meta_update(task, draws)
    for mine, expected in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-9, atol=1e-12)


def test_carried_state_makes_a_difference_and_does_not_depend_on_the_chunk() -> None:
    def after_two(carry: str, chunk: int) -> Tensor:
        net, tasks, draws = net_for("mlp"), image_tasks(dtype=DOUBLE), generator()
        algorithm = reptile.Reptile(
            net, settings(f"algo.carry_state={carry}"), 10, Acceleration(chunk)
        )
        algorithm.meta_update(tasks, draws)
        algorithm.meta_update(tasks, draws)
        return torch.cat([theta.detach().flatten() for theta in net.parameters()])

    assert torch.allclose(after_two("true", 1), after_two("true", EVERY_TASK), rtol=1e-9)
    assert (after_two("true", 1) - after_two("false", 1)).abs().max() > 1e-5


def test_one_sgd_step_on_everything_is_sgd_on_the_pooled_tasks() -> None:
    net, tasks = net_for("mlp"), image_tasks(dtype=DOUBLE)
    pooled = copy.deepcopy(net)
    one_step = settings(
        *("algo.inner_optimizer=sgd", "algo.inner_steps=1", "algo.inner_batch=null")
    )
    reptile.Reptile(net, one_step, 10, Acceleration(EVERY_TASK)).meta_update(tasks, generator())
    x, y = tasks.support_x.flatten(0, 1), tasks.support_y.flatten()
    functional.cross_entropy(pooled(x), y).backward()
    with torch.no_grad():
        for mine, weight in zip(net.parameters(), pooled.parameters(), strict=True):
            assert torch.allclose(mine, weight - EPSILON * RATE * weight.grad, rtol=1e-9)


@pytest.mark.parametrize(("images", "steps", "batch"), [(10, 5, 2), (6, 5, 4), (3, 4, 5)])
def test_mini_batches_use_every_image_equally_often(images: int, steps: int, batch: int) -> None:
    order = reptile.mini_batches(4, images, steps, batch, generator())
    assert order.shape == (4, steps, batch)
    for task in order:
        counts = task.flatten().bincount(minlength=images)
        assert counts.max() - counts.min() <= 1
        first_round = task.flatten()[:images].tolist()
        assert len(set(first_round)) == len(first_round)


def test_more_steps_go_on_from_the_same_mini_batches() -> None:
    few = reptile.mini_batches(3, 5, 3, 2, generator())
    many = reptile.mini_batches(3, 5, 20, 2, generator())
    assert torch.equal(few, many[:, :3])


def test_each_task_goes_through_its_support_set_in_an_order_of_its_own() -> None:
    one, other = reptile.mini_batches(2, 20, 4, 5, generator())
    assert not torch.equal(one, other)


def test_without_a_batch_size_every_step_sees_the_whole_support_set() -> None:
    order = reptile.mini_batches(2, 6, 3, None, generator())
    assert (order == torch.arange(6)).all()
    assert order.shape == (2, 3, 6)


def test_carried_moments_go_on_with_another_number_of_ways() -> None:
    chosen = settings("algo.inner_optimizer=adam", "algo.carry_state=true")
    three = reptile.Reptile(net_for("mlp"), chosen, 10, Acceleration())
    three.meta_update(image_tasks(dtype=DOUBLE), generator())
    five = reptile.Reptile(
        models.build(narrow("mlp"), (1, 16, 16), 5).to(DOUBLE), chosen, 10, Acceleration()
    )
    five.load_state_dict(three.state_dict())
    assert [one["exp_avg_sq"].shape for one in five.carried] == [w.shape for w in five.weights]
    mean = three.carried[-2]["exp_avg_sq"].mean(0)
    assert torch.equal(five.carried[-2]["exp_avg_sq"], mean.expand(5, -1))
    assert torch.equal(five.carried[0]["exp_avg_sq"], three.carried[0]["exp_avg_sq"])
    *_, phi = five.adapt(image_tasks(ways=5, dtype=DOUBLE), 2, generator())
    assert phi(image_tasks(ways=5, dtype=DOUBLE).query_x).shape == (3, 10, 5)
