"""A run's algorithm as it was tested, and the tasks on which it was."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from torch import Tensor

from fewshot_cli.algorithms.base import Learner
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import TaskBatch, TaskShape
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.schema import Config
from fewshot_cli.training import checkpoints
from fewshot_cli.training.evaluation import tasks_a_draw
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup, prepare


def restored(run: Path, config: Config, splits: Collection[str] = ()) -> Setup:
    """The parts of a run, with the checkpoint that its meta-test takes.

    Args:
        splits: those that are sampled; none: those of the run.

    Raises:
        UserError: the checkpoint, the device or the data is not there.
    """
    config.compile = False  # there is no meta-gradient in a picture of what was learned
    path, state = checkpoints.tested(RunDirectory(run), config.eval.checkpoint)
    setup = prepare(config, splits)
    checkpoints.fill(path, setup.algorithm, state, any_ways=True)
    return setup


def meta_test_tasks(setup: Setup, count: int) -> TaskBatch:
    """The first tasks of meta-test, which are the first in test_tasks.csv."""
    config = setup.config
    draws = generator(config.eval.seed, "test tasks")
    a_draw = tasks_a_draw(setup.source, "test")
    drawn = [
        setup.source.sample("test", a_draw, setup.test_shape, draws)
        for _ in range(-(-count // a_draw))
    ]
    return next(TaskBatch.concatenate(drawn).split(count))


def places_of_meta_test(
    source: ImageTasks, config: Config, tasks: Collection[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Some tasks by their number in test_tasks.csv: places of images `[N, K+Q]`, classes `[N]`."""
    shape = TaskShape(config.ways, config.shots, config.eval.queries)
    draws, a_draw = generator(config.eval.seed, "test tasks"), tasks_a_draw(source, "test")
    found = dict[int, tuple[Tensor, Tensor]]()
    for first in range(0, max(tasks) + 1, a_draw):
        places, classes = source.draw("test", a_draw, shape, draws)
        here = [task for task in tasks if first <= task < first + a_draw]
        found |= {task: (places[task - first], classes[task - first]) for task in here}
    return found


def adapted(setup: Setup, tasks: TaskBatch, steps: int) -> Iterator[Learner]:
    """The learner before and after each step, with the inner mini-batches of meta-test."""
    draws = generator(setup.config.eval.seed, "test inner batches")
    return setup.algorithm.adapt(tasks, steps, draws)


def after(steps: int) -> str:
    """When that is, in words."""
    return f"after {steps} step{'s' * (steps > 1)}" if steps else "before adaptation"
