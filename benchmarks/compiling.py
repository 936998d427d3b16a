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
from pathlib import Path

from benchmarks.contest import contest, report
from benchmarks.speed import with_data
from fewshot_cli.settings.compose import job_config


def seconds() -> float:
    """Of the processor, so far, by this process and those that it started and has seen end."""
    of_others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + of_others.ru_utime + of_others.ru_stime


def row(words: list[str]) -> dict[str, object]:
    sides = {
        name: with_data(job_config([*words, f"compile={value}", "threads=1", "device=cpu"]))
        for name, value in (("plain", "false"), ("compiled", "true"))
    }
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
