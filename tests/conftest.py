"""What tests share: the real command in a subprocess, one cache of rendered letters, real data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

CHECKOUT = Path(__file__).parents[1]
OMNIGLOT = CHECKOUT.parent / "shared" / "data" / "omniglot"

# Two test processes on two cores: more threads would only wait for one another.
torch.set_num_threads(1)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all test processes, so that the letters are rendered once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"


@pytest.fixture
def own_cache(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what runs in the test's own process."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(cache_dir))


@pytest.fixture
def fewshot(tmp_path: Path, cache_dir: Path) -> Command:
    """Run `fewshot ARGUMENTS` in a folder of its own, as a user would."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "FEWSHOT_CACHE": str(cache_dir),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
        }
        settings = {"cwd": tmp_path, "env": environment, "timeout": 300} | options
        return subprocess.run(
            [sys.executable, "-m", "fewshot_cli", *arguments],
            capture_output=True,
            text=True,
            **settings,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture
def omniglot() -> Path:
    """The real images, which the project does not ship."""
    if not OMNIGLOT.is_dir():
        pytest.skip(f"the full Omniglot is not at {OMNIGLOT}")
    return OMNIGLOT
