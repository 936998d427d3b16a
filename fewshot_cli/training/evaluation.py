"""Meta-validation and meta-test: fixed tasks, adapted, and scored after some of the steps."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from fewshot_cli.algorithms.base import Learner, answers
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import Scores, TaskBatch, TaskSource, score
from fewshot_cli.models import Network
from fewshot_cli.models.features import FrozenTasks
from fewshot_cli.progress import Progress
from fewshot_cli.runs.directory import Metrics
from fewshot_cli.settings.measure import ACCURACY, LOSS
from fewshot_cli.settings.schema import EVERY_STEP, Config, Statistics
from fewshot_cli.stacked.statistics import separate_batches
from fewshot_cli.training.by_class import judged
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup

T = TypeVar("T")
TASKS_A_DRAW, MOST_A_DRAW = 100, 1000
# Bytes of a task's images or rows in a pass of queries each alone: what a layer makes of them, some
# ten times as much, stays in a CPU's caches.
AT_ONCE = {"cpu": 2**20, "cuda": 2**25}


class StoppedError(Exception):
    """An evaluation was told to stop before its end."""


def evaluate(
    setup: Setup,
    split: str,
    tasks: int,
    label: str,
    steps: Collection[int],
    told_to_stop: Callable[[], bool] = lambda: False,
) -> list[Scores]:
    """Adapt to `tasks` tasks by `algo.eval_steps` steps; score their query sets after `steps`.

    The tasks depend on the data's settings, ways, shots, queries and `eval.seed` alone.

    Args:
        told_to_stop: asked before each adaptation step.

    The ranks of a run share the tasks.

    Returns:
        One `Scores` of all tasks for each of `steps`, the fewest first.

    Raises:
        StoppedError: it was told so.
    """
    config = setup.config
    draws = generator(config.eval.seed, f"{split} tasks")
    inner = generator(config.eval.seed, f"{split} inner batches")
    ranks = setup.algorithm.acceleration.ranks
    found = list[list[Scores]]()  # of each chunk, by step
    stopped = False
    try:
        with Progress(label, tasks, "tasks") as progress:
            for size, chunk in _chunks(setup, split, tasks, draws):
                if chunk is None:
                    setup.algorithm.pass_over(size, inner, training=False)
                    progress.advance(size)
                    continue
                found.append(_by_step(setup, chunk, steps, inner, told_to_stop))
                so_far = Scores.concatenate([scores[-1] for scores in found])
                progress.advance(size, shown(so_far))
    except StoppedError:
        stopped = True
    if ranks.any(stopped):
        raise StoppedError
    chunks = _in_order(ranks.every(found))
    return [Scores.concatenate(list(parts)) for parts in zip(*chunks, strict=True)]


def scored_steps(config: Config) -> list[int]:
    """The adaptation steps after which a meta-test scores: the last always, and the published."""
    last, told = config.algo.eval_steps, config.eval.score_steps
    if told == EVERY_STEP:
        return [*range(last + 1)]
    published = config.published.figures if config.published else ()
    wanted = {*((0, 1) if told is None else told), *published, last}
    return sorted(step for step in wanted if step <= last)


def _by_step(
    setup: Setup,
    tasks: TaskBatch,
    steps: Collection[int],
    inner: torch.Generator,
    told_to_stop: Callable[[], bool],
) -> list[Scores]:
    """Adapt to tasks, and score them as `evaluate` says; the last scores have what was judged."""
    algorithm, evaluation, found = setup.algorithm, setup.config.eval, list[Scores]()
    for step, learner in enumerate(algorithm.adapt(tasks, setup.config.algo.eval_steps, inner)):
        algorithm.acceleration.ranks.check()
        if told_to_stop():
            raise StoppedError
        if step in steps:
            with torch.no_grad():
                outputs = predict(learner, tasks, algorithm.net, evaluation.transductive)
                found.append(score(outputs, tasks.query_y, tasks.unit))
    found[-1] = replace(found[-1], judged=judged(outputs, tasks))
    return found


def _in_order(of_ranks: list[list[T]]) -> list[T]:
    """What the ranks found for each chunk, which they took in turn."""
    size = len(of_ranks)
    return [
        of_ranks[unit % size][unit // size] for unit in range(sum(len(part) for part in of_ranks))
    ]


def tasks_a_draw(source: TaskSource, split: str) -> int:
    """Does not depend on how many are wanted, so that the first n are always the same.

    Where tasks are groups of rows, a draw has all of them, as far as they fit: no task counts twice
    before each has counted once.
    """
    groups = source.groups(split) if isinstance(source, ArrayTasks) else None
    return TASKS_A_DRAW if groups is None else min(groups, MOST_A_DRAW)


def _chunks(
    setup: Setup, split: str, tasks: int, draws: torch.Generator
) -> Iterator[tuple[int, TaskBatch | None]]:
    """How many tasks adapt at once, each time, and which; None where another rank takes them."""
    source, shape, size = setup.source, setup.test_shape, setup.eval_chunk
    ranks, units = setup.algorithm.acceleration.ranks, itertools.count()
    a_draw = tasks_a_draw(source, split)
    for first in range(0, tasks, a_draw):
        count = min(a_draw, tasks - first)
        if not isinstance(source, ImageTasks | FrozenTasks):
            drawn = next(source.sample(split, a_draw, shape, draws).split(count))
            for chunk in drawn.split(size):
                yield len(chunk), chunk if ranks.takes(next(units)) else None
            continue
        # A draw's images need not be in memory together.
        places, classes = source.draw(split, a_draw, shape, draws)
        for at in range(0, count, size):
            part = slice(at, min(at + size, count))
            taken = ranks.takes(next(units))
            mine = source.drawn(split, places[part], classes[part], shape, draws) if taken else None
            yield part.stop - at, mine


def predict(learner: Learner, tasks: TaskBatch, net: Network, transductive: bool) -> Tensor:
    """Outputs for the query sets, `[T, N*Q, outputs]`.

    Batch norm by a batch's statistics lets its examples see one another. Transductive: all queries
    of a task are one batch (MAML). If not, each query is in a batch with the whole support set and
    no other query (Nichol et al. 2018, section 6.1). By other statistics no query sees another.
    """
    if transductive or net.statistics is not Statistics.batch:
        return answers(learner, tasks, net)
    a_batch = tasks.support_x[0].nbytes + tasks.query_x[0, 0].nbytes
    together = max(1, AT_ONCE[tasks.query_x.device.type] // a_batch)
    parts = tasks.query_x.split(together, 1)
    return torch.cat([_each_alone(learner, tasks.support_x, queries) for queries in parts], 1)


def _each_alone(learner: Learner, support: Tensor, queries: Tensor) -> Tensor:
    """`[T, Q, outputs]` of queries `[T, Q, ...]`, each in a batch with the support set alone."""
    count = queries.shape[1]
    of_each = support[:, None].expand(-1, count, *support.shape[1:])
    batches = torch.cat([of_each, queries[:, :, None]], 2)  # [T, Q, N*K + 1, ...]
    with separate_batches(batches.shape[2]):
        outputs = learner(batches.flatten(1, 2))
    return outputs.reshape(*batches.shape[:3], -1)[:, :, -1]


def mean_ci95(values: Tensor) -> tuple[float, float | None]:
    """The mean over tasks and the half-width of its 95 % interval (Student's t)."""
    mean, count = float(values.double().mean()), len(values)
    if count < 2:
        return mean, None
    from scipy.special import stdtrit  # here, so that a run's first meta-update does not wait

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
    rmse = (None, None) if scores.accuracy is not None else mean_ci95(scores.loss.sqrt())
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
        rmse=rmse[0],
        rmse_ci95=rmse[1],
    )


def shown(scores: Scores) -> dict[str, str]:
    """The current loss and accuracy, for a progress bar."""
    return {
        measure.name: f"{float(values.mean()):{measure.short}}"
        for measure, values in scores.measured().items()
    }
