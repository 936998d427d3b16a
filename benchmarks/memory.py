"""Peak memory of second-order MAML over K inner steps, with and without recompute.

Each figure is the peak of a process of its own, less that of the same process before training.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.contest import report

STEPS = 1, 5, 20
TASKS = 16


def table(out: Path) -> None:
    report(list(rows()), f"Peak memory of a meta-update, {TASKS} tasks, CNN-64", out / "memory.csv")


def rows() -> Iterator[dict[str, object]]:
    for recompute in (False, True):
        peaks = {f"K={steps}, MB": _in_its_own_process(steps, recompute) for steps in STEPS}
        yield {"recompute": recompute, **peaks, "K=20 / K=1": peaks["K=20, MB"] / peaks["K=1, MB"]}


def _in_its_own_process(steps: int, recompute: bool) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(steps), str(int(recompute))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(steps: int, recompute: bool) -> float:
    """Megabytes that one meta-update of CNN-4 takes."""
    from benchmarks.speed import chunk_of, draw, ours
    from fewshot_cli.settings.compose import job_config

    def megabytes() -> float:
        # Linux's high-water mark; getrusage's would begin with that of the process before.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    config = job_config([f"algo.inner_steps={steps}", f"recompute={str(recompute).lower()}"])
    batch = draw(config, TASKS, queries=1)
    one = job_config(["algo=fomaml"])
    ours(one, draw(one, 2, 1), 2)()  # what is there however little is trained
    torch.manual_seed(0)
    before = megabytes()
    ours(config, batch, chunk_of(config, batch))()
    return megabytes() - before


if __name__ == "__main__":
    print(peak(int(sys.argv[1]), sys.argv[2] == "1"))
