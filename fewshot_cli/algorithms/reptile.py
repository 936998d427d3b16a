"""Reptile (Nichol et al. 2018, algorithms 1 and 2), on copies made by learn2learn.

    inner loop   phi = theta after k > 1 steps of SGD or Adam on mini-batches of one task
    meta-update  theta <- theta + epsilon * mean over tasks of (phi - theta)

Serial Reptile is a meta-batch of one task, batched Reptile of several. With k = 1 this would be
SGD on the pooled tasks; later steps add what makes gradients of one task's batches agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot_cli.algorithms.base import MetaLearner, answers, for_ways, table
from fewshot_cli.data.task import Scores, TaskBatch, losses, score
from fewshot_cli.models import Network
from fewshot_cli.settings.schema import AlgoConfig, Optimizer
from fewshot_cli.stacked import optimizer_step
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.learn2learn import clone_module, detach_module
from fewshot_cli.stacked.optimizers import SGD, Adam
from fewshot_cli.stacked.stacking import PerTask

if TYPE_CHECKING:  # it imports what compiles
    from fewshot_cli.stacked.compiled import Compilation, Compiled


@dataclass
class ReptileConfig(AlgoConfig):
    compilable = True


class Reptile(MetaLearner):
    """Reptile over `net`'s weights theta.

    `carry_state`: Adam's second moments go on from one meta-batch to the next, and into
    evaluation, as in the authors' code. There the tasks of a meta-batch take them over from one
    another; here they all start from the same ones, and theirs are averaged as the weights are,
    so that the order of the tasks does not matter. With one task the two are the same.
    """

    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        super().__init__(net, config, iterations, acceleration)
        self.carried: list[dict[str, Tensor]] = []  # Adam's state for each weight
        self.ended: list[torch.optim.Optimizer] = []  # of the inner loops of a meta-batch
        self.compiled_step: Compiled | None = None
        if acceleration.compile:
            # Here, since a second goes into importing what compiles.
            from fewshot_cli.stacked.compiled import Compiled

            # However many steps there are, one is compiled.
            moves = len(self.weights) * (1 if config.inner_optimizer is Optimizer.sgd else 4)
            calls = config.inner_steps or 0
            self.compiled_step = Compiled(self._stepped, "an inner step", moves, calls)

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        try:
            scores = super().meta_update(tasks, generator)
            if self.config.carry_state and self.config.inner_optimizer is Optimizer.adam:
                self._carry(self.ended, len(tasks))
        finally:
            self.ended = []  # which hold the weights of every task
        return scores

    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        steps, batch = self.config.inner_steps, self.config.inner_batch
        assert steps is not None
        *_, (phi, optimizer) = self._inner_loop(tasks, steps, batch, generator, self.compiled_step)
        # The meta-optimiser descends, so its gradient is mean of (theta - phi).
        self.add(
            (theta - phis.view(-1, *theta.shape)).sum(0) / count
            for theta, phis in zip(self.weights, phi.learning(), strict=True)
        )
        self.ended.append(optimizer)
        with torch.no_grad():
            return score(answers(phi, tasks, self.net), tasks.query_y, tasks.unit)

    def pass_over(self, tasks: int, generator: torch.Generator, training: bool) -> None:
        batch = self.config.inner_batch if training else self.config.eval_inner_batch
        if batch is not None:
            seeds_of(tasks, generator)

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[PerTask]:
        for phi, _ in self._inner_loop(tasks, steps, self.config.eval_inner_batch, generator):
            yield phi

    def _inner_loop(
        self,
        tasks: TaskBatch,
        steps: int,
        batch: int | None,
        generator: torch.Generator,
        compiled: Callable[..., object] | None = None,
    ) -> Iterator[tuple[PerTask, torch.optim.Optimizer]]:
        """phi with its optimiser, before and after each step, which `compiled` may make."""
        phi = self._copies(len(tasks))
        phi = clone_module(phi)  # stacking gives views; an optimiser needs weights of their own
        detach_module(phi, keep_requires_grad=True)
        optimizer = self._optimizer(phi.learning())
        self._take_over(optimizer, phi.learning())
        yield phi, optimizer
        images = tasks.support_y.shape[1]
        order = mini_batches(len(tasks), images, steps, batch, generator)
        first = images * torch.arange(len(tasks))[:, None]
        state = optimizer_step.state_of(optimizer, phi.learning()) if compiled else []
        for step in range(steps):
            chosen = (first + order[:, step]).to(tasks.support_y.device)
            if compiled:
                compiled(*state, chosen, tasks.support_x, tasks.support_y)
            else:
                optimizer.zero_grad()
                _loss(phi, tasks.support_x, tasks.support_y, chosen).backward()
                optimizer.step()
            yield phi, optimizer

    def _copies(self, tasks: int) -> PerTask:
        return PerTask(self.net, self.acceleration.bf16).copies(tasks)

    def _stepped(self, *given: Tensor) -> tuple[Tensor, ...]:
        """All that an inner step moves, as it is after it.

        Args:
            given: phi and its optimiser's state; the examples to use, and all that there are.
        """
        *state, chosen, x, y = given
        phis = [phi.detach().requires_grad_() for phi in state[: len(self.weights)]]
        phi = self._copies(len(x))
        phi.hold(list(phis))
        gradient = torch.autograd.grad(_loss(phi, x, y, chosen), phis)
        rate = torch.tensor(self.config.inner_lr, dtype=torch.float64, device=x.device)
        after = optimizer_step.stepped(
            self._optimizer(phis), state, list(gradient), [rate] * len(phis)
        )
        return tuple(after)

    def _optimizer(self, phis: list[Tensor]) -> torch.optim.Optimizer:
        lr = self.config.inner_lr
        if self.config.inner_optimizer is Optimizer.sgd:
            return SGD(phis, lr=lr)
        return Adam(phis, lr=lr, betas=(0.0, 0.999), fused=True)

    def _take_over(self, optimizer: torch.optim.Optimizer, phis: list[Tensor]) -> None:
        """Have Adam begin with the second moments that are carried, if any are."""
        for phi, carried in zip(phis, self.carried, strict=False):
            optimizer.state[phi] = {
                "step": carried["step"].float().clone(),  # as Adam counts, whatever the weights
                "exp_avg": torch.zeros_like(phi),
                "exp_avg_sq": carried["exp_avg_sq"].to(phi.device).expand_as(phi).clone(),
            }

    def _carry(self, ended: list[torch.optim.Optimizer], tasks: int) -> None:
        """Keep the mean of the second moments with which the tasks of a meta-batch ended."""
        rows = []  # a chunk each: the moments of its tasks, added up, and its number of steps
        for optimizer in ended:
            states = list(optimizer.state.values())
            sums = [
                state["exp_avg_sq"].view(-1, *theta.shape).sum(0).reshape(-1)
                for theta, state in zip(self.weights, states, strict=True)
            ]
            rows.append(torch.cat([*sums, states[0]["step"].to(sums[0]).view(1)]))
        lengths = [theta.numel() for theta in self.weights]
        own = table(rows, sum(lengths) + 1, self.weights[0])
        chunks = self.acceleration.ranks.rows(own, self.units(tasks))
        of_weights = chunks[:, :-1].split(lengths, 1)
        self.carried = [
            {
                "step": chunks[0, -1].cpu().clone(),
                "exp_avg_sq": (of_weight.sum(0) / tasks).view_as(theta),
            }
            for theta, of_weight in zip(self.weights, of_weights, strict=True)
        ]

    def compilations(self) -> list[Compilation]:
        return self.compiled_step.compilations if self.compiled_step else []

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"carried": self.carried}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.carried = [
            one | {"exp_avg_sq": for_ways(one["exp_avg_sq"], theta)}
            for one, theta in zip(state["carried"], self.weights, strict=False)
        ]


def _loss(phi: PerTask, support_x: Tensor, support_y: Tensor, chosen: Tensor) -> Tensor:
    """The sum over tasks of the loss on a mini-batch.

    Args:
        chosen: which examples, `[T, B]`, counted through all tasks.
    """
    # Whole examples, where an index for each dimension would look up every number.
    x, y = (
        each.flatten(0, 1).index_select(0, chosen.flatten()).unflatten(0, (len(chosen), -1))
        for each in (support_x, support_y)
    )
    return losses(phi(x), y).sum()


def mini_batches(
    tasks: int, images: int, steps: int, batch: int | None, generator: torch.Generator
) -> Tensor:
    """For each task and inner step the support examples to use, `[T, steps, batch]`.

    Each task goes through its support set in a random order, and again in a new one when it is
    used up, as in the authors' code. Without `batch`, every step uses the whole set.
    """
    if batch is None:
        return torch.arange(images).expand(tasks, steps, -1)
    rounds = -(-steps * batch // images)
    keys = [
        torch.rand(rounds, images, generator=torch.Generator().manual_seed(seed))
        for seed in seeds_of(tasks, generator)
    ]
    order = torch.stack(keys).argsort(-1).flatten(1)
    return order[:, : steps * batch].view(tasks, steps, batch)


def seeds_of(tasks: int, generator: torch.Generator) -> list[int]:
    """One for each task: more steps go on from the same first ones, whatever tasks come before."""
    seeds: list[int] = torch.randint(2**62, (tasks,), generator=generator).tolist()
    return seeds
