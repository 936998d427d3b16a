"""The numerical tests as other processors and other numbers of threads compute them.

Torch, oneDNN and MKL choose their routines by the processor. Here they are told to take those of
older ones too, so that sums round otherwise. Two settings at a time: one process each, two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

TESTS = [
    *("tests/algorithms", "tests/stacked", "tests/models", "tests/benchmarks"),
    *("tests/inference/test_adapted.py", "--ignore=tests/stacked/test_learn2learn.py"),
    *("tests/training/test_evaluation.py", "tests/plots/test_walk.py"),
    *("tests/plots/test_plane.py", "tests/plots/test_fitted_curves.py"),
    # Compiling takes long, and these are about what is compiled more than about numbers.
    "--deselect=tests/stacked/test_compiled.py::test_compiled_meta_updates_are_the_same",
    "--deselect=tests/stacked/test_compiled.py::test_reptile_s_compiled_steps_are_the_same",
    "--deselect=tests/stacked/test_compiled.py::test_what_is_not_finite_reaches_no_weight",
]
KEYS = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "OMP_NUM_THREADS"
# Each value of each key occurs; all of them unset is what `make test` runs.
SETTINGS = [
    ("default", "SSE41", "COMPATIBLE", "1"),
    ("default", "SSE41", "", "4"),
    ("avx2", "AVX2", "", "2"),
]


def passes(setting: tuple[str, ...]) -> bool:
    told = {key: value for key, value in zip(KEYS, setting, strict=True) if value}
    plain = {key: value for key, value in os.environ.items() if key not in KEYS}
    # Threads outnumber the cores: who waits must not spin.
    environment = plain | {"OMP_WAIT_POLICY": "passive"} | told
    # A region that was compiled for one processor's instructions does not build for another's.
    environment["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
    command = [sys.executable, "-m", "pytest", "-n", "0", *TESTS, *sys.argv[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    shown = " ".join(f"{key}={told.get(key, '(unset)')}" for key in KEYS)
    last = (done.stdout.splitlines() or ["no tests ran"])[-1]
    print(f"{shown}: {last}", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        sys.exit(not all(list(pool.map(passes, SETTINGS))))
