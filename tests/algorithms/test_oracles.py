"""MAML, FOMAML and Reptile against what can be derived without them, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from helpers import config
from torch import Tensor, nn
from torch.func import functional_call

from fewshot_cli import models
from fewshot_cli.algorithms import maml, reptile
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.stacked.acceleration import Acceleration

ALPHA, EPSILON = 0.05, 0.5
DIMENSIONS, TASKS = 3, 4


def gradient(
    net: nn.Module, tasks: TaskBatch, algo: str, steps: int, *options: str, chunk: int = 100
) -> Tensor:
    """What one meta-update of plain SGD at rate 1 takes away from theta."""
    settings = config(
        *(f"algo={algo}", f"algo.inner_steps={steps}", f"algo.inner_lr={ALPHA}"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant", *options),
    ).algo
    own = copy.deepcopy(net)
    learner = maml.MAML(own, settings, 10, Acceleration(chunk))
    learner.meta_update(tasks, torch.Generator())
    return flat(net) - flat(own)


def flat(net: nn.Module) -> Tensor:
    return torch.cat([theta.detach().flatten() for theta in net.parameters()])


def small_net() -> nn.Module:
    torch.manual_seed(1)
    # Smooth, so that finite differences meet no kink.
    return models.Network(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def small_tasks() -> TaskBatch:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, TASKS, 6, 2, generator=generator, dtype=torch.float64)
    y = torch.arange(6).remainder(3).expand(TASKS, -1)
    return TaskBatch(x[0], y, x[1], y)


def adapted_loss(net: nn.Module, theta: Tensor, tasks: TaskBatch, steps: int) -> Tensor:
    """Mean query loss after `steps` of gradient descent from theta, by torch.func alone."""
    shapes = [weight.shape for weight in net.parameters()]
    names = [name for name, _ in net.named_parameters()]

    def loss(phi: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = phi.split([shape.numel() for shape in shapes])
        weights = {
            name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)
        }
        return losses(functional_call(net, weights, (x,))[None], y[None])[0]

    total = theta.new_zeros(())
    for task in range(len(tasks)):
        phi = theta
        for _ in range(steps):
            slope = torch.func.grad(loss)(phi, tasks.support_x[task], tasks.support_y[task])
            phi = phi - ALPHA * slope
        total = total + loss(phi, tasks.query_x[task], tasks.query_y[task])
    return total / len(tasks)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 100])
def test_maml_s_meta_gradient_is_that_of_central_differences(steps: int, chunk: int) -> None:
    net, tasks = small_net(), small_tasks()
    theta, h = flat(net), 1e-5
    numeric = torch.stack(
        [
            (
                adapted_loss(net, theta + h * direction, tasks, steps)
                - adapted_loss(net, theta - h * direction, tasks, steps)
            )
            / (2 * h)
            for direction in torch.eye(len(theta), dtype=torch.float64)
        ]
    )
    mine = gradient(net, tasks, "maml", steps, chunk=chunk)
    assert float((mine - numeric).abs().max()) < 1e-8
    # The term that FOMAML drops is far larger than that.
    assert float((gradient(net, tasks, "fomaml", steps) - numeric).abs().max()) > 1e-4


def test_the_two_orders_differ_by_the_hessian_term() -> None:
    """One step: d L_query(phi) / d theta = (I - alpha * H) g, so FOMAML - MAML = alpha * H g."""
    net, tasks = small_net(), small_tasks()
    expected = []
    for task in tasks.split(1):
        support = TaskBatch(task.support_x, task.support_y, task.support_x, task.support_y)

        def loss_at(theta: Tensor, given: TaskBatch = support) -> Tensor:
            return adapted_loss(net, theta, given, steps=0)

        theta = flat(net)
        phi = theta - ALPHA * torch.func.grad(loss_at)(theta)
        query_gradient = torch.func.grad(lambda at, given=task: adapted_loss(net, at, given, 0))(
            phi
        )
        expected.append(ALPHA * torch.func.hessian(loss_at)(theta) @ query_gradient)
    difference = gradient(net, tasks, "fomaml", 1) - gradient(net, tasks, "maml", 1)
    assert torch.allclose(difference, torch.stack(expected).mean(0), rtol=1e-9, atol=1e-12)


class Quadratics:
    """Tasks of a linear net: L(theta) = mean (x . theta - y)^2, whose gradient is A theta - b."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(2, TASKS, 8, DIMENSIONS, generator=generator, dtype=torch.float64)
        y = torch.randn(2, TASKS, 8, generator=generator, dtype=torch.float64)
        self.tasks = TaskBatch(x[0], y[0], x[1], y[1])
        self.net = models.Network(nn.Linear(DIMENSIONS, 1, bias=False)).double()
        self.theta = flat(self.net)
        self.a, self.b = self.curvature(x[0], y[0])
        self.query_a, self.query_b = self.curvature(x[1], y[1])

    @staticmethod
    def curvature(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A `[T, D, D]` and b `[T, D]` of each task."""
        return 2 * x.mT @ x / x.shape[1], 2 * (x.mT @ y[..., None])[..., 0] / x.shape[1]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_closed_form_on_quadratics(steps: int) -> None:
    """phi = theta - alpha (A theta - b), so d phi_k / d theta = (I - alpha A)^k."""
    q = Quadratics()
    phi = q.theta.expand(TASKS, -1)
    for _ in range(steps):
        phi = phi - ALPHA * ((q.a @ phi[..., None])[..., 0] - q.b)
    query = (q.query_a @ phi[..., None])[..., 0] - q.query_b
    jacobian = torch.linalg.matrix_power(torch.eye(DIMENSIONS) - ALPHA * q.a, steps)
    second = (jacobian.mT @ query[..., None])[..., 0].mean(0)
    assert torch.allclose(gradient(q.net, q.tasks, "maml", steps), second, rtol=1e-10)
    assert torch.allclose(gradient(q.net, q.tasks, "fomaml", steps), query.mean(0), rtol=1e-10)


def reptile_move(q: Quadratics, steps: int, *options: str, chunk: int = 100) -> Tensor:
    """(theta - new theta) / epsilon after one meta-update with inner SGD on the support sets."""
    settings = config(
        *("algo=reptile", "algo.inner_optimizer=sgd", f"algo.inner_lr={ALPHA}"),
        *(f"algo.inner_steps={steps}", f"algo.meta_lr={EPSILON}", "algo.meta_schedule=constant"),
        *("algo.inner_batch=null", *options),
    ).algo
    net = copy.deepcopy(q.net)
    learner = reptile.Reptile(net, settings, 10, Acceleration(chunk))
    learner.meta_update(q.tasks, torch.Generator().manual_seed(0))
    return (q.theta - flat(net)) / EPSILON


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("steps", [1, 3])
def test_reptile_s_closed_form_on_quadratics(steps: int, chunk: int) -> None:
    q = Quadratics()
    phi = q.theta.expand(TASKS, -1)
    for _ in range(steps):
        phi = phi - ALPHA * ((q.a @ phi[..., None])[..., 0] - q.b)
    moved = reptile_move(q, steps, chunk=chunk)
    assert torch.allclose(moved, (q.theta - phi).mean(0), rtol=1e-10)


def mini_batch_gradients(q: Quadratics, at: Tensor, batch: int) -> Callable[[Tensor], Tensor]:
    """Rows of a support set to the gradient of their mean loss, for the first task."""
    x, y = q.tasks.support_x[0], q.tasks.support_y[0]
    return lambda rows: 2 * x[rows].mT @ (x[rows] @ at - y[rows]) / batch


def test_the_expected_update_has_the_leading_terms_of_nichol_et_al() -> None:
    """Section 5.1: with k = 2, E[g] = 2 AvgGrad - alpha * AvgGradInner + O(alpha^2).

    For mini-batches 1 and 2 the sum of gradients is g1 + g2 - alpha * H2 g1, and over both orders
    of the two H2 g1 becomes half the gradient of their inner product. On a quadratic no higher
    term exists, so this holds exactly.
    """
    q, batch = Quadratics(), 4
    x, y = q.tasks.support_x[:1], q.tasks.support_y[:1]
    q.tasks = TaskBatch(x, y, x, y)
    halves = torch.arange(8).split(batch)
    slope = mini_batch_gradients(q, q.theta, batch)
    g1, g2 = slope(halves[0]), slope(halves[1])

    def inner_product(theta: Tensor) -> Tensor:
        at = mini_batch_gradients(q, theta, batch)
        return at(halves[0]) @ at(halves[1])

    agreement = torch.func.grad(inner_product)(q.theta)
    expected = ALPHA * (g1 + g2 - ALPHA * agreement / 2)

    moves = []
    for first, second in ((0, 1), (1, 0)):
        order = torch.stack([halves[first], halves[second]])[None]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reptile, "mini_batches", lambda *_, order=order: order)
            moves.append(reptile_move(q, 2, "algo.inner_batch=4"))
    assert torch.allclose(torch.stack(moves).mean(0), expected, rtol=1e-10)
    # Without the second term it is SGD on the pooled batches, which is something else.
    assert float((ALPHA * (g1 + g2) - expected).abs().max()) > 1e-3


def test_batched_reptile_is_the_mean_of_serial_updates_from_the_same_weights() -> None:
    q = Quadratics()
    together, alone = reptile_move(q, 3), []
    for task in q.tasks.split(1):
        single = Quadratics()
        single.net, single.theta, single.tasks = q.net, q.theta, task
        alone.append(reptile_move(single, 3))
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=1e-10)
