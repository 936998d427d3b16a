from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from fake_runs import fake
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


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs, and before the real torch one that cannot be imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    folder = tmp_path / "outputs"
    fake(folder / "a", {"tags": ["base, line", "x"], "group": "G"}, 0.7)
    fake(folder / "b", {"algo.name": "reptile", "tags": ["x"], "notes": "two\nlines"}, 0.9)
    fake(folder / "c", {"seed": 2}, status="failed", error="the loss is nan")
    (fake(folder / "d") / "config.yaml").write_text("[")
    for age, name in enumerate("abcd"):
        for file in (folder / name).iterdir():
            os.utime(file, (time.time() - 100000 * age,) * 2)
    return folder


def listed(fewshot: Command, *words: str) -> list[dict[str, Any]]:
    done = fewshot("ls", "runs", *words, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_runs_are_listed_with_state_figure_age_and_labels(fewshot: Command, runs: Path) -> None:
    done = fewshot("ls", "runs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    task = "glyphs", "5w1s"
    assert [row[:5] for row in cells] == [
        ["outputs/a", "completed", "maml", *task],
        ["outputs/b", "completed", "reptile", *task],
        ["outputs/c", "failed", "maml", *task],
        ["outputs/d", "damaged", "", "", ""],
    ]
    shown = [float(row[5].rstrip("%") or "nan") for row in cells]
    assert shown == pytest.approx([70, 90, math.nan, math.nan], abs=1, nan_ok=True)
    assert [row[6] for row in cells] == ["8", "8", "", ""]
    assert [row[7] for row in cells[1:]] == ["1 d", "2 d", "3 d"]
    assert [row[8:] for row in cells[:2]] == [["base, line, x", "G"], ["x", ""]]


def test_runs_as_json_have_what_the_files_say(fewshot: Command, runs: Path, tmp_path: Path) -> None:
    first, second, third, fourth = listed(fewshot)
    assert (first["tags"], first["group"], first["seed"]) == (["base, line", "x"], "G", 1)
    assert (first["measure"], first["tasks"], first["ci95"]) == ("accuracy", 8, None)
    assert first["figure"] == pytest.approx(0.7, abs=0.01)
    assert second["notes"] == "two\nlines"
    assert (third["state"], third["error"], third["figure"]) == ("failed", "the loss is nan", None)
    assert fourth["state"] == "damaged"
    assert fewshot("ls", "runs", "outputs", "--json", "runs.json").stderr == "Written: runs.json\n"
    assert [row["run"] for row in json.loads((tmp_path / "runs.json").read_text())] == [
        row["run"] for row in (first, second, third, fourth)
    ]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--where", "tag=x"], "ab"),
        (["--where", "tag=base, line"], "a"),
        (["--where", "algo=maml", "--where", "state=failed"], "c"),
        (["--where", "state=interrupted"], ""),
        (["--sort", "figure"], "bacd"),
        (["--sort", "run", "--where", "tag=x"], "ab"),
        (["--sort", "algo"], "acbd"),
    ],
)
def test_runs_are_sorted_and_filtered(
    fewshot: Command, runs: Path, words: list[str], names: str
) -> None:
    assert "".join(Path(row["run"]).name for row in listed(fewshot, *words)) == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "gone"], "gone: expected a folder of runs or sweeps"),
        (["runs", "--sort", "figur"], "--sort figur: expected figure"),
        (["runs", "--sort", "x"], "--sort x: expected age, algo, ci95, data, error, figure, group"),
        (["runs", "--where", "tag"], "--where tag: expected KEY=VALUE"),
        (["runs", "--where", "algoo=maml"], "--where algoo: no setting"),
        (["algo", "--sort", "age"], "DIR, --sort and --where: are of runs"),
    ],
)
def test_a_wrong_word_about_runs_is_one_line(
    fewshot: Command, runs: Path, words: list[str], message: str
) -> None:
    done = fewshot("ls", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fewshot: {message}")
    assert done.stderr.count("\n") == 1


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
