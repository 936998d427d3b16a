"""The wheel holds everything and works from a folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, in a folder that Python looks into before the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    tracked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(tracked, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_bytes((CHECKOUT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [
            *pip,
            "install",
            "--no-deps",
            "--no-build-isolation",
            "--target",
            folder / "installed",
            sources,
        ],
        check=True,
    )
    return folder / "installed"


def test_it_ships_every_config(installed: Path) -> None:
    shipped = {path.relative_to(CHECKOUT / "conf") for path in (CHECKOUT / "conf").rglob("*.yaml")}
    conf = installed / "fewshot_cli" / "conf"
    assert {path.relative_to(conf) for path in conf.rglob("*.yaml")} == shipped
    assert (installed / "fewshot_cli" / "py.typed").is_file()


def test_it_trains_from_any_folder(installed: Path, tmp_path: Path, cache_dir: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "FEWSHOT_CACHE": str(cache_dir),
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import fewshot_cli, fewshot_cli.conf as c; print(fewshot_cli, c.__path__)")
    assert where.count(str(installed)) == 2
    assert "* glyphs" in run("-m", "fewshot_cli", "ls", "data")
    run("-m", "fewshot_cli", "train", "experiment=smoke", "model=mlp")
    (summary,) = tmp_path.glob("outputs/runs/*/summary.json")
    assert '"git_commit": null' in summary.read_text()
