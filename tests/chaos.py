"""`make chaos`: kill runs at random moments, resume them, and compare with runs left in peace.

Each attempt is the real command in a process of its own, forked from this one, which has
imported torch already. Every second kill waits until a checkpoint is being written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from helpers import outcome

from fewshot_cli import app
from fewshot_cli.settings.compose import job_config
from fewshot_cli.training.run import dry_run

SHORT = ["eval.every=100", "eval.valid_tasks=10"]
RUNS = {
    "maml": ["algo=maml", "iterations=2000", *SHORT],
    "reptile, carried Adam": [
        *("algo=reptile", "algo.inner_optimizer=adam", "algo.carry_state=true", "iterations=1500"),
        *("algo.inner_lr=0.01", "algo.inner_steps=5", "algo.inner_batch=5"),
        *SHORT,
    ],
    "finetune": ["algo=finetune", "iterations=12000", *SHORT],
    "maml, mostly meta-validation": [
        *("algo=maml", "iterations=100", "eval.every=5", "eval.valid_tasks=2000"),
    ],
}
SETTING = [
    *("data=sinusoid", "model=mlp", "ways=1", "meta_batch=4", "log_every=7", "checkpoint.every=3"),
    "eval.tasks=20",
]
LONGEST = 0.3  # seconds from the first sign of life to the kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=RUNS, help="one of the runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dry_run(job_config([*SETTING, "algo=reptile"]))  # what torch imports late, before the forks
    moments = random.Random(options.seed)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        chosen = [options.only] if options.only else RUNS
        for name, overrides in ((name, RUNS[name]) for name in chosen):
            peaceful = Path(folder) / "peaceful"
            start = time.monotonic()
            _wait(_begin(peaceful, overrides))
            print(f"{name}: left in peace, {time.monotonic() - start:.0f} s", flush=True)
            for number in (signal.SIGKILL, signal.SIGTERM):
                killed = Path(folder) / "killed"
                writing, iterations = _harass(killed, overrides, number, options.kills, moments)
                a, b = outcome(peaceful), outcome(killed)
                different = [part for part in a if a[part] != b[part]]
                verdict = f"DIFFERENT: {', '.join(different)}" if different else "identical"
                done = len(iterations)
                print(
                    f"{name}: {signal.Signals(number).name} {done} of {options.kills} times, "
                    f"{writing} in a checkpoint's writing, resumed at iterations "
                    f"{iterations}: {verdict}",
                    flush=True,
                )
                failed |= bool(different) or done < options.kills
                shutil.rmtree(killed)
            shutil.rmtree(peaceful)
    sys.exit(failed)


def _harass(
    run: Path, overrides: list[str], number: int, kills: int, moments: random.Random
) -> tuple[int, list[int]]:
    """Kill and resume until it is done; how often while writing, and where each resume began."""
    writing, iterations = 0, list[int]()
    while len(iterations) < kills:
        before = _stamp(run)
        process = _begin(run, overrides)
        while _stamp(run) == before and not _ended(process):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, LONGEST))
        if len(iterations) % 2:
            deadline = time.monotonic() + 1
            while not list(run.glob("checkpoints/.last.pt.*")) and time.monotonic() < deadline:
                pass
        if _ended(process):
            break  # too early: the tally will tell
        os.kill(process, number)
        code = _wait(process)
        if code == 0:
            break
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 143), code
        writing += bool(list(run.glob("checkpoints/.last.pt.*"))) and number == signal.SIGKILL
        status = json.loads((run / "status.json").read_text())["status"]
        assert status == ("running" if number == signal.SIGKILL else "interrupted"), status
        iterations.append(_iteration(run))
    assert _wait(_begin(run, overrides)) == 0
    return writing, iterations


def _begin(run: Path, overrides: list[str]) -> int:
    """`fewshot train` or, where there is a run, `fewshot resume`, in a process of its own."""
    words = (
        ["resume", str(run)]
        if (run / "config.yaml").exists()
        else ["train", *SETTING, *overrides, f"hydra.run.dir={run}"]
    )
    process = os.fork()
    if process:
        return process
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["fewshot", *words]
    code: object = 1
    try:
        app.main()
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code if isinstance(code, int) else int(code is not None))


def _stamp(run: Path) -> int:
    """Changes when the run has written its first file."""
    try:
        return (run / "metrics.csv").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _iteration(run: Path) -> int:
    for name in ("last", "previous"):
        path = run / "checkpoints" / f"{name}.pt"
        if path.exists():
            return int(torch.load(path, weights_only=True)["iteration"])
    return 0


def _ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main()
