"""MAML and first-order MAML (Finn et al. 2017, algorithm 1 and section 5.2), by learn2learn.

    inner loop   phi_0 = theta,   phi_{j+1} = phi_j - alpha * grad L_support(phi_j)
    meta-update  theta <- theta - beta * mean over tasks of  d L_query(phi_k) / d theta

MAML differentiates through the inner loop: d phi_k / d theta = product of (I - alpha * Hessian).
First-order MAML takes that Jacobian as the identity, so its meta-gradient is grad L_query(phi_k).

Three options come from MAML++ (Antoniou et al. 2019, section 4): `multi_step` also counts the query
losses of the earlier steps, less and less; `learn_rates` makes alpha a weight of each layer and
step; `first_order_iterations` come before those of second order.

phi_0 has theta's head, or one for any number of ways: `head=prototypes` begins at the class means
c_n of theta's features, as w_n = 2 c_n, b_n = -|c_n|^2 (ProtoMAML, Triantafillou et al. 2020,
section 3); `head=shared` gives every class the one row that is learned (UNICORN-MAML, Ye & Chao
2022, section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from fewshot_cli.algorithms.base import (
    Learner,
    MetaLearner,
    answers,
    class_means,
    for_ways,
    nearest_mean_head,
)
from fewshot_cli.data.task import Scores, TaskBatch, losses, score
from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import AlgoConfig, Head
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.recompute import recomputed
from fewshot_cli.stacked.stacking import PerTask

if TYPE_CHECKING:  # it imports what compiles
    from fewshot_cli.stacked.compiled import Compilation, Compiled


@dataclass
class MAMLConfig(AlgoConfig):
    compilable = True
    recomputable = True


class MAML(MetaLearner):
    def __init__(
        self, net: Network, config: AlgoConfig, iterations: int, acceleration: Acceleration
    ) -> None:
        assert config.inner_steps is not None
        self.steps = config.inner_steps
        self.wrapper = self.wrap(net, config, acceleration)
        self.alphas: list[nn.Parameter] = list(getattr(self.wrapper, "lrs", []))  # where learned
        learned_head = config.head is not Head.prototypes
        weights = [*(net.learning if learned_head else net.learning[:-2]), *self.alphas]
        super().__init__(net, config, iterations, acceleration, weights)
        self.meta_gradient: Callable[..., tuple[Tensor, ...]] = self._meta_gradient
        self.whole_update: Compiled | None = None
        if acceleration.compile:
            # Here, since a second goes into importing what compiles.
            from fewshot_cli.stacked.compiled import Compiled

            self.meta_gradient = Compiled(self._meta_gradient, "a meta-gradient")
            if acceleration.ranks.size == 1 and not self.alphas:
                moves = len(self.meta_optimizer.tensors())
                update = partial(self._whole_update, moves)
                self.whole_update = Compiled(update, "a meta-update", moves)

    def wrap(self, net: Network, config: AlgoConfig, acceleration: Acceleration) -> l2l.Wrapper:
        """learn2learn's wrapper of what the inner loop moves."""
        moved = PerTask(net, acceleration.bf16)
        if not config.learn_rates:
            return l2l.wrap(moved, config.inner_lr, config.first_order)
        refuse_frozen(net, "algo.learn_rates=true")
        rates = torch.full((self.steps,), config.inner_lr)
        return l2l.MetaSGD(moved, lrs=[nn.Parameter(rates.to(theta)) for theta in net.parameters()])

    def meta_update(self, tasks: TaskBatch, generator: torch.Generator) -> Scores:
        """Move theta once.

        Compiled, with the meta-optimiser's step in the same code, where one process adapts to all
        tasks at once; if not, and with learned rates, the meta-gradient alone is compiled.
        """
        if self.whole_update is None or self.units(len(tasks)) > 1:
            return super().meta_update(tasks, generator)
        optimizer = self.meta_optimizer
        told = optimizer.rates(), self._shares_of_steps()
        given = *optimizer.tensors(), *told, *tensors_of(tasks)
        loss, accuracy, finite = self.whole_update(*given)
        optimizer.stepped_to(loss, finite)
        return Scores(loss, None if tasks.query_y.is_floating_point() else accuracy)

    def _whole_update(self, moves: int, *given: Tensor) -> tuple[Tensor, ...]:
        """The meta-optimiser's state after a meta-update; losses; accuracies; all finite or not.

        Args:
            moves: how many of the tensors are that state; learning rates, the steps' shares and
                tasks come behind.
        """
        optimizer = self.meta_optimizer
        state, (rates, shares, *tasks) = given[:moves], given[moves:]
        with self._at(state[: len(self.weights)]):
            *gradient, loss, accuracy = self._meta_gradient(shares, *tasks)
        mean = [part / len(loss) for part in gradient]
        after, finite = optimizer.stepped(list(state), mean, loss, rates)
        return *after, loss, accuracy, finite

    @contextmanager
    def _at(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Inside the `with`, other tensors stand in the place of theta, in the network too."""
        theta, net = self.weights, PerTask(self.net)
        # No Parameters, which would be constants of what is compiled.
        self.weights = [cast(nn.Parameter, value.detach().requires_grad_()) for value in values]
        net.hold(list[Tensor](self.weights))
        try:
            yield
        finally:
            net.hold(list[Tensor](theta))
            self.weights = theta

    def accumulate(self, tasks: TaskBatch, count: int, generator: torch.Generator) -> Scores:
        told = self._shares_of_steps(), *tensors_of(tasks)
        *gradient, loss, accuracy = self.meta_gradient(*told)
        self.add(gradient, share=1 / count)
        return Scores(loss, None if tasks.query_y.is_floating_point() else accuracy)

    def _meta_gradient(self, shares: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """d sum over tasks of L_query(phi_k) / d theta; each task's loss; its accuracy."""
        tasks = of_tensors(*given)
        # What is compiled has all steps for good, in the end with shares of 0.
        iteration = 0 if self.acceleration.compile else self.meta_optimizer.iteration
        early = iteration < self.config.multi_step
        total: Tensor | float = 0.0
        for step, phi in self._inner_loop(tasks):
            if step == self.steps or (early and step):
                outputs = answers(phi, tasks, self.net)
                total = total + shares[step] * losses(outputs, tasks.query_y).sum()
        assert isinstance(total, Tensor)
        gradient = torch.autograd.grad(total, self.weights)
        return *gradient, *scored(outputs, tasks)

    def _shares_of_steps(self) -> Tensor:
        """How much each phi_j's query loss counts, j = 0..k: at first alike, at last phi_k's."""
        left = max(0.0, 1 - self.meta_optimizer.iteration / max(1, self.config.multi_step))
        early = left / self.steps if self.config.multi_step else 0.0
        shares = [0.0, *[early] * (self.steps - 1), 1 - early * (self.steps - 1)]
        return self.weights[0].new_tensor(shares)

    def _inner_loop(self, tasks: TaskBatch) -> Iterable[tuple[int, Learner]]:
        """phi_j with its j, as the meta-gradient needs it."""
        if self.acceleration.recompute:
            return [(self.steps, self._recomputed(tasks))]
        first_order = self.meta_optimizer.iteration < self.config.first_order_iterations
        return enumerate(self.inner_loop(tasks, self.steps, first_order or self.config.first_order))

    def inner_loop(self, tasks: TaskBatch, steps: int, first_order: bool) -> Iterator[Learner]:
        phi = self._begin(tasks, first_order)
        return inner_loop(phi, tasks, steps, self.alphas if self.config.learn_rates else None)

    def _begin(self, tasks: TaskBatch, first_order: bool) -> l2l.Wrapper:
        phi = self.wrapper.clone()
        phi.first_order = first_order
        phi.module.stack(len(tasks))
        if self.config.head is not Head.own:
            # From theta itself: by phi's own features, the body's inner gradient would feel the
            # head follow it.
            body = PerTask(self.net.body, self.acceleration.bf16).copies(len(tasks))
            begin_head(phi.module, self.config.head, tasks, body(tasks.support_x))
        return phi

    def _recomputed(self, tasks: TaskBatch) -> Learner:
        phi = self._begin(tasks, first_order=False)

        def step(before: list[Tensor]) -> list[Tensor]:
            phi.module.hold(before)
            inner_step(phi, tasks)
            after: list[Tensor] = phi.module.learning()
            return after

        phi.module.hold(recomputed(step, self.steps, phi.module.learning()))
        adapted: Learner = phi.module
        return adapted

    def adapt(self, tasks: TaskBatch, steps: int, generator: torch.Generator) -> Iterator[Learner]:
        # Nobody differentiates through this inner loop: its steps need no graph.
        return self.inner_loop(tasks, steps, first_order=True)

    def compilations(self) -> list[Compilation]:
        of_both = self.meta_gradient, self.whole_update
        return [each for of in of_both for each in getattr(of, "compilations", [])]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"alphas": [alpha.detach() for alpha in self.alphas]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            for alpha, saved in zip(self.alphas, state["alphas"], strict=True):
                alpha.copy_(for_ways(saved, alpha))


def inner_loop(
    phi: l2l.Wrapper, tasks: TaskBatch, steps: int, rates: list[nn.Parameter] | None = None
) -> Iterator[PerTask]:
    """A clone of theta for each task, before and after each SGD step on the support sets.

    Args:
        rates: alpha for each weight, `[k]`, one a step; the last goes on where steps are more.
    """
    phi.module.stack(len(tasks))
    yield phi.module
    for step in range(steps):
        if rates is not None:
            phi.lrs = [rate[min(step, len(rate) - 1)] for rate in rates]
        inner_step(phi, tasks)
        yield phi.module


def begin_head(phi: PerTask, head: Head, tasks: TaskBatch, features: Tensor) -> None:
    """Give each task a head with a row for each of its classes.

    Args:
        phi: a linear layer, or a network that ends in one.
        features: of the support sets, `[T, N*K, D]`.
    """
    linear = cast(nn.Linear, phi.net[-1] if isinstance(phi.net, nn.Sequential) else phi.net)
    if head is Head.prototypes:
        rows = nearest_mean_head(class_means(features, tasks.support_y))
        weight, bias = rows if phi.stacked else (row[0] for row in rows)
    else:
        ways = int(tasks.support_y.max()) + 1
        weight = linear.weight.expand(*linear.weight.shape[:-2], ways, -1)
        bias = linear.bias.expand(*linear.bias.shape[:-1], ways)
    for name, value in (("weight", weight), ("bias", bias)):
        # What inner steps move must be differentiable, also where it was made without a graph.
        linear._parameters[name] = cast(
            nn.Parameter, value if value.requires_grad else value.requires_grad_()
        )


def refuse_frozen(net: Network, what: str) -> None:
    """Learned rates are for weights that all learn.

    Raises:
        UserError: some are frozen.
    """
    if len(net.learning) < len(list(net.parameters())):
        raise UserError(f"{what}: gives a rate to every weight; expected model.freeze=none or all")


def inner_step(phi: l2l.Wrapper, tasks: TaskBatch) -> None:
    phi.adapt(losses(phi(tasks.support_x), tasks.support_y).sum())


# What is compiled takes and gives tensors alone.


def tensors_of(tasks: TaskBatch) -> list[Tensor]:
    return [*tasks.fields(), *([] if tasks.unit is None else [tasks.unit])]


def of_tensors(*given: Tensor) -> TaskBatch:
    """Tasks of their fields, and of their unit where they have one."""
    fields, unit = given[:4], given[4:]
    return TaskBatch(*fields, unit=unit[0] if unit else None)


def scored(outputs: Tensor, tasks: TaskBatch) -> tuple[Tensor, Tensor]:
    """Each task's loss, and its accuracy, or for regression the loss again."""
    scores = score(outputs, tasks.query_y, tasks.unit)
    return scores.loss, scores.loss if scores.accuracy is None else scores.accuracy
