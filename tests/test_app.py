from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from fewshot_cli import __version__


def test_the_version(fewshot: Command) -> None:
    assert fewshot("--version").stdout == f"fewshot {__version__}\n"


def test_help_names_every_verb(fewshot: Command) -> None:
    shown = fewshot("--help").stdout
    verbs = Path("fewshot_cli/commands")
    for file in (Path(__file__).parents[1] / verbs).glob("[a-z]*.py"):
        assert f" {file.stem} " in shown
    assert fewshot().stdout == shown


def test_a_wrong_verb_is_one_line_with_the_nearest(fewshot: Command) -> None:
    done = fewshot("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fewshot: No such command 'trian'. Did you mean 'train'?\n"


def test_a_reader_that_goes_away_makes_no_noise(tmp_path: Path) -> None:
    command = f"{sys.executable} -m fewshot_cli ls | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""


def test_a_terminal_without_our_letters_shows_others(fewshot: Command) -> None:
    done = fewshot("reproduce", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_no_import_says_anything(tmp_path: Path) -> None:
    """Most tests fork from a process that has imported everything, so this is said here once."""
    package = Path(__file__).parents[1] / "fewshot_cli"
    files = [*package.glob("commands/*.py"), *package.glob("plots/*.py")]
    modules = {".".join(file.relative_to(package.parent).parts)[:-3] for file in files}
    code = f"import {', '.join(sorted(modules))}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
