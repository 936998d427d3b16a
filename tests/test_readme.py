"""Every command of the README and of other pages is run here, at a small budget, in their order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
from conftest import Command
from helpers import LITTLE, TINY, little_omniglot, photographs

CHECKOUT = Path(__file__).parents[1]
# Each page with the first words of its commands, so that none is lost unseen.
PAGES = {
    "README.md": {"make", "source", "fewshot", "pip"},
    "docs/tutorial.md": {"make", "source", "fewshot"},
    "docs/choices.md": {"fewshot", "mkdir", "printf"},
    "docs/runs.md": {"fewshot", "python"},
}
SCRIPT = r"with this `(\w+\.py)`:\n\n```python\n(.*?)```"  # its name and its lines


def blocks(page: str, language: str) -> list[str]:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def budget(words: list[str]) -> list[str]:
    """The same command, small: the page's own settings stay where they are no budget."""
    if words[:2] == ["fewshot", "reproduce"] and len(words) > 2:
        keep = [small for small in TINY if not small.startswith("ways")]
        words = [word for word in words if word != "compile=true"] + keep
    if words[:2] == ["fewshot", "resume"]:
        words = [word.replace("=2600", "=5") for word in words]
    if words[:2] == ["fewshot", "train"] and "experiment=smoke" not in words:
        small = [word for word in TINY if not word.startswith("ways")]
        kept = [word for word in words if not word.startswith(("iterations=", "eval.queries="))]
        sinusoid = "data=sinusoid" in words
        chosen = sinusoid or any(word.startswith("model=") for word in words)
        words = kept + small + ([] if chosen else ["model=mlp"])
    if "data=omniglot" in words or "omniglot" in " ".join(words[:3]):
        words = [*words, *LITTLE]
    return words


def expanded(words: list[str], folder: Path) -> list[str]:
    """As a shell expands * in the names of jobs."""
    return [
        path
        for word in words
        for path in (sorted(glob(word, root_dir=folder)) if "*" in word else [word])
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # many commands, on a machine that may be at work on others
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(
    page: str, tmp_path: Path, cache_dir: Path, fewshot: Command
) -> None:
    little_omniglot(tmp_path / "DIR", characters=5)
    for file in photographs(tmp_path / "PHOTOS").glob("*/*[02]/*"):
        folder = tmp_path / ("SUPPORT" if file.stem < "03" else "QUERY") / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    rows = [f"{row // 40},{row % 7},{row % 11}" for row in range(50 * 40)]
    (tmp_path / "patients.csv").write_text("\n".join(["patient,dose,age", *rows]) + "\n")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FEWSHOT_CACHE": str(cache_dir),
    }

    def run(command: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    scripts = dict(re.findall(SCRIPT, (CHECKOUT / page).read_text(encoding="utf-8"), re.DOTALL))
    for file, script in scripts.items():
        (tmp_path / file).write_text(script, encoding="utf-8")
    kinds, name = set(), ""
    for command in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(command)
        kinds.add(words[0])
        match words[0]:
            case "fewshot":
                # The first run, which is alone at first: names of one second are in no order.
                name = name or next((run.name for run in tmp_path.glob("outputs/runs/*")), "")
                small = [word.replace("NAME", name or "NAME") for word in budget(words)]
                if words[1] in ("ls", "evaluate", "compare"):  # by the command itself, in a shell
                    run(shlex.join(small), tmp_path)
                else:
                    done = fewshot(*expanded(small[1:], tmp_path))
                    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            case "make":
                run(f"{command} -n", CHECKOUT)  # what it would do: these are what runs this test
            case "pip" | "source":
                pass  # test_wheel.py installs the wheel; whoever runs this has the environment
            case _:
                run(command, tmp_path)
    for block in blocks(page, "python"):
        if block not in scripts.values():
            run(f"python -c {shlex.quote(block)}", tmp_path)
    assert kinds == PAGES[page]


def test_what_ls_shows_stands_in_its_page() -> None:
    shown = [
        subprocess.check_output([sys.executable, "-m", "fewshot_cli", "ls", group], text=True)
        for group in ("data", "model", "algo", "tracker")
    ]
    assert "".join(shown) in (CHECKOUT / "docs" / "choices.md").read_text(encoding="utf-8")
