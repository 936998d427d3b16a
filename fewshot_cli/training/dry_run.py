"""`fewshot train --dry-run`: a little of each part of a run, and what the whole would take."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.progress import quiet
from fewshot_cli.runs.directory import Unwritten
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Compile, Config, EvalConfig
from fewshot_cli.training import compiling, room
from fewshot_cli.training.evaluation import TASKS_A_DRAW
from fewshot_cli.training.memory import OutOfMemoryError, memory_explained
from fewshot_cli.training.run import meta_test, meta_validate
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup, prepare

SECONDS, UPDATES = 3.0, 5  # of meta-updates that are timed: at most, and at least two
SHORT = 2.0  # seconds in which an evaluation is made once more, since the first one is slower


@dataclass(frozen=True)
class Times:
    """Seconds that the parts of a run take by one process.

    Attributes:
        begin: until the first meta-update is done.
        update: of each other meta-update.
        valid: of a meta-validation.
        test: of the meta-test.
    """

    begin: float
    update: float
    valid: float
    test: float

    def training(self, iterations: int, every: int) -> float:
        """Until so many meta-updates and the meta-validations between them are done."""
        return self.begin + iterations * self.update + math.ceil(iterations / every) * self.valid


def dry_run(config: Config) -> str:
    """Build everything, and try some meta-updates, a meta-validation and a meta-test of few tasks.

    Returns:
        What was built, and what the run takes in time and memory; a line each.

    Raises:
        UserError: something that the run needs is not there, or it does not fit into the memory.
    """
    free = room.free()
    try:
        with quiet(), room.at_most(free), memory_explained(config):
            setup, done, times = _tried(config)
    except OutOfMemoryError as error:
        there = "" if free is None else f"; {_bytes(free)} were free"
        raise UserError(f"{error}{there}") from error
    weights = sum(weight.numel() for weight in setup.algorithm.net.parameters())
    trains = isinstance(setup.algorithm, MetaLearner)
    lines = [
        f"{config.algo.name} on {config.data.name} with {config.model.name} "
        f"({weights:,} weights) on {setup.device}: {done} works",
        _time(config, times, config.iterations if trains else 0),
        _memory(setup.device, free),
    ]
    if config.compile == Compile.auto:
        lines.append(compiling.told(config, setup.algorithm.net, setup.device))
    return "\n".join(lines)


def _tried(config: Config) -> tuple[Setup, str, Times]:
    start = time.monotonic()
    setup = prepare(config, begins=True)
    algorithm = setup.algorithm
    draws, inner = generator(config.seed, "train tasks"), generator(config.seed, "inner batches")
    updates, valid = list[float](), 0.0
    if isinstance(algorithm, MetaLearner):
        algorithm.meta_update(setup.train_tasks(draws), inner)  # which may compile
        begin = time.monotonic() - start
        while len(updates) < 2 or (len(updates) < UPDATES and sum(updates) < SECONDS):
            before = time.monotonic()
            algorithm.meta_update(setup.train_tasks(draws), inner)
            updates.append(time.monotonic() - before)
        done = f"one meta-update of {config.meta_batch} tasks"
    else:
        begin, done = time.monotonic() - start, "one adaptation"
    nowhere, of_eval = Unwritten(Path()), config.eval
    if updates and config.iterations:
        few = min(of_eval.valid_tasks, setup.eval_chunk, TASKS_A_DRAW)
        part = _with(setup, replace(of_eval, valid_tasks=few))
        valid = _seconds(lambda: meta_validate(part, nowhere, 0, start)) * of_eval.valid_tasks / few
    few = min(of_eval.tasks, setup.eval_chunk, TASKS_A_DRAW)
    part = _with(setup, replace(of_eval, tasks=few))
    test = _seconds(lambda: meta_test(part, nowhere, 0, start)) * of_eval.tasks / few
    return setup, done, Times(begin, median(updates) if updates else 0.0, valid, test)


def _with(setup: Setup, evaluation: EvalConfig) -> Setup:
    return replace(setup, config=replace(setup.config, eval=evaluation))


def _seconds(work: Callable[[], object]) -> float:
    took = SHORT
    for _ in range(2):
        before = time.monotonic()
        work()
        took = time.monotonic() - before
        if took >= SHORT:
            break
    return took


def _time(config: Config, times: Times, iterations: int) -> str:
    """What the run takes, and how far a limit lets it come."""
    every, limit = config.eval.every, config.limits.seconds
    whole = times.training(iterations, every)
    parts = [f"the meta-test {_shown(times.test)}"]
    if iterations:
        parts = [
            f"{iterations:,} meta-updates of {_shown(times.update)}",
            f"{math.ceil(iterations / every):,} meta-validations of {_shown(times.valid)}",
            *parts,
        ]
    by = "" if config.ranks is None else " by one process"
    told = f"Time: about {_shown(whole + times.test)}{by}, of it {', '.join(parts)}"
    if limit is None or not iterations or whole <= limit:
        return told
    most = _shown(limit + times.test)
    made = next(n for n in range(iterations, -1, -1) if times.training(n, every) <= limit or not n)
    return (
        f"{told}\nlimits.seconds={limit:g} ends meta-training after about {made:,} of "
        f"{iterations:,} meta-updates; with the meta-test the run takes {most}"
    )


def _memory(device: torch.device, free: int | None) -> str:
    if device.type == "cuda":
        most, of_gpu = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
        return f"Memory: at most {_bytes(most)} of the GPU's {_bytes(of_gpu)}"
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    there = "" if free is None else f"; {_bytes(free)} were free"
    return f"Memory: at most {_bytes(most)}{there}"


def _shown(seconds: float) -> str:
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
