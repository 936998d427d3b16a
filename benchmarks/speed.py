"""fewshot against learn2learn's own loop, torch.func and supervised training; see docs/speed.md.

make bench                                  on random images
make bench ARGS="--omniglot DIR"            and with learn2learn's pipeline on Omniglot
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import torch

from benchmarks import rivals
from benchmarks.contest import contest
from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.stacking import chunk_size
from fewshot_cli.training.allocation import keep_freed_memory
from fewshot_cli.training.evaluation import evaluate
from fewshot_cli.training.seeding import initialised
from fewshot_cli.training.setup import prepare

WAYS = 5


def every_setting() -> Iterator[dict[str, object]]:
    """Both batchings, what `auto` makes of them, learn2learn's loop and torch.func's."""
    for (model, tasks, lr), queries, steps, first_order in product(
        (("mlp", 25, 0.01), ("fc", 32, 0.4), ("cnn4", 16, 0.4)), (1, 15), (1, 5), (False, True)
    ):
        algo = "fomaml" if first_order else "maml"
        config = job_config(
            [
                *("data=sinusoid" if model == "mlp" else "data=glyphs", f"model={model}"),
                *(f"algo={algo}", f"algo.inner_lr={lr}", f"algo.inner_steps={steps}"),
            ]
        )
        batch = draw(config, tasks, queries)
        memory = rivals.tasks_in_memory(batch)
        rule = chunk_of(config, batch)
        net = network(config, batch)
        times = contest(
            {
                "auto": ours(config, batch, rule),
                "stacked": ours(config, batch, tasks),
                "sequential": ours(config, batch, 1),
                "learn2learn": rivals.maml_loop(net, memory.copy, lr, steps, first_order),
                "torch.func": rivals.functional_maml(
                    network(config, batch), batch, lr, steps, first_order
                ),
            }
        )
        yield {
            "model": model, "tasks": tasks, "queries": queries, "steps": steps,
            "order": 1 if first_order else 2, "chunk": min(rule, tasks),
            **times,
            "learn2learn/auto": times["learn2learn"] / times["auto"],
            "torch.func/auto": times["torch.func"] / times["auto"],
            "better/auto": min(times["stacked"], times["sequential"]) / times["auto"],
        }  # fmt: skip


def limit() -> Iterator[dict[str, object]]:
    """CNN-4 with 15 queries: the time of as many supervised passes in one batch."""
    for first_order, tasks in product((False, True), (4, 32)):
        config = job_config([f"algo={'fomaml' if first_order else 'maml'}"])
        batch = draw(config, tasks, 15)
        images = rivals.matched_images(tasks, WAYS, 15 * WAYS, 1, first_order)
        times = contest(
            {
                "auto": ours(config, batch, chunk_of(config, batch)),
                "supervised": rivals.supervised(
                    network(config, batch), *rivals.epoch(batch, images)
                ),
            }
        )
        yield {
            "order": 1 if first_order else 2, "tasks": tasks, "passes": images, **times,
            "auto/supervised": times["auto"] / times["supervised"],
        }  # fmt: skip


REPTILE = ["algo=reptile", "algo.inner_steps=5", "algo.inner_batch=10", "algo.train_shots=10"]


def other_loops() -> Iterator[dict[str, object]]:
    config = job_config(REPTILE)
    batch = draw(config, 5, 1, shots=10)
    memory = rivals.tasks_in_memory(batch)
    times = contest(
        {
            "auto": ours(config, batch, chunk_of(config, batch)),
            "learn2learn": rivals.reptile_loop(network(config, batch), memory.copy, 1e-3, 5, 10),
        }
    )
    yield row("Reptile, CNN-64, 5 tasks, 5 Adam steps of 10 images", times)
    config = job_config(["eval.tasks=600", "eval.queries=1", "algo.eval_steps=3"])
    batch = draw(config, 600, 1)
    setup = prepare(config)
    loop = rivals.meta_test_loop(setup.algorithm.net, rivals.tasks_in_memory(batch), 0.4, 3)
    sides = {"auto": lambda: evaluate(setup, "test", 600, "Meta-test", [3]), "learn2learn": loop}
    with contextlib.redirect_stderr(io.StringIO()):  # the bar
        times = contest(sides, 4)
    yield row("meta-test of 600 tasks, CNN-64, 3 steps, 1 query", times)


def pipelines(archives: Path) -> Iterator[dict[str, object]]:
    """Data included: learn2learn decodes and turns every image of every task again."""
    data = ["data=omniglot", f"data.root={archives.resolve()}"]
    with tempfile.TemporaryDirectory() as folder:
        theirs = rivals.omniglot_pipeline(archives, Path(folder), WAYS, 1, 1)
        for model, their_net in (
            ("cnn4", rivals.OmniglotCNN(WAYS)),
            ("fc", rivals.OmniglotFC(28**2, WAYS)),
        ):
            config = job_config([*data, f"model={model}", "meta_batch=32", "algo.inner_lr=0.5"])
            sides = {
                "auto": with_data(config),
                "learn2learn": rivals.maml_loop(
                    their_net, lambda: theirs(32), 0.5, steps=1, first_order=False
                ),
            }
            yield row(f"MAML, {model}, 32 tasks, 1 step, 1 query", contest(sides, 5))
        more = rivals.omniglot_pipeline(archives, Path(folder), WAYS, 10, 1)
        config = job_config([*data, *REPTILE, "meta_batch=5"])
        cnn = rivals.OmniglotCNN(WAYS)
        sides = {
            "auto": with_data(config),
            "learn2learn": rivals.reptile_loop(cnn, lambda: more(5), 1e-3, 5, 10),
        }
        yield row("Reptile, cnn4, 5 tasks, 5 Adam steps of 10 images", contest(sides, 5))


def row(setting: str, times: dict[str, float]) -> dict[str, object]:
    ratio = times["learn2learn"] / times["auto"]
    return {"setting": setting, **times, "learn2learn/auto": ratio}


def draw(config: Config, tasks: int, queries: int, shots: int = 1) -> TaskBatch:
    """Random images with labels, or a sinusoid's points."""
    generator = torch.Generator().manual_seed(0)
    if config.data.regression:
        points = 10 * queries
        inputs = torch.rand(tasks, 10 + points, 1, generator=generator) * 10 - 5
        return TaskBatch(
            inputs[:, :10], inputs[:, :10, 0].sin(), inputs[:, 10:], inputs[:, 10:, 0].sin()
        )
    images = torch.rand(tasks, config.ways * (shots + queries), 1, 28, 28, generator=generator)
    labels = torch.arange(config.ways).repeat(shots + queries).expand(tasks, -1)
    at = config.ways * shots
    return TaskBatch(images[:, :at], labels[:, :at], images[:, at:], labels[:, at:])


def network(config: Config, tasks: TaskBatch) -> models.Network:
    outputs = 1 if config.data.regression else config.ways
    return initialised(config.model, tuple(tasks.support_x.shape[2:]), outputs, config.seed)


def chunk_of(config: Config, tasks: TaskBatch) -> int:
    """What batching=auto chooses for a meta-batch like this."""
    support = config.algo.inner_batch or tasks.support_x.shape[1]
    shape = tuple(tasks.support_x.shape[2:])
    batches = [support, tasks.query_x.shape[1]]
    return chunk_size(network(config, tasks), shape, batches, torch.device("cpu"))


def ours(
    config: Config, tasks: TaskBatch, chunk: int, compiled: bool = False
) -> Callable[[], object]:
    keep_freed_memory()  # as training/setup.py does; the other sides have it too
    net = network(config, tasks)
    algorithm = algorithms.build(
        net, config.algo, 10**6, Acceleration(chunk, compiled, config.recompute)
    )
    assert isinstance(algorithm, MetaLearner)
    generator = torch.Generator().manual_seed(0)
    return lambda: algorithm.meta_update(tasks, generator)


def with_data(config: Config) -> Callable[[], object]:
    setup = prepare(config)
    algorithm = setup.algorithm
    assert isinstance(algorithm, MetaLearner)
    generator = torch.Generator().manual_seed(0)
    return lambda: algorithm.meta_update(setup.train_tasks(generator), generator)
