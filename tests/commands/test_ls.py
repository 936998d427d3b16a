from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from conftest import Command
from helpers import names

from fewshot_cli.settings import choices


def test_every_choice_is_shown_with_its_description_and_the_defaults_marked(
    fewshot: Command,
) -> None:
    done = fewshot("ls")
    assert (done.returncode, done.stderr) == (0, "")
    for group in choices.SHOWN:
        for option in choices.options(group):
            assert f"{option.name} " in done.stdout
            assert option.description in done.stdout
    for default in ("glyphs", "cnn4", "maml", "none"):
        assert f"* {default} " in done.stdout
    assert done.stdout.count("*") == 4


def test_one_group(fewshot: Command) -> None:
    lines = fewshot("ls", "algo").stdout.splitlines()
    assert lines[0] == "algo"
    assert len(lines) == 1 + len(names("algo"))


def test_a_group_of_the_user_s_own_is_shown_too(fewshot: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "paper.yaml").write_text("# My paper\nseed: 3\n")
    shown = fewshot("ls", "experiment", "--config-dir", "mine").stdout
    assert re.search(r"^ +paper +My paper$", shown, re.MULTILINE)


def test_a_wrong_group_is_one_line(fewshot: Command) -> None:
    done = fewshot("ls", "algos")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fewshot: group algos: expected algo\n"


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["--version"], ["train", "--help"], []])
def test_what_only_shows_something_imports_no_torch(
    fewshot: Command, arguments: list[str], tmp_path: Path
) -> None:
    # A torch that cannot be imported stands before the real one.
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = fewshot(*arguments, new=True)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""
    assert sys.executable
