"""The sinusoid's meta-update by every way to make it, in one process; see docs/speed.md.

    pip install 'fewshot[bench]'               JAX, without which its columns are missing
    python -m benchmarks.small                 all eight rows, some minutes, as `make bench` too
    python -m benchmarks.small --only 1,2,1    1 step, second order, 1 query
    python -m benchmarks.small --shared        processor time, one thread: where others compute too

`jit` is one meta-update a call, `scan` ten.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from benchmarks import rivals
from benchmarks.contest import Clock, contest, report
from benchmarks.speed import chunk_of, draw, network, ours
from fewshot_cli.settings.compose import job_config

TASKS, LR, UPDATES, ROUNDS = 25, 0.01, 10, 5
Row = tuple[int, int, int]  # steps, order, queries
ALL: list[Row] = list(product((1, 5), (2, 1), (1, 15)))


def table(out: Path, chosen: list[Row] = ALL, clock: Clock = time.perf_counter) -> None:
    if not importlib.util.find_spec("jax"):
        print("benchmarks.small: without JAX; pip install 'fewshot[bench]' brings it")
    report(list(rows(chosen, clock)), "A meta-update of 25 sinusoids, ms", out / "small.csv")


def rows(chosen: list[Row], clock: Clock) -> Iterator[dict[str, object]]:
    for steps, order, queries in chosen:
        algo, first_order = ("fomaml", True) if order == 1 else ("maml", False)
        words = f"algo={algo}", f"algo.inner_lr={LR}", f"algo.inner_steps={steps}"
        config = job_config(["data=sinusoid", "model=mlp", *words])
        batch = draw(config, TASKS, queries)
        chunk, memory = chunk_of(config, batch), rivals.tasks_in_memory(batch)
        how = LR, steps, first_order
        sides = {
            "plain": ours(config, batch, chunk),
            "compiled": ours(config, batch, chunk, compiled=True),
            "learn2learn": rivals.maml_loop(network(config, batch), memory.copy, *how),
            "torch.func": rivals.functional_maml(network(config, batch), batch, *how),
        }
        if importlib.util.find_spec("jax"):
            from benchmarks import on_jax

            for name, updates in (("jit", None), ("scan", UPDATES)):
                sides[name] = on_jax.maml(network(config, batch), batch, *how, updates)
        times = contest(sides, ROUNDS, clock)
        if "scan" in times:
            times["scan"] /= UPDATES
        yield {
            "steps": steps, "order": order, "queries": queries, **times,
            "learn2learn/plain": times["learn2learn"] / times["plain"],
            "learn2learn/compiled": times["learn2learn"] / times["compiled"],
            **{f"{name}/compiled": times[name] / times["compiled"] for name in ("jit", "scan")
               if name in times},
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="the sinusoid's meta-update against its peers")
    parser.add_argument("--only", help="a row: STEPS,ORDER,QUERIES")
    parser.add_argument("--shared", action="store_true", help="processor time, one thread")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    given = parser.parse_args()
    chosen = ALL
    if given.only:
        steps, order, queries = map(int, given.only.split(","))
        chosen = [(steps, order, queries)]
    if given.shared:
        torch.set_num_threads(1)
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # before JAX is imported
    table(given.out, chosen, time.process_time if given.shared else time.perf_counter)


if __name__ == "__main__":
    main()
