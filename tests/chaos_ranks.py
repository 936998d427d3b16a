"""`make chaos`, for one run over ranks: lose a random rank at a random moment, and resume.

Each attempt has another number of ranks. The lost rank is killed, or stopped in a few attempts.
The run must end in time, and at last be the one that a single process makes, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import outcome
from processes import children, gone, is_a_rank

FEWSHOT = [sys.executable, "-m", "fewshot_cli"]
RUN = [
    *("data=sinusoid", "model=mlp", "ways=1", "meta_batch=4", "batching=stacked", "chunk=1"),
    *("algo=maml", "threads=1", "log_every=7", "checkpoint.every=3"),
    *("eval.every=100", "eval.valid_tasks=10", "eval.tasks=20"),
]
ITERATIONS = 60  # of the run for each time that a rank is lost
LONGEST = 0.5  # seconds from the first sign of life to the loss
EARLY = 4  # each so many attempts a rank is lost while the ranks start
HANGS = 10  # and each so many attempts it hangs instead of dying
KILLED, HANGING = 10.0, 5  # seconds until the run ends, and `rank_timeout`
START = 120.0  # until a run is at work, on a busy machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    run = [*RUN, f"iterations={ITERATIONS * options.kills}"]
    with tempfile.TemporaryDirectory() as folder:
        peaceful, lossy = Path(folder) / "peaceful", Path(folder) / "lossy"
        subprocess.run([*FEWSHOT, "train", *run, f"run.dir={peaceful}"], check=True)
        slowest = {signal.SIGKILL: 0.0, signal.SIGSTOP: 0.0}
        for attempt in range(options.kills):
            number = signal.SIGKILL if attempt % HANGS != 2 else signal.SIGSTOP
            ended_after = _lose_a_rank(lossy, run, attempt, number, moments)
            slowest[number] = max(slowest[number], ended_after)
            print(f"{attempt + 1}: {number.name}, ended after {ended_after:.1f} s", flush=True)
        done = subprocess.run(
            [*FEWSHOT, "resume", str(lossy)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        a, b = outcome(peaceful), outcome(lossy)
    different = [part for part in a if a[part] != b[part]]
    print(
        f"ranks: {options.kills} lost, the run ended at most {slowest[signal.SIGKILL]:.1f} s after "
        f"a kill and {slowest[signal.SIGSTOP]:.1f} s after a stop (rank_timeout={HANGING}): "
        + (f"DIFFERENT: {', '.join(different)}" if different else "identical")
    )
    sys.exit(bool(different))


def _lose_a_rank(
    run: Path, overrides: list[str], attempt: int, number: signal.Signals, moments: random.Random
) -> float:
    """Begin or resume the run, lose one of its ranks, and see it end: after how many seconds."""
    size, before = moments.choice([2, 3, 4]), _stamp(run)
    words = ["resume", str(run)] if (run / "config.yaml").exists() else ["train", *overrides]
    words += [f"ranks={size}", f"rank_timeout={HANGING}"]
    words += [f"run.dir={run}"] if words[0] == "train" else []
    process = subprocess.Popen([*FEWSHOT, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + START
    early = attempt % EARLY == 3
    while len(others := [each for each in children(process.pid) if is_a_rank(each)]) < size - 1 or (
        not early and _stamp(run) == before
    ):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(moments.uniform(0, START / 40 if early else LONGEST))
    assert process.poll() is None, "the run is complete already: lower LONGEST"
    lost = moments.choice([process.pid, *others])
    os.kill(lost, number)
    began = time.monotonic()
    patience = KILLED if number == signal.SIGKILL else KILLED + HANGING
    # A first rank that hangs can end nothing itself: its others leave it.
    left = others if lost == process.pid else [process.pid, *others]
    while not all(gone(each) for each in left):
        assert time.monotonic() < began + patience, (attempt, size, number, left, lost)
        time.sleep(0.01)
    took = time.monotonic() - began
    if lost == process.pid:
        process.kill()
    _, said = process.communicate()
    assert "Traceback" not in said, said
    if lost != process.pid:
        assert process.returncode == 1, (process.returncode, said)
        assert f"rank {1 + others.index(lost)} " in said, said
        if (run / "status.json").exists():
            assert json.loads((run / "status.json").read_text())["status"] == "failed"
    return took


def _stamp(run: Path) -> int:
    """Changes when the run has written another line."""
    try:
        return (run / "metrics.csv").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main()
