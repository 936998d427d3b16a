"""Implicit MAML against dense linear algebra and finite differences, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from algorithms.test_oracles import TASKS, Quadratics, flat, small_net, small_tasks
from helpers import config
from torch import Tensor, nn
from torch.func import functional_call

from fewshot_cli.algorithms import imaml
from fewshot_cli.algorithms.imaml import conjugate_gradients
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.stacked.acceleration import Acceleration

ALPHA, LAMBDA = 0.05, 2.0


def gradient(
    net: nn.Module, tasks: TaskBatch, steps: int, cg_steps: int, chunk: int = 100
) -> Tensor:
    """What one meta-update of plain SGD at rate 1 takes away from theta."""
    settings = config(
        *("algo=imaml", f"algo.inner_steps={steps}", f"algo.inner_lr={ALPHA}"),
        *(f"algo.regularisation={LAMBDA}", f"algo.cg_steps={cg_steps}"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    assert isinstance(settings.regularisation, float)
    own = copy.deepcopy(net)
    imaml.ImplicitMAML(own, settings, 10, Acceleration(chunk)).meta_update(tasks, torch.Generator())
    return flat(net) - flat(own)


def loss_of(net: nn.Module, weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    shapes = {name: weight.shape for name, weight in net.named_parameters()}
    parts = weights.split([shape.numel() for shape in shapes.values()])
    named = {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return losses(functional_call(net, named, (x,))[None], y[None])[0]


def adapted(net: nn.Module, theta: Tensor, tasks: TaskBatch, task: int, steps: int) -> Tensor:
    """Gradient descent on the support loss and the pull to theta."""

    def pulled(phi: Tensor) -> Tensor:
        support = loss_of(net, phi, tasks.support_x[task], tasks.support_y[task])
        return support + LAMBDA / 2 * (phi - theta).square().sum()

    phi = theta
    for _ in range(steps):
        phi = phi - ALPHA * torch.func.grad(pulled)(phi)
    return phi


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("steps", [1, 16])
def test_the_meta_gradient_is_that_of_dense_linear_algebra(steps: int, chunk: int) -> None:
    net, tasks = small_net(), small_tasks()
    theta, expected = flat(net), []
    for task in range(len(tasks)):
        phi = adapted(net, theta, tasks, task, steps)
        support, query = (
            lambda weights, x=x[task], y=y[task]: loss_of(net, weights, x, y)
            for x, y in (tasks.fields()[:2], tasks.fields()[2:])
        )
        matrix = torch.eye(len(theta)) + torch.func.hessian(support)(phi) / LAMBDA
        expected.append(torch.linalg.solve(matrix, torch.func.grad(query)(phi)))
    mine = gradient(net, tasks, steps, cg_steps=len(theta), chunk=chunk)
    assert torch.allclose(mine, torch.stack(expected).mean(0), rtol=1e-8, atol=1e-11)


def test_at_the_end_of_a_long_inner_loop_it_is_the_slope_of_the_query_loss() -> None:
    """The implicit function theorem: phi* moves with theta by (I + H / lambda)^-1."""
    net, tasks = small_net(), small_tasks()
    theta, h, steps = flat(net), 1e-5, 150

    def query_loss(theta: Tensor) -> Tensor:
        of_tasks = [
            loss_of(
                net,
                adapted(net, theta, tasks, task, steps),
                tasks.query_x[task],
                tasks.query_y[task],
            )
            for task in range(2)
        ]
        return torch.stack(of_tasks).mean()

    directions = h * torch.eye(len(theta), dtype=torch.float64)[::9]
    numeric = torch.stack(
        [(query_loss(theta + each) - query_loss(theta - each)) / (2 * h) for each in directions]
    )
    mine = gradient(net, next(tasks.split(2)), steps, cg_steps=len(theta))[::9]
    assert float((mine - numeric).abs().max()) < 1e-6
    assert float(numeric.abs().max()) > 1e-2


def test_the_closed_form_on_quadratics() -> None:
    """One step: phi = theta - alpha (A theta - b), and H is A."""
    q = Quadratics()
    phi = q.theta - ALPHA * ((q.a @ q.theta[:, None])[..., 0] - q.b)
    query = (q.query_a @ phi[..., None])[..., 0] - q.query_b
    matrix = torch.eye(len(q.theta)) + q.a / LAMBDA
    expected = torch.linalg.solve(matrix, query[..., None])[..., 0].mean(0)
    assert torch.allclose(gradient(q.net, q.tasks, 1, 3), expected, rtol=1e-9)
    # Without conjugate gradients to speak of it is first-order MAML's, and something else.
    assert float((query.mean(0) - expected).abs().max()) > 1e-3


def test_conjugate_gradients_solve_each_system_and_stay_there() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(TASKS, 6, 6, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + torch.eye(6, dtype=torch.float64)
    b = torch.randn(TASKS, 6, generator=generator, dtype=torch.float64)
    b[0] = 0  # solved before it begins
    for steps in (6, 60):
        x = conjugate_gradients(lambda v: (matrix @ v[..., None])[..., 0], b, steps)
        assert torch.allclose((matrix @ x[..., None])[..., 0], b, rtol=1e-8, atol=1e-10)


def test_a_system_stops_where_it_curves_down() -> None:
    b = torch.tensor([[1.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    x = conjugate_gradients(lambda v: -v, b, 5)
    assert torch.equal(x, b)
    # Along b it curves up, and down along the next direction.
    curves = torch.tensor([3.0, -1.0], dtype=torch.float64)
    first = conjugate_gradients(lambda v: curves * v, b[1:], 1)
    assert torch.equal(first, b[1:])  # b.b / b.Ab = 2 / 2
    assert torch.equal(conjugate_gradients(lambda v: curves * v, b[1:], 5), first)
