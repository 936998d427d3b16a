"""What is imported of learn2learn, in a Python of its own, and what is said where it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from fewshot_cli.stacked.learn2learn import INSTALL

CHECKOUT = Path(__file__).parents[2]
OURS = "from fewshot_cli.stacked import learn2learn as ours; import sys\n"
# What `import learn2learn` wants and `make` does not install.
STOOD_IN = """
import sys
from unittest.mock import MagicMock
for name in ("gym", "gym.core", "gym.envs", "gym.envs.registration", "requests"):
    sys.modules[name] = MagicMock()
"""
# Python runs a file of this name when it starts.
HIDES_IT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "learn2learn" else find(name, *rest)
"""


def python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_only_what_is_needed_is_imported_and_all_of_it_can_be_later() -> None:
    python(
        OURS
        + "assert not {'gym', 'cvxpy', 'learn2learn', 'torchvision'} & set(sys.modules)\n"
        + STOOD_IN
        + "import learn2learn; learn2learn.vision.models.OmniglotCNN; learn2learn.gym"
    )


@pytest.mark.slow
def test_it_is_taken_from_a_learn2learn_that_is_there() -> None:
    python(
        STOOD_IN + "import learn2learn\n" + OURS + "assert ours.MAML is learn2learn.algorithms.MAML"
    )


@pytest.mark.slow
def test_where_it_is_missing_a_line_says_how_it_comes(fewshot: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDES_IT)
    hidden = os.environ | {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    assert fewshot("ls", env=hidden).returncode == 0
    done = fewshot("train", "experiment=smoke", env=hidden)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"fewshot: learn2learn is not installed; expected {INSTALL}\n"
    assert not (tmp_path / "outputs").exists()


def test_the_line_is_what_make_installs_and_the_readme_says() -> None:
    pip, install, no_deps, *pin = INSTALL.split()
    assert (pip, install, no_deps) == ("pip", "install", "--no-deps")
    lines = (CHECKOUT / "requirements-no-deps.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [" ".join(pin)]
    assert f"\n{INSTALL}\n" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
