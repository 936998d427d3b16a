"""Reading a table and sampling from it: seconds, peak memory, and ms a batch by number of rows.

python -m benchmarks.tables            up to 10 million rows, some minutes
python -m benchmarks.tables 100000     fewer

Each figure is of a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.contest import report

FEATURES, OF_A_TASK, BATCHES = 10, 40, 200
SIZES = 10**4, 10**5, 10**6, 10**7


def table(out: Path, most: int) -> None:
    report(list(rows(most)), "data=table: 10 features, tasks of 40 rows", out / "tables.csv")


def rows(most: int) -> Iterator[dict[str, object]]:
    for size in SIZES:
        for ending in ("npz", "csv"):
            if size <= most:
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / f"table.{ending}"
                    _write(path, size)
                    command = [sys.executable, "-m", "benchmarks.tables", str(path)]
                    said = subprocess.run(command, check=True, capture_output=True, text=True)
                    read, peak, batch = map(float, said.stdout.split())
                    yield {
                        "rows": size,
                        "file": ending,
                        "file, MB": path.stat().st_size / 2**20,
                        "x in float32, MB": size * FEATURES * 4 / 2**20,
                        "read, s": read,
                        "peak less start, MB": peak,
                        "batch of 25 tasks, ms": batch,
                    }


def _write(path: Path, size: int) -> None:
    draw = np.random.default_rng(0)
    task = np.arange(size) // OF_A_TASK
    if path.suffix == ".npz":
        x = draw.normal(size=(size, FEATURES)).astype(np.float32)
        np.savez(path, x=x, y=x[:, 0], task=task)
        return
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(["task", "y", *(f"x{place}" for place in range(FEATURES))]) + "\n")
        for first in range(0, size, 10**5):
            here = task[first : first + 10**5]
            part = np.column_stack([here, draw.normal(size=(len(here), FEATURES + 1))])
            np.savetxt(file, part, fmt=["%d"] + ["%.6f"] * (FEATURES + 1), delimiter=",")


def measured(path: Path) -> tuple[float, float, float]:
    """Seconds to read, MB at the peak less those before, ms a batch."""
    from fewshot_cli import data
    from fewshot_cli.data.task import TaskShape
    from fewshot_cli.settings.compose import job_config

    def megabytes() -> float:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    keys = ["data.task=task", "data.target=y"]
    words = ["data=table", f"data.root='{path}'", *keys, "model=mlp", "ways=1"]
    config = job_config(words).data
    import pandas  # noqa: F401  before the clock, as every run has it

    before, start = megabytes(), time.monotonic()
    source = data.load(config, "", torch.device("cpu"))
    seconds, peak = time.monotonic() - start, megabytes() - before
    shape, draws = TaskShape(1, 10, 10), torch.Generator().manual_seed(0)
    source.sample("train", 25, shape, draws)
    start = time.monotonic()
    for _ in range(BATCHES):
        source.sample("train", 25, shape, draws)
    return seconds, peak, 1e3 * (time.monotonic() - start) / BATCHES


if __name__ == "__main__":
    if len(sys.argv) == 2 and not sys.argv[1].isdecimal():
        print(*measured(Path(sys.argv[1])))
    else:
        table(Path("outputs/bench"), int(sys.argv[1]) if len(sys.argv) == 2 else SIZES[-1])
