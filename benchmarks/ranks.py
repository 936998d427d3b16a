"""Two ranks of one thread against one rank of two threads: ms a meta-update, and of the exchange.

`python -m benchmarks.ranks`. Each side is a set of processes of its own, in turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch._C._distributed_c10d import FileStore

from benchmarks.contest import report
from fewshot_cli import algorithms
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.runs.ranks import Place
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.ranks import ALONE, Ranks
from fewshot_cli.training.allocation import keep_freed_memory
from fewshot_cli.training.ranks import joined
from fewshot_cli.training.seeding import initialised
from fewshot_cli.training.setup import outputs_of

ROUNDS, CALLS = 3, 12
SIDES = {"1 rank, 1 thread": (1, 1), "1 rank, 2 threads": (1, 2), "2 ranks, 1 thread": (2, 1)}
WORKS = {
    "sinusoid, 25 tasks": (
        *("data=sinusoid", "model=mlp", "ways=1", "shots=10", "queries=10", "meta_batch=25"),
        *("algo.inner_lr=0.01", "chunk=13"),
    ),
    "CNN-64, 16 tasks": ("model=cnn4", "data=glyphs", "meta_batch=16", "chunk=4"),
    "lite0 at 84 pixels, 4 tasks": (
        *("model=lite0", "model.freeze=none", "meta_batch=4", "algo.inner_lr=0.01", "chunk=1"),
        "queries=5",
    ),
}
CHANNELS = {"CNN-64, 16 tasks": (1, 28, 28), "lite0 at 84 pixels, 4 tasks": (3, 84, 84)}


def rows() -> Iterator[dict[str, object]]:
    found: dict[str, list[dict[str, list[float]]]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side, (ranks, threads) in SIDES.items():
            found[side].append(_in_their_own_processes(ranks, threads))
    for work in WORKS:
        ms = {side: statistics.median(each[work][0] for each in found[side]) for side in SIDES}
        exchange = statistics.median(each[work][1] for each in found["2 ranks, 1 thread"])
        one, _, two = ms.values()
        yield {
            "work": work,
            **{f"{side}, ms": value for side, value in ms.items()},
            "exchange, ms": exchange,
            "1 rank of 2 threads / 2 ranks": ms["1 rank, 2 threads"] / two,
            "1 rank of 1 thread / 2 ranks": one / two,
        }


def _in_their_own_processes(ranks: int, threads: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.ranks"),
                    *map(str, (rank, ranks, threads, Path(folder) / "store")),
                ],
                stdout=subprocess.PIPE,
            )
            for rank in range(ranks)
        ]
        said = [process.communicate()[0] for process in started]
    found: dict[str, list[float]] = json.loads(said[0].splitlines()[-1])
    return found


def measured(ranks: Ranks) -> dict[str, tuple[float, float]]:
    """For each work the median milliseconds of a meta-update, and of its exchange alone."""
    found = {}
    for work, words in WORKS.items():
        config = job_config([*words, "batching=stacked", "algo=maml", "algo.inner_steps=1"])
        tasks = _tasks(config, CHANNELS.get(work))
        shape = tuple(tasks.support_x.shape[2:])
        net = initialised(config.model, shape, outputs_of(config, config.ways, 0), 1)
        acceleration = Acceleration(config.chunk or 1, ranks=ranks)
        learner = algorithms.build(net, config.algo, 10**6, acceleration)
        assert isinstance(learner, MetaLearner)
        width, units = sum(each.numel() for each in learner.weights), learner.units(len(tasks))
        own = torch.zeros(sum(ranks.takes(unit) for unit in range(units)), width)
        generator = torch.Generator()

        def exchange(own: Tensor = own, units: int = units) -> None:
            ranks.any(False)
            ranks.rows(own[:, :64].contiguous(), units)
            ranks.summed(own, units, 1.0)

        found[work] = _ms(partial(learner.meta_update, tasks, generator)), _ms(exchange)
    return found


def _ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[2:])


def _tasks(config: Config, image: tuple[int, ...] | None) -> TaskBatch:
    """Random ones: how long it takes does not depend on what is in them."""
    torch.manual_seed(0)
    tasks, shots = config.meta_batch, config.ways * config.shots
    queries = config.ways * config.queries
    shape = image or (1,)

    def labels(count: int) -> Tensor:
        if image is None:
            return torch.randn(tasks, count)
        return torch.arange(count).remainder(config.ways).expand(tasks, -1)

    return TaskBatch(
        torch.rand(tasks, shots, *shape),
        labels(shots),
        torch.rand(tasks, queries, *shape),
        labels(queries),
    )


def main() -> None:
    if len(sys.argv) == 1:
        report(list(rows()), "two ranks against one", Path("ranks.csv"))
        return
    rank, size, threads = map(int, sys.argv[1:4])
    torch.set_num_threads(threads)
    keep_freed_memory()
    if size == 1:
        print(json.dumps(measured(ALONE)))
        return
    here = Place(rank, size, rank, size, "fewshot")
    store = FileStore(sys.argv[4], size)
    with joined(here, store, job_config([]), lambda rank, store: None) as ranks:
        print(json.dumps(measured(ranks)))


if __name__ == "__main__":
    main()
