"""Implicit MAML (Rajeswaran et al. 2019, algorithms 1 and 2), with learn2learn's inner step.

    inner loop   phi -> argmin of L_support(phi) + lambda / 2 * |phi - theta|^2, by k steps of SGD
    meta-update  theta <- theta - beta * mean over tasks of  (I + H / lambda)^-1 grad L_query(phi)

H is the Hessian of L_support at phi. Conjugate gradients solve for the product with the inverse, so
the inner loop keeps no graph, however many steps it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_cli.algorithms.base import answers
from fewshot_cli.algorithms.maml import MAML, of_tensors, scored
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.settings.schema import AlgoConfig, Shapes, key
from fewshot_cli.stacked.stacking import PerTask


@dataclass
class ImplicitConfig(AlgoConfig):
    regularisation: float = key(
        2.0, shapes=Shapes.test, above=0, help="lambda, how hard theta pulls at the adapted weights"
    )
    cg_steps: int = key(5, above=0, help="conjugate-gradient steps of a meta-update")


class ImplicitMAML(MAML):
    config: ImplicitConfig

    def inner_loop(self, tasks: TaskBatch, steps: int, first_order: bool) -> Iterator[PerTask]:
        phi = self.wrapper.clone()
        phi.first_order = True
        phi.module.stack(len(tasks))
        start = [theta.detach() for theta in phi.module.learning()]
        yield phi.module
        for _ in range(steps):
            support = losses(phi(tasks.support_x), tasks.support_y).sum()
            moved = zip(phi.module.learning(), start, strict=True)
            distance = torch.stack([(now - then).square().sum() for now, then in moved]).sum()
            phi.adapt(support + self.config.regularisation / 2 * distance)
            yield phi.module

    def _meta_gradient(self, shares: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        tasks = of_tensors(*given)
        *_, adapted = self.inner_loop(tasks, self.steps, first_order=True)
        phis = [weight.detach().requires_grad_() for weight in adapted.learning()]
        adapted.hold(phis)

        outputs = answers(adapted, tasks, self.net)
        of_query = torch.autograd.grad(losses(outputs, tasks.query_y).sum(), phis)
        support = losses(adapted(tasks.support_x), tasks.support_y).sum()
        of_support = torch.autograd.grad(support, phis, create_graph=True)

        sizes = [theta.numel() for theta in self.weights]

        def curved(vectors: Tensor) -> Tensor:
            """(I + H / lambda) v for each task, `[T, P]`."""
            parts = zip(vectors.split(sizes, 1), phis, strict=True)
            shaped = [part.reshape(phi.shape) for part, phi in parts]
            curvature = torch.autograd.grad(of_support, phis, shaped, retain_graph=True)
            return vectors + _flat(curvature, len(tasks)) / self.config.regularisation

        solved = conjugate_gradients(curved, _flat(of_query, len(tasks)), self.config.cg_steps)
        parts = zip(solved.sum(0).split(sizes), self.weights, strict=True)
        gradient = [part.view_as(theta) for part, theta in parts]
        return *gradient, *scored(outputs, tasks)


def _flat(weights: tuple[Tensor, ...], tasks: int) -> Tensor:
    """Each task's weights in a row, `[T, P]`."""
    return torch.cat([weight.reshape(tasks, -1) for weight in weights], 1)


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """x with A x = b for T systems at once, `[T, P]`, after some steps from 0.

    A system stops at a direction along which A curves down, where the loss is no bowl; one that
    meets it at the first step gives b, first-order MAML's direction (Nocedal & Wright 2006,
    algorithm 7.1).

    Args:
        product: of A and a vector, for each system.
    """
    x, rest, direction = torch.zeros_like(b), b, b
    left = rest.square().sum(1, keepdim=True)
    goes_on = torch.ones_like(left, dtype=torch.bool)
    for step in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(1, keepdim=True)
        goes_on = goes_on & (curvature > 0)
        length = torch.where(goes_on, left / curvature, 0)
        x = x + length * direction if step else torch.where(goes_on, length * direction, b)
        rest = rest - length * image
        before, left = left, rest.square().sum(1, keepdim=True)
        direction = rest + torch.where(before > 0, left / before, 0) * direction
    return x
