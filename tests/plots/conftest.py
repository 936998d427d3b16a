"""A run that several pictures are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import TINY, config

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.training.run import run


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """It has more test tasks than are drawn at once."""
    folder = tmp_path_factory.mktemp("letters")
    chosen = config("model=mlp", *TINY, "eval.tasks=230")
    chosen.cache_dir = str(cache_dir)
    run(chosen, RunDirectory(folder))
    return folder
