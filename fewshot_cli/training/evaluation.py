"""Meta-validation and meta-test: fixed tasks, adapted and scored after every step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from scipy.special import stdtrit
from torch import Tensor

from fewshot_cli.algorithms.base import Learner, answers
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import Scores, TaskBatch, score
from fewshot_cli.models import Network
from fewshot_cli.models.features import FrozenTasks
from fewshot_cli.progress import Progress
from fewshot_cli.runs.directory import Metrics
from fewshot_cli.settings.measure import ACCURACY, LOSS
from fewshot_cli.settings.schema import Statistics
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup

TASKS_A_DRAW = 100  # constant, so that the first n tasks are the same whatever their number


class StoppedError(Exception):
    """An evaluation was told to stop before its end."""


def evaluate(
    setup: Setup,
    split: str,
    tasks: int,
    label: str,
    first_step: int,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> list[Scores]:
    """Adapt to `tasks` tasks; score their query sets after `first_step` steps and each later one.

    The tasks depend on the data's settings, ways, shots, queries and `eval.seed` alone.

    Args:
        told_to_stop: asked before each adaptation step.

    Returns:
        One `Scores` of all tasks for each number of steps, `first_step` to `algo.eval_steps`.

    Raises:
        StoppedError: it was told so.
    """
    config = setup.config
    draws = generator(config.eval.seed, f"{split} tasks")
    inner = generator(config.eval.seed, f"{split} inner batches")
    steps = config.algo.eval_steps
    by_step: list[list[Scores]] = [[] for _ in range(first_step, steps + 1)]
    with Progress(label, tasks, "tasks") as progress:
        for first in range(0, tasks, TASKS_A_DRAW):
            for chunk in _chunks(setup, split, min(TASKS_A_DRAW, tasks - first), draws):
                for step, learner in enumerate(setup.algorithm.adapt(chunk, steps, inner)):
                    if told_to_stop():
                        raise StoppedError
                    if step >= first_step:
                        with torch.no_grad():
                            outputs = predict(
                                learner, chunk, setup.algorithm.net, config.eval.transductive
                            )
                            scores = score(outputs, chunk.query_y)
                        by_step[step - first_step].append(scores)
                progress.advance(len(chunk), shown(Scores.concatenate(by_step[-1])))
    return [Scores.concatenate(parts) for parts in by_step]


def _chunks(setup: Setup, split: str, tasks: int, draws: torch.Generator) -> Iterator[TaskBatch]:
    """The first tasks of the next draw, in batches that adapt at once."""
    source, shape, size = setup.source, setup.test_shape, setup.eval_chunk
    if not isinstance(source, ImageTasks | FrozenTasks):
        drawn = source.sample(split, TASKS_A_DRAW, shape, draws)
        yield from next(drawn.split(tasks)).split(size)
        return
    # A draw's images need not be in memory together.
    places, classes = source.draw(split, TASKS_A_DRAW, shape, draws)
    for first in range(0, tasks, size):
        part = slice(first, min(first + size, tasks))
        yield source.drawn(split, places[part], classes[part], shape, draws)


def predict(learner: Learner, tasks: TaskBatch, net: Network, transductive: bool) -> Tensor:
    """Outputs for the query sets, `[T, N*Q, outputs]`.

    Batch norm by a batch's statistics lets its examples see one another. Transductive: all queries
    of a task are one batch (MAML). If not, each query is in a batch with the whole support set and
    no other query (Nichol et al. 2018, section 6.1). By other statistics no query sees another.
    """
    if transductive or net.statistics is not Statistics.batch:
        return answers(learner, tasks, net)
    batches = (torch.cat([tasks.support_x, x[:, None]], 1) for x in tasks.query_x.unbind(1))
    return torch.stack([learner(batch)[:, -1] for batch in batches], 1)


def mean_ci95(values: Tensor) -> tuple[float, float | None]:
    """The mean over tasks and the half-width of its 95 % interval (Student's t)."""
    mean, count = float(values.double().mean()), len(values)
    if count < 2:
        return mean, None
    deviation = float(values.double().std())
    return mean, float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)


def metrics(
    scores: Scores, iteration: int, split: str, steps: int, start: float, seconds: float
) -> Metrics:
    """The row of metrics.csv for scores that took `seconds`, in a run that began at `start`."""
    found = {measure: mean_ci95(values) for measure, values in scores.measured().items()}
    loss, loss_ci95 = found[LOSS]
    accuracy, accuracy_ci95 = found.get(ACCURACY, (None, None))
    tasks = len(scores.loss)
    return Metrics(
        iteration,
        split,
        steps,
        tasks,
        loss,
        loss_ci95,
        accuracy,
        accuracy_ci95,
        elapsed_s=round(time.monotonic() - start, 3),
        tasks_per_s=round(tasks / max(seconds, 1e-9), 3),
    )


def shown(scores: Scores) -> dict[str, str]:
    """The current loss and accuracy, for a progress bar."""
    return {
        measure.name: f"{float(values.mean()):{measure.short}}"
        for measure, values in scores.measured().items()
    }
