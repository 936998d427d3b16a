"""What a job of SLURM's writes while SLURM tells it to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# It answers at once, and SLURM's SIGTERM comes at any moment of the second after that.
SCONTROL = """#!/bin/sh
echo "$@" > asked
(for _ in $(seq 50); do kill -TERM $PPID; sleep 0.02; done) &
"""


@pytest.mark.slow
def test_a_job_that_is_queued_again_writes_its_end_in_peace(tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "fewshot_cli", "train", "data=sinusoid", "model=mlp", "ways=1"),
            *("iterations=1000000", "threads=1", "requeue=true", "run.dir=run"),
            *("checkpoint.every=5", "eval.valid_tasks=4"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"},
    )
    try:
        while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
            assert run.poll() is None
            time.sleep(0.1)
        run.send_signal(signal.SIGUSR1)
        assert run.wait(60) == 128 + signal.SIGUSR1
    finally:
        run.kill()
    assert (tmp_path / "asked").read_text().split() == ["requeue", "17"]
    assert json.loads((tmp_path / "run" / "status.json").read_text()) == {
        "status": "interrupted",
        "error": "told to stop by a signal",
    }
