"""What tests share: the real command in a process of its own, one cache of letters, real data."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory

# Two test processes on two cores: more threads would only wait for one another. Before torch is
# imported and in the environment, so that it holds here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import forked
import pytest
import torch

CHECKOUT = Path(__file__).parents[1]
OMNIGLOT = CHECKOUT.parent / "shared" / "data" / "omniglot"

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_finish() -> None:
    """Looking for garbage, Python passes over the many objects that all tests share."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def forks() -> BaseContext:
    """Processes that begin with all of fewshot imported, which takes longer than most commands."""
    code = CHECKOUT / "fewshot_cli"
    modules = [".".join(path.relative_to(CHECKOUT).parts)[:-3] for path in code.rglob("*.py")]
    context = get_context("forkserver")
    modules = [name for name in modules if name != "fewshot_cli.__main__"]
    context.set_forkserver_preload([*modules, "timm", "forked"])
    return context


@pytest.fixture
def fewshot(tmp_path: Path, cache_dir: Path, forks: BaseContext) -> Command:
    """Run `fewshot ARGUMENTS` in a folder of its own, in a process of its own, as a user would.

    It is forked from one that has imported everything, unless the command starts processes itself,
    is told about its environment, or the test asks for `new=True`, because imports are the point.
    """

    def run(
        *arguments: str,
        cwd: Path = tmp_path,
        env: dict[str, str] | None = None,
        new: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        environment = env or os.environ | {"FEWSHOT_CACHE": str(cache_dir), "COLUMNS": "120"}
        if env or new or {"-m", "--multirun"} & {*arguments}:
            return subprocess.run(
                [sys.executable, "-m", "fewshot_cli", *arguments],
                cwd=cwd,
                env=environment,
                timeout=300,
                capture_output=True,
                text=True,
            )
        with TemporaryDirectory() as folder:
            streams = [Path(folder) / name for name in ("out", "err")]
            process = forks.Process(
                target=forked.fewshot, args=(arguments, cwd, environment, streams)
            )
            process.start()
            process.join(300)
            process.kill()
            said = [stream.read_text() for stream in streams]
        return subprocess.CompletedProcess(arguments, process.exitcode, *said)

    return run


@pytest.fixture
def omniglot() -> Path:
    """The real images, which the project does not ship."""
    if not OMNIGLOT.is_dir():
        pytest.skip(f"the full Omniglot is not at {OMNIGLOT}")
    return OMNIGLOT
