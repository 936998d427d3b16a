"""How many adaptation steps, and at which inner rate: chosen by cross-validation.

A fold of the support set is judged by what the rest of it adapts, after some numbers of steps at
some rates. The accuracy over all folds decides, then the lower log-loss, then fewer steps; of
numbers, the squared error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.algorithms.maml import MAML
from fewshot_cli.data.task import TaskBatch, squared_errors
from fewshot_cli.progress import Progress
from fewshot_cli.settings.schema import Config
from fewshot_cli.training.evaluation import predict
from fewshot_cli.training.seeding import generator

# Not every step: where images are judged alone, each costs a pass with the support set.
STEPS = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 50)
FACTORS = (0.25, 1.0, 4.0)  # of the run's inner rate
MOST_FOLDS = 5
# Where a pretrained body adapts, all of that would take hours.
FEWER_STEPS, FEWER_FACTORS, FEWER_FOLDS = 10, (1.0,), 2


@dataclass(frozen=True)
class Setting:
    """Of an inner loop."""

    steps: int
    rate: float


@dataclass
class HeldOut:
    """What comes of a setting on the images or rows that are left out, over all folds."""

    unit: Tensor | None = None  # of float targets
    images: int = 0
    right: int = 0
    loss: float = 0.0  # the sum of their log-losses, or squared errors
    numbers: bool = False

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Logits `[B, N]` and the classes `[B]`; or values `[B, D]` and targets as a task has."""
        self.images += len(labels)
        if labels.is_floating_point():
            self.numbers = True
            self.loss += float(squared_errors(outputs[None], labels[None], self.unit).sum())
            return
        self.right += int((outputs.argmax(-1) == labels).sum())
        self.loss += float(functional.cross_entropy(outputs, labels, reduction="sum"))

    @property
    def finite(self) -> bool:
        """Whether no fold diverged."""
        return math.isfinite(self.loss)

    @property
    def order(self) -> tuple[int, float]:
        """The better, the lower."""
        return (-self.right, self.loss) if self.finite else (1, math.inf)

    def __str__(self) -> str:
        if not self.finite:
            return "no finite answers"
        if self.numbers:
            return f"root mean squared error {math.sqrt(self.loss / self.images):.4g}"
        return f"{self.right / self.images:.1%} of {self.images} images"


def choose(
    at_rate: Callable[[float], Algorithm],
    images: Tensor,
    labels: Tensor,
    classes: list[str],
    config: Config,
    told: set[str],
    unit: Tensor | None = None,
) -> tuple[Setting, str | None]:
    """The steps and the inner rate with which a run adapts to a support set.

    Args:
        at_rate: the run's algorithm with an inner rate.
        images: the support set, float `[B, C, S, S]`, class after class; or rows, `[B, ...]`.
        labels: their classes, int64 `[B]`; or targets, as a task has them.
        classes: by name.
        config: has the run's own setting, and how its images are judged.
        told: keys that keep their values.
        unit: of float targets, `[D]`, as `TaskBatch` has it.

    Returns:
        The setting, and a line that says what was chosen and why; none where nothing is free.
    """
    own = Setting(config.algo.eval_steps, config.algo.inner_lr)
    keys = {name for name in config.algo.reads if f"algo.{name}" not in told}
    algorithm = at_rate(own.rate)
    learned = isinstance(algorithm, MAML) and bool(algorithm.alphas)
    free_steps, free_rate = "eval_steps" in keys, "inner_lr" in keys and not learned
    if own.steps == 0 or not (free_steps or free_rate):
        return own, None

    def named(setting: Setting) -> str:
        steps = f"{setting.steps} step{'s' * (setting.steps > 1)}"
        rate = f"an inner rate of {setting.rate:g}"
        return " at ".join([steps] * free_steps + [rate] * free_rate)

    as_tested = f"{named(own)}, as in the run's test"
    # The rows of a group are alike to the folds, whatever their classes.
    grouped = config.data.grouped
    of = torch.zeros(len(labels), dtype=torch.int64) if grouped else labels
    counts = of.bincount()
    if counts.min() < 2:
        one = "1 image" if config.data.images else "1 row"
        single = "the task" if grouped else f"class {classes[int(counts.argmin())]}"
        each = "" if grouped else " of each class"
        return own, (
            f"Took {as_tested}: {single} has {one}, and there is nothing to choose by "
            f"without 2{each}"
        )
    large = config.model.sized and len(algorithm.net.learning) > 2  # more than a head
    most = FEWER_STEPS if large else STEPS[-1]
    steps = [step for step in sorted({*STEPS, own.steps}) if step <= max(most, own.steps)]
    factors = FEWER_FACTORS if large else FACTORS
    left_out = folds(of, FEWER_FOLDS if large else MOST_FOLDS)
    found = cross_validated(
        at_rate,
        steps if free_steps else [own.steps],
        [own.rate * factor for factor in factors] if free_rate else [own.rate],
        left_out,
        images,
        labels,
        config,
        unit,
    )
    best = min(found, key=lambda each: (*found[each].order, each != own, each.steps))
    way = f"{len(left_out)}-fold cross-validation over the support set"
    if best == own:
        return own, f"Took {as_tested}: {way} found nothing better ({found[own]})"
    return best, f"Chose {named(best)} by {way}: {found[best]} ({as_tested}: {found[own]})"


def cross_validated(
    at_rate: Callable[[float], Algorithm],
    steps: list[int],
    rates: list[float],
    left_out: list[Tensor],
    images: Tensor,
    labels: Tensor,
    config: Config,
    unit: Tensor | None = None,
) -> dict[Setting, HeldOut]:
    """What comes of each number of steps (rising) at each rate; the rest as in `choose`.

    Args:
        left_out: of each fold.
    """
    found = {Setting(step, rate): HeldOut(unit) for rate in rates for step in steps}
    total = len(rates) * len(left_out) * steps[-1]
    with Progress("Cross-validation over the support set", total, "steps") as progress:
        for rate in rates:
            algorithm = at_rate(rate)
            for out in left_out:
                parts = images[~out], labels[~out], images[out], labels[out]
                fields = (part[None] for part in parts)
                task = TaskBatch(*fields, shared=config.data.grouped, unit=unit)
                draws = generator(config.eval.seed, "cross-validation inner batches")
                for step, learner in enumerate(algorithm.adapt(task, steps[-1], draws)):
                    if step in steps:
                        with torch.no_grad():
                            outputs = predict(
                                learner, task, algorithm.net, config.eval.transductive
                            )
                        found[Setting(step, rate)].add(outputs[0], labels[out])
                    progress.advance(step > 0)
    return found


def folds(labels: Tensor, most: int = MOST_FOLDS) -> list[Tensor]:
    """For each fold which images it leaves out, `[B]`: of each class a like share, each image once.

    There are as many as the smallest class has images, at most `most`, so that a fold has images of
    each class, and leaves some.

    Args:
        labels: class after class, two images or more of each.
    """
    counts = labels.bincount().tolist()
    places = torch.cat([torch.arange(count) for count in counts]).to(labels.device)
    number = min(most, *counts)
    return [places % number == fold for fold in range(number)]
