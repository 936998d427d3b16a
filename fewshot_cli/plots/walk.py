"""What a run did in weight space: the recorded points of theta, inner loops from some of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.stacking import PerTask, convolves
from fewshot_cli.training import checkpoints
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup, prepare

TASKS = 4
MOST_STEPS = 20  # of an inner path that are kept
AT_ONCE = 64  # networks whose losses are computed together


@dataclass(frozen=True)
class Walk:
    """P points of theta, and from three of them the inner paths of T tasks, over W weights."""

    theta: Tensor  # [P, W]
    half_way: int  # the point of theta where half of the path's length is behind it
    inner: Tensor  # [3, T, S, W], from the start, half_way and the end; S points along the steps
    update: Tensor | None  # [W], half of the way: minus the meta-gradient on these tasks
    loss: Callable[[Tensor], Tensor] | None  # mean query loss of G networks, [G, W] to [G]


def follow(config: Config, points: list[Path], with_head: bool, progress: Progress) -> Walk:
    """Follow a run along its recorded points, with meta-train tasks that `eval.seed` draws.

    Args:
        with_head: False leaves the head out of W.

    Raises:
        UserError: a point cannot be read, or adaptation diverges or moves none of the W weights.
    """
    config.compile, config.device = False, "cpu"  # there is little to compute
    setup = prepare(config, ["train"])
    algorithm, tasks = setup.algorithm, _tasks(setup)
    followed = algorithm.net if with_head else algorithm.net.body
    count = len(list(followed.parameters()))
    theta = []
    for point in points:
        checkpoints.load(point, algorithm)
        theta.append(flat(followed.parameters())[0])
        progress.advance()
    way = torch.stack(theta)
    middle = half_way(way)
    inner, update = [], None
    for number in (0, middle, -1):
        checkpoints.load(points[number], algorithm)
        inner.append(inner_paths(setup, tasks, count))
        if not inner[-1].isfinite().all():
            raise UserError(f"{points[number]}: adaptation diverges; expected finite weights")
        if torch.equal(inner[-1][:, 0], inner[-1][:, -1]):
            raise UserError(f"{points[number]}: adapts the head alone, which is left out here")
        if number == middle and isinstance(algorithm, MetaLearner):
            # It moves theta, which the next point brings back into place.
            update = _update(algorithm, next(tasks.split(config.meta_batch)), count)
    cheap = with_head and not convolves(algorithm.net)
    loss = _query_loss(algorithm.net, tasks) if cheap else None
    return Walk(way, middle, torch.stack(inner), update, loss)


def half_way(theta: Tensor) -> int:
    """Which of the points `[P, W]` is nearest to half of their path's length."""
    steps = (theta[1:] - theta[:-1]).norm(dim=1)
    gone = torch.cat([torch.zeros(1), steps.cumsum(0)])
    return int((gone - gone[-1] / 2).abs().argmin())


def flat(weights: Iterable[Tensor], tasks: int = 1) -> Tensor:
    """All weights of each task in a row, `[T, W]`."""
    return torch.cat([weight.detach().reshape(tasks, -1) for weight in weights], 1)


def inner_paths(setup: Setup, tasks: TaskBatch, count: int) -> Tensor:
    """The first `count` weight tensors of each task along its inner loop, `[T, S, W]`."""
    steps = setup.config.algo.eval_steps
    every = math.ceil(steps / MOST_STEPS)
    draws = generator(setup.config.eval.seed, "path inner batches")
    path = []
    for step, learner in enumerate(setup.algorithm.adapt(tasks, steps, draws)):
        if step % every == 0 or step == steps:
            path.append(flat(learner.weights()[:count], len(tasks)))
    return torch.stack(path, 1)


def _tasks(setup: Setup) -> TaskBatch:
    config = setup.config
    draws = generator(config.eval.seed, "path tasks")
    return setup.source.sample("train", TASKS, setup.test_shape, draws)


def _update(algorithm: MetaLearner, tasks: TaskBatch, count: int) -> Tensor:
    """Minus what the algorithm hands to its meta-optimiser as the gradient for these tasks."""
    weights = list(algorithm.net.parameters())
    handed = []

    def look(optimizer: Optimizer, *_: object) -> None:
        if optimizer.param_groups[0]["params"][0] is weights[0]:  # not one of an inner loop
            handed.append(
                flat(weight.grad for weight in weights[:count] if weight.grad is not None)
            )

    hook = register_optimizer_step_pre_hook(look)
    try:
        algorithm.meta_update(tasks, generator(0, "path update"))
    finally:
        hook.remove()
    return -handed[0][0]


def _query_loss(net: nn.Module, tasks: TaskBatch) -> Callable[[Tensor], Tensor]:
    shapes = [weight.shape for weight in net.parameters()]
    many = PerTask(copy.deepcopy(net))
    many.stacked = True

    def of(weights: Tensor) -> Tensor:
        parts = weights.split([shape.numel() for shape in shapes], 1)
        many.take([part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)])
        by_task = [
            losses(many(x.expand(len(weights), *x.shape)), y.expand(len(weights), -1))
            for x, y in zip(tasks.query_x, tasks.query_y, strict=True)
        ]
        return torch.stack(by_task).mean(0)

    def loss(weights: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([of(chunk) for chunk in weights.split(AT_ONCE)])

    return loss
