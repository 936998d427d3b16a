"""What compiling takes, and what it spares of a meta-update with its data; see docs/speed.md.

    python -m benchmarks.compiling experiment=sinusoid_maml
    python -m benchmarks.compiling experiment=sinusoid_fomaml algo.inner_steps=5
    python -m benchmarks.compiling experiment=sinusoid_reptile

In processor time of one thread, the compiler's own processes included. Nothing is taken from an
earlier compilation.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.contest import contest, report
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.settings.compose import job_config
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import prepare


def updating(words: list[str], compiled: bool) -> Callable[[], object]:
    """A meta-update of a run, its tasks included."""
    how = f"compile={str(compiled).lower()}", "threads=1", "device=cpu"
    setup = prepare(job_config([*words, *how]), begins=True)
    algorithm, seed = setup.algorithm, setup.config.seed
    assert isinstance(algorithm, MetaLearner)
    draws, inner = generator(seed, "train tasks"), generator(seed, "inner batches")
    return lambda: algorithm.meta_update(setup.train_tasks(draws), inner)


def seconds() -> float:
    """Of the processor, so far, by this process and those that it started and has seen end."""
    of_others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + of_others.ru_utime + of_others.ru_stime


def row(words: list[str]) -> dict[str, object]:
    sides = {"plain": updating(words, False), "compiled": updating(words, True)}
    start = seconds()
    sides["compiled"]()
    taken = seconds() - start
    times = contest(sides, clock=time.process_time)
    return {
        "compiling, s": taken,
        **times,
        "plain/compiled": times["plain"] / times["compiled"],
        "pays after": round(1e3 * taken / (times["plain"] - times["compiled"])),
    }


def main() -> None:
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        report([row(words)], " ".join(words), Path("outputs/bench/compiling.csv"))


if __name__ == "__main__":
    main()
