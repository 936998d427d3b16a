"""Meta-updates of EfficientNet-Lite0 at 84 pixels against learn2learn's own loop; ANIL on features.

Each side is a process of its own, in turn, since how memory is allocated is part of what is
compared: a run has its allocator keep what it frees (training/allocation.py), a script has not.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks import rivals
from benchmarks.contest import median_ms, report
from fewshot_cli import algorithms
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.compose import job_config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training.allocation import keep_freed_memory
from fewshot_cli.training.seeding import initialised

WAYS, TASKS, QUERIES, SIZE = 5, 2, 15, 84
ROUNDS, CALLS = 3, 4
SETTING = [
    *("model=lite0", "model.freeze=none", "model.feature_norm=null"),
    *("algo.inner_lr=0.01", "algo.inner_steps=1"),
]


def table(out: Path) -> None:
    report(list(rows()), f"lite0, {TASKS} tasks, 5-way 1-shot, {SIZE} pixels", out / "lite0.csv")


def rows() -> Iterator[dict[str, object]]:
    for algo in ("maml", "fomaml", "anil"):
        sides = ["ours"] if algo == "anil" else ["ours", "learn2learn"]
        found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side in sides:
                found[side].append(_in_its_own_process(algo, side))
        row: dict[str, object] = {"algo": algo}
        for side in sides:
            for what in ("ms", "GB"):
                row[f"{side}, {what}"] = statistics.median(each[what] for each in found[side])
        if len(sides) == 2:
            row["learn2learn/ours"] = float(str(row["learn2learn, ms"])) / float(
                str(row["ours, ms"])
            )
        yield row


def _in_its_own_process(algo: str, side: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.backbones", algo, side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(algo: str, side: str) -> dict[str, float]:
    """The median milliseconds of a meta-update, and the peak of the process in gigabytes."""
    milliseconds = median_ms(_ours(algo) if side == "ours" else _theirs(algo), CALLS)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    return {"ms": milliseconds, "GB": peak}


def _ours(algo: str) -> Callable[[], object]:
    keep_freed_memory()
    frozen = algo == "anil"
    told = ["model.freeze=all", "algo.inner_steps=5"] if frozen else []
    config = job_config([*SETTING, f"algo={algo}", *told])
    _, net = initialised(config.model, (3, SIZE, SIZE), WAYS, config.seed).split()
    learner = algorithms.build(net, config.algo, config.iterations, Acceleration(chunk=1))
    assert isinstance(learner, MetaLearner)
    tasks = drawn((1280,) if frozen else (3, SIZE, SIZE))
    return lambda: learner.meta_update(tasks, torch.Generator())


def _theirs(algo: str) -> Callable[[], object]:
    config = job_config([*SETTING, f"algo={algo}"])
    net = initialised(config.model, (3, SIZE, SIZE), WAYS, config.seed)
    net.to(memory_format=torch.contiguous_format)  # as timm gives it to a script
    memory = rivals.tasks_in_memory(drawn((3, SIZE, SIZE)))
    return rivals.maml_loop(net, memory.copy, config.algo.inner_lr, 1, algo == "fomaml")


def drawn(shape: tuple[int, ...]) -> TaskBatch:
    """Random examples: what is in them does not matter here."""
    draw, labels = torch.Generator().manual_seed(0), torch.arange(WAYS)
    x = torch.rand(TASKS, WAYS, *shape, generator=draw)
    query_x = torch.rand(TASKS, WAYS * QUERIES, *shape, generator=draw)
    query_y = labels.repeat_interleave(QUERIES).expand(TASKS, -1)
    return TaskBatch(x, labels.expand(TASKS, -1), query_x, query_y)


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:])))
