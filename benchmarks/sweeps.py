"""What a large sweep costs beside its jobs: python -m benchmarks.sweeps [JOBS]; 1,000 take minutes.

Real jobs, as small as they can be, one after another. A job's own time is the one in its
summary.json. What the command takes beyond their sum is the sweep's, its start and end included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import report

SMALL = ["data=sinusoid", "model=mlp", "experiment=smoke", "ways=1", "eval.queries=5", "threads=1"]
LONG = 5.0  # seconds of a job that is worth a sweep


def main(jobs: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        again = ["train", "-m", f"seed=range(1,{jobs + 1})", *SMALL, f"sweep.dir={sweep}"]
        whole = seconds(again)
        own = sum(json.loads(each.read_text())["seconds"] for each in sweep.glob("*/summary.json"))
        each = (whole - own) / jobs
        calls = {
            "the same again": again,
            "one job again": ["train", "-m", "seed=1", *SMALL, f"sweep.dir={sweep}"],
            "compare": ["compare", str(sweep)],
        }
        row: dict[str, object] = {
            "jobs": jobs,
            "whole": whole,
            "own": own,
            "beside them, each": each,
            f"% of jobs of {LONG:.0f} s": 100 * each / LONG,
        }
        row |= {name: seconds(words) for name, words in calls.items()}
    report([row], "A sweep of many jobs, seconds", out / "sweeps.csv")


def seconds(words: Sequence[str]) -> float:
    """Of the whole command, its imports included.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "fewshot_cli", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path("outputs/bench"))
