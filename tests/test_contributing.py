"""What CONTRIBUTING.md tells to write is written into a copy of the tree, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_layers import MAY_IMPORT

CHECKOUT = Path(__file__).parents[1]
PAGE = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`([\w/.]+)`\n```(?:python|yaml)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
# A hunk's context and what it adds.
HUNKS = re.findall(r"^\+\+\+ b/(\S+)\n@@[^\n]*\n((?:[ +][^\n]*\n)+)", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in ("fewshot_cli", "tests", "benchmarks"):
        shutil.copytree(CHECKOUT / name, tree / name, ignore=shutil.ignore_patterns("earlier"))
    shutil.copytree(CHECKOUT / "conf", tree / "fewshot_cli" / "conf")
    for name in ("pyproject.toml", "setup.cfg"):
        shutil.copy(CHECKOUT / name, tree)
    for name, text in FILES:
        assert not (CHECKOUT / name).exists()
        (tree / re.sub("^conf/", "fewshot_cli/conf/", name)).write_text(text, encoding="utf-8")
    for name, lines in HUNKS:
        file = tree / name
        before = "".join(line[1:] for line in lines.splitlines(True) if line[0] == " ")
        after = "".join(line[1:] for line in lines.splitlines(True))
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1, name
        file.write_text(text.replace(before, after), encoding="utf-8")
    return tree


def ended(
    tree: Path, folder: Path, cache_dir: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree), "FEWSHOT_CACHE": str(cache_dir)}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def run(tree: Path, folder: Path, cache_dir: Path, *words: str) -> str:
    done = ended(tree, folder, cache_dir, *words)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_there_is_one_of_each_kind() -> None:
    folders = {Path(name).parent.as_posix() for name, _ in FILES}
    kinds = ("algorithms", "data", "models", "trackers", "commands", "plots")
    assert folders == {f"fewshot_cli/{kind}" for kind in kinds} | {
        f"conf/{group}" for group in ("algo", "data", "model", "tracker")
    }
    assert len(HUNKS) == 2


@pytest.mark.slow
def test_the_commands(tree: Path, tmp_path: Path, cache_dir: Path) -> None:
    said = {
        command: run(tree, tmp_path, cache_dir, "fewshot_cli", *shlex.split(command)[1:])
        for command in COMMANDS
    }
    assert "towards" in said["fewshot ls algo"]
    assert (tmp_path / "toy" / "tracked.txt").read_text().endswith("completed\n")
    assert any("Hello\n" in text for text in said.values())
    assert "3 of 3 jobs completed" in "".join(said.values())  # MAML reads no decay
    assert "algo" in said["fewshot compare toys"]
    assert said["fewshot size toy"] == "2\n"
    assert (tmp_path / "pace.png").is_file()
    shown = run(tree, tmp_path, cache_dir, "fewshot_cli", "--help")
    assert "Count the weights of a run's network." in shown


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("algo.decay=2", "algo.decay=2.0: expected 0 to 1"),
        ("algo.part=none", "algo.part: Value 'none' of type 'str' could not be converted to Float"),
        ("algo.parts=1", "algo.parts: no such key; expected algo.part"),
    ],
)
def test_a_wrong_value_of_its_own_key(
    tree: Path, tmp_path: Path, cache_dir: Path, word: str, message: str
) -> None:
    done = ended(tree, tmp_path, cache_dir, "fewshot_cli", "train", "algo=towards", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fewshot: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_tests_that_run_over_all_pick_them_up(tree: Path, cache_dir: Path) -> None:
    options = ["-p", "no:cacheprovider", "-n", "0"]
    over_all = [
        "tests/algorithms/test_every_algorithm.py",
        "tests/settings/test_choices.py",
        "tests/test_layers.py",
    ]
    said = run(tree, tree, cache_dir, "pytest", *options, *over_all, "-k", "towards or lines")
    assert int(re.findall(r"(\d+) passed", said)[0]) > 10
    run(tree, tree, cache_dir, "pytest", *options, "tests/models", "-k", "linear")


def test_the_map_has_the_layers_that_are_tested() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| *([\w ]*)\|$", text, re.MULTILINE)
    assert {name: row.strip() for name, row in rows} == MAY_IMPORT


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", PAGE))
def test_links_lead_somewhere(link: str) -> None:
    assert (CHECKOUT / link).is_file()
