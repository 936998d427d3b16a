"""Two ranks of one thread against one rank of two threads: ms a meta-update, and of the exchange.

`python -m benchmarks.ranks`. Each side is a set of processes of its own, in turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch._C._distributed_c10d import FileStore

from benchmarks import backbones, speed
from benchmarks.contest import median_ms, report
from fewshot_cli import algorithms
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.runs.ranks import Place
from fewshot_cli.settings.compose import job_config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.ranks import ALONE, Ranks, Together
from fewshot_cli.training.allocation import keep_freed_memory
from fewshot_cli.training.ranks import joined

ROUNDS, CALLS = 3, 12
SIDES = {"1 rank, 1 thread": (1, 1), "1 rank, 2 threads": (1, 2), "2 ranks, 1 thread": (2, 1)}
WORKS = {
    "sinusoid, 25 tasks": ("data=sinusoid", "model=mlp", "ways=1", "meta_batch=25", "chunk=13"),
    "CNN-64, 16 tasks": ("model=cnn4", "data=glyphs", "meta_batch=16", "chunk=4"),
    f"lite0, {backbones.TASKS} tasks": (*backbones.SETTING, "chunk=1"),
}


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
        images = (3, backbones.SIZE, backbones.SIZE)
        of_lite0 = config.model.name == "lite0"
        tasks = backbones.drawn(images) if of_lite0 else speed.draw(config, config.meta_batch, 1)
        net = speed.network(config, tasks)
        acceleration = Acceleration(config.chunk or 1, ranks=ranks)
        learner = algorithms.build(net, config.algo, 10**6, acceleration)
        assert isinstance(learner, MetaLearner)
        update = partial(learner.meta_update, tasks, torch.Generator())
        found[work] = median_ms(update, CALLS), _exchange(ranks, learner, len(tasks))
    return found


def _exchange(ranks: Ranks, learner: MetaLearner, tasks: int) -> float:
    """What a meta-update exchanges: whether to stop, the scores, and the shares of its gradient."""
    if not isinstance(ranks, Together):
        return 0.0
    width, units = sum(each.numel() for each in learner.weights), learner.units(tasks)
    own = torch.zeros(sum(ranks.takes(unit) for unit in range(units)), width)

    def exchange() -> None:
        ranks.any(False)
        ranks.rows(own[:, :64], units)
        ranks.summed(own, units, 1.0)

    return median_ms(exchange, CALLS)


def main() -> None:
    if len(sys.argv) == 1:
        report(list(rows()), "Two ranks against one", Path("outputs/bench/ranks.csv"))
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
