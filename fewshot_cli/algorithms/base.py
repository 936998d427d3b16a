"""What all algorithms share. They know tasks, weights and gradients, not files, bars or devices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli.data.task import Scores, TaskBatch
from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import AlgoConfig, Optimizer, Schedule, Statistics
from fewshot_cli.stacked import optimizer_step
from fewshot_cli.stacked.acceleration import Acceleration, NotInstalledError
from fewshot_cli.stacked.optimizers import SGD, Adam
from fewshot_cli.stacked.ranks import Together
from fewshot_cli.stacked.statistics import LeadingStatistics

if TYPE_CHECKING:  # it imports what compiles
    from fewshot_cli.stacked.compiled import Compilation

try:  # where it is missing, a line says so before a run begins
    from fewshot_cli.stacked import learn2learn as learn2learn
except NotInstalledError as error:
    raise UserError(str(error)) from error


class Learner(Protocol):
    """Networks adapted to T tasks: `[T, B, ...]` to `[T, B, outputs]`."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def weights(self) -> list[Tensor]:
        """The weights that, put into the algorithm's `net`, give the same answers: in the order of
        its own, each `[T, ...]` where tasks are several.
        """
        ...


class Algorithm(ABC):
    """Adapts copies of a network to tasks.

    Attributes:
        net: holds the initialisation theta.
    """

    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        self.net, self.config, self.acceleration = net, config, acceleration

    @abstractmethod
    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        """Copies of theta adapted to the support sets: before, and after each of `steps` steps.

        A learner is of use until the next one is asked for; theta stays as it is.
        """

    def pass_over(self, tasks: int, generator: torch.Generator, training: bool) -> None:
        """Draw what so many tasks would draw, which another rank adapts to."""
        return  # few algorithms draw anything

    def state_dict(self) -> dict[str, Any]:
        """What training carries from one meta-update to the next, besides theta."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`.

        Raises:
            ValueError: the state is of another algorithm.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"a state with {', '.join(state) or 'nothing'}")


class MetaLearner(Algorithm):
    """An algorithm with an outer loop: theta moves along the mean of the tasks' meta-gradients.

    Attributes:
        weights: the meta-parameters that move, those of `net` first.
        pools: its tasks are one batch, whose examples batch norm has see one another.
    """

    pools = False

    def __init__(
        self,
        net: Network,
        config: AlgoConfig,
        iterations: int,
        acceleration: Acceleration,
        weights: Iterable[nn.Parameter] | None = None,
    ) -> None:
        super().__init__(net, config, iterations, acceleration)
        self.weights = net.learning if weights is None else list(weights)
        backbone = () if config.backbone_lr is None else net.body.parameters()
        self.meta_optimizer = MetaOptimizer(self.weights, config, iterations, backbone)
        self._shares: list[Tensor] = []  # of the meta-gradient, not yet exchanged
        self._share = 1.0  # how often they count

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        """Move theta once; the scores are those of the query sets after the inner loop."""
        self.meta_optimizer.zero_grad()
        ranks, sizes, scores = self.acceleration.ranks, list[int](), list[Scores]()
        for unit, chunk in enumerate(self.chunks(tasks)):
            sizes.append(len(chunk))
            if ranks.takes(unit):
                scores.append(self.accumulate(chunk, len(tasks), generator))
            else:
                self.pass_over(len(chunk), generator, training=True)
        if isinstance(ranks, Together):
            scores = self._exchange(ranks, scores, sizes, tasks.query_y.is_floating_point())
        together = Scores.concatenate(scores)
        self.meta_optimizer.step(together.loss)
        return together

    def chunks(self, tasks: TaskBatch) -> Iterator[TaskBatch]:
        """The tasks that adapt at once."""
        return tasks.split(len(tasks) if self.pools else self.acceleration.chunk)

    def units(self, tasks: int) -> int:
        """How many chunks a meta-batch has, which ranks can share."""
        return 1 if self.pools else math.ceil(tasks / self.acceleration.chunk)

    @abstractmethod
    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        """`add` these tasks' share of the mean over all `count` tasks of the meta-batch.

        Returns:
            The scores of their query sets after the inner loop.
        """

    def add(self, gradient: Iterable[Tensor], share: float = 1.0) -> None:
        """Add to the meta-gradient, `share` times; once for each call of `accumulate`."""
        if self.acceleration.ranks.size > 1:
            self._shares.append(torch.cat([part.detach().reshape(-1) for part in gradient]))
            self._share = share
            return
        for theta, part in zip(self.weights, gradient, strict=True):
            assert theta.grad is not None
            theta.grad.add_(part.detach(), alpha=share)

    def _exchange(
        self, ranks: Together, own: list[Scores], sizes: list[int], regression: bool
    ) -> list[Scores]:
        """Add all ranks' shares of the meta-gradient as one rank would; the scores of all chunks.

        Args:
            own: the scores of the chunks that this rank adapted to.
            sizes: how many tasks each chunk has, whoever adapted to it.
        """
        like, kinds, width = self.weights[0], 1 if regression else 2, max(sizes)
        rows = []
        for each in own:
            both = torch.stack([each.loss] if each.accuracy is None else [each.loss, each.accuracy])
            padded = functional.pad(both, (0, width - both.shape[1])).flatten()
            rows.append(torch.cat([padded, padded.new_tensor([self._share])]))
        told = ranks.rows(table(rows, kinds * width + 1, like), len(sizes))

        lengths = [weight.numel() for weight in self.weights]
        shares, self._shares = table(self._shares, sum(lengths), like), []
        total = ranks.summed(shares, len(sizes), share=float(told[0, -1]))
        for weight, part in zip(self.weights, total.split(lengths), strict=True):
            assert weight.grad is not None
            weight.grad.copy_(part.view_as(weight))
        return [
            Scores(row[0, :size], None if regression else row[1, :size])
            for row, size in zip(told[:, :-1].unflatten(1, (kinds, width)), sizes, strict=True)
        ]

    def compilations(self) -> list[Compilation]:
        """What was compiled so far."""
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"meta": self.meta_optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "meta" not in state:  # the first releases kept nothing else of some algorithms
            state = {"meta": state}
        super().load_state_dict(state)
        self.meta_optimizer.load_state_dict(state["meta"])


def table(rows: list[Tensor], width: int, like: Tensor) -> Tensor:
    """`[len(rows), width]`, also where there is no row."""
    return torch.stack(rows) if rows else like.new_empty(0, width)


class DivergedError(Exception):
    """A loss or gradient is no finite number any more, and has not reached the weights.

    Attributes:
        task: its place in the meta-batch; None where only the gradient is not finite.
        hint: what to try.
    """

    hint = "try a lower algo.inner_lr or algo.meta_lr, or algo.meta_clip=10"

    def __init__(self, loss: Tensor, iteration: int) -> None:
        wrong = (~torch.isfinite(loss)).nonzero()
        self.task = int(wrong[0]) if len(wrong) else None
        self.line = (
            f"the meta-gradient in iteration {iteration} is not finite"
            if self.task is None
            else f"the loss of task {self.task} in iteration {iteration} is {loss[self.task]:.3g}"
        )
        super().__init__(f"{self.line}; {self.hint}")


class MetaOptimizer:
    """SGD or Adam over theta with a schedule that ends after `iterations` steps.

    Args:
        backbone: weights that `backbone_lr` is for.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        config: AlgoConfig,
        iterations: int,
        backbone: Iterable[nn.Parameter] = (),
    ) -> None:
        self.weights = list(weights)
        self.clip = config.meta_clip
        groups: list[dict[str, Any]] = [{"params": self.weights}]
        if config.backbone_lr is not None:
            slow = {id(weight) for weight in backbone}
            parts = [
                [each for each in self.weights if (id(each) in slow) is of] for of in (True, False)
            ]
            rates = config.backbone_lr, config.meta_lr
            groups = [
                {"params": part, "lr": lr} for part, lr in zip(parts, rates, strict=True) if part
            ]
        kind = Adam if config.meta_optimizer is Optimizer.adam else SGD
        self.optimizer: torch.optim.Optimizer = kind(groups, lr=config.meta_lr, fused=True)

        def share(step: int) -> float:
            done = step / max(iterations, 1)
            if config.meta_schedule is Schedule.linear:
                return 1 - done
            if config.meta_schedule is Schedule.cosine:
                return (1 + math.cos(math.pi * done)) / 2
            return 1.0

        self.share = share
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    @property
    def iteration(self) -> int:
        """How many steps it has made."""
        return int(self.schedule.last_epoch)

    def zero_grad(self) -> None:
        """Zeros in every `.grad`, in its weight's own layout, to add gradients to.

        Fused optimisers take that layout for granted: a gradient in another one moves other
        weights, without an error.
        """
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)

    def tensors(self) -> list[Tensor]:
        """All that a step moves, the weights first."""
        return optimizer_step.state_of(self.optimizer, list(self.weights))

    def rates(self) -> Tensor:
        """The learning rates of the next step, one a group, in float64."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return torch.tensor(rates, dtype=torch.float64, device=self.weights[0].device)

    def stepped(
        self, state: list[Tensor], gradient: list[Tensor], loss: Tensor, rates: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """`step` as a function, to be compiled.

        Args:
            state: `tensors`.
            rates: as `rates` gives them.

        Returns:
            The state after the step, and whether loss and gradient are finite, without which it
            is as it was.
        """
        if self.clip is not None:
            gradient = [part.clamp(-self.clip, self.clip) for part in gradient]
        finite = _total(loss, gradient).isfinite()
        groups = self.optimizer.param_groups
        rate_of = {
            id(weight): rate
            for group, rate in zip(groups, rates.unbind(), strict=True)
            for weight in group["params"]
        }
        each = [rate_of[id(weight)] for weight in self.weights]
        moved = optimizer_step.stepped(self.optimizer, state, gradient, each)
        kept = [torch.where(finite, new, old) for new, old in zip(moved, state, strict=True)]
        return kept, finite

    def stepped_to(self, loss: Tensor, finite: Tensor) -> None:
        """Count a step that was made elsewhere.

        Raises:
            DivergedError: it was not made, since a loss or a gradient is not finite.
        """
        if not finite:
            raise DivergedError(loss, self.iteration + 1)
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # which the schedule wants
        self.schedule.step()

    def step(self, loss: Tensor) -> None:
        """One step along the gradients that lie in `.grad`, which are cleared afterwards.

        Args:
            loss: the tasks' own, `[T]`, from which the gradients come.

        Raises:
            DivergedError: a loss or a gradient is not finite; the weights are as they were.
        """
        if self.clip is not None:
            nn.utils.clip_grad_value_(self.weights, self.clip)
        gradient = [weight.grad for weight in self.weights if weight.grad is not None]
        if not math.isfinite(float(_total(loss, gradient))):
            raise DivergedError(loss, self.iteration + 1)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # The run may go on for more iterations than were planned, which stretches the schedule.
        for group, lr in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = lr * self.share(self.iteration)


def _total(loss: Tensor, gradient: list[Tensor]) -> Tensor:
    """What is not finite stays so in a sum; one look at it, since each waits for the device."""
    return torch.stack([loss.sum(), *[part.sum() for part in gradient]]).sum()


def answers(learner: Learner, tasks: TaskBatch, net: Network) -> Tensor:
    """Outputs for the query sets, `[T, N*Q, outputs]`, where each is one batch.

    By the statistics of the support set, where batch norm works by those, each query is answered
    as if it were alone.
    """
    if net.statistics is not Statistics.support:
        return learner(tasks.query_x)
    support = tasks.support_x.shape[1]
    with LeadingStatistics(support):
        return learner(torch.cat([tasks.support_x, tasks.query_x], 1))[:, support:]


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """The prototypes `[T, N, D]` of features `[T, B, D]` with labels `[T, B]`."""
    members = functional.one_hot(labels).to(features)  # [T, B, N]
    return members.transpose(1, 2) @ features / members.sum(1)[..., None]


def nearest_mean_head(means: Tensor) -> tuple[Tensor, Tensor]:
    """The weight `[T, N, D]` and bias `[T, N]` of a linear head that chooses the nearest mean.

    -|f - c|^2 = 2 c.f - |c|^2 - |f|^2, and the last is alike for all classes (Snell et al. 2017,
    section 2.4).
    """
    return 2 * means, -means.square().sum(-1)


def for_ways(learned: Tensor, like: Tensor) -> Tensor:
    """`learned [N, ...]` with as many rows as `like`, each the mean of what the N rows learned.

    Which class of a task has which row is drawn by lot, so what the rows have in common is all that
    they can mean. Ye & Chao 2022 train MAML with one such row (UNICORN-MAML) and lose nothing.
    What has the right shape comes back as it is.
    """
    if learned.shape == like.shape:
        return learned
    return learned.mean(0, keepdim=True).expand_as(like)
