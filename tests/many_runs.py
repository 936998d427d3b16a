"""Time `fewshot compare` on many runs: `PYTHONPATH=.:tests python tests/many_runs.py [RUNS]`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fake_runs import sweep

SETTINGS = 4  # of fake_runs.sweep


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        sweep(Path(folder) / "many", seeds=runs // SETTINGS, tasks=200, steps=5)
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "fewshot_cli", "compare", folder], check=True)
        print(f"{runs} runs: {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
