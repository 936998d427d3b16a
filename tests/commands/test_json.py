"""`--json` of every verb, and the script of docs/runs.md that reads it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, Command
from helpers import TINY, drawings

VERBS = sorted(path.stem for path in (CHECKOUT / "fewshot_cli" / "commands").glob("[a-z]*.py"))
PICTURES = {"plot"}  # which prints no table
JUDGED = ["--query", "all", "--save", "model.pt", "--steps", "1", "algo.inner_lr=0.4"]
# What each verb is called with, in this order, and a name that its JSON has.
CALLS = {
    "train": (["run.dir=runs/a", "model=mlp", *TINY], "test"),
    "resume": (["runs/a", "iterations=6"], "test"),
    "evaluate": (["runs/a", "eval.tasks=4"], "test"),
    "compare": (["runs"], "caption"),
    "adapt": (["runs/a", "--support", "all", *JUDGED], "rows"),
    "predict": (["model.pt", "all"], "rows"),
    "data": (["all"], "classes"),
    "ls": (["algo"], "name"),
    "reproduce": ([], "name"),
    "cache": (["--cache-dir", "."], "rows"),
}


def test_every_verb_prints_json_in_the_place_of_all_else(fewshot: Command, tmp_path: Path) -> None:
    assert {*CALLS} | PICTURES == {*VERBS}
    drawings(tmp_path / "all", alphabets=1, characters=3, of_each=2)
    for verb, (words, name) in CALLS.items():
        done = fewshot(verb, *words, "--json", "-")
        assert done.returncode == 0, (verb, done.stderr)
        content = json.loads(done.stdout)
        of = content[0] if isinstance(content, list) else content
        assert name in of, verb


def test_a_file_has_it_beside_what_is_printed(fewshot: Command, tmp_path: Path) -> None:
    plain, both = fewshot("ls", "algo"), fewshot("ls", "algo", "--json", "there/ls.json")
    assert (both.stdout, both.stderr) == (plain.stdout, "Written: there/ls.json\n")
    rows = json.loads((tmp_path / "there" / "ls.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in rows if row["default"]] == ["maml"]
    assert len(rows) == len(plain.stdout.splitlines()) - 1


@pytest.mark.parametrize("words", [["-m", "seed=1,2"], ["--dry-run"], ["--cfg", "job"]])
def test_what_prints_no_table_has_none(fewshot: Command, tmp_path: Path, words: list[str]) -> None:
    done = fewshot("train", *words, "--json", "-")
    assert done.returncode == 2
    assert done.stderr.startswith("fewshot: --json -: is the table at a run's end; expected no -m")
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_script_of_the_page(fewshot: Command, tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "runs.md").read_text(encoding="utf-8")
    section = page[page.index("## For scripts") :]
    shell, script = re.findall(r"^```(?:sh|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "report.py").write_text(script, encoding="utf-8")
    *lines, last = [line.split() for line in shell.splitlines()]
    for words in lines:
        small = ["model=mlp", *TINY] if words[1] == "train" else []
        done = fewshot(*words[1:], *small)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, *last[1:]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(
        r"outputs/runs/first: \d+\.\d% ± \d+\.\d%\n"
        r"outputs/runs/first/evaluations/\S+: \d+\.\d% ± \d+\.\d%\n"
        r"best of 1: outputs/runs/first\n",
        done.stdout,
    ), done.stdout
