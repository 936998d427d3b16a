from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command


@pytest.fixture
def full(tmp_path: Path) -> Path:
    for name in (
        *("folder-0123456789abcdef.npz", "folder-0123456789abcdef.npy"),
        *("features/0123456789abcdef.db", "omniglot/images_background.zip", "mine.txt"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 100_000)
    return tmp_path


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


def test_it_shows_sizes_and_takes_away_what_is_named(fewshot: Command, full: Path) -> None:
    done = fewshot("cache", "--cache-dir", str(full))
    assert done.returncode == 0, done.stderr
    assert "images             0.2 MB       2 files" in done.stdout
    assert "features           0.1 MB       1 files" in done.stdout
    assert len(left(full)) == 5
    done = fewshot("cache", "--cache-dir", str(full), "--clear", "features")
    assert "features    cleared" in done.stdout
    assert "0123456789abcdef.db" not in left(full)
    assert len(left(full)) == 4
    done = fewshot("cache", "--cache-dir", str(full), "--clear", "images")
    assert left(full) == {"images_background.zip", "mine.txt"}


def test_only_known_files_go(fewshot: Command, full: Path, tmp_path: Path) -> None:
    import os

    aside = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "nothing")}
    assert fewshot("cache", "--cache-dir", str(full), "--clear", "all", env=aside).returncode == 0
    assert left(full) == {"mine.txt"}


def test_a_wrong_kind(fewshot: Command, full: Path) -> None:
    done = fewshot("cache", "--cache-dir", str(full), "--clear", "feature")
    assert done.returncode == 2
    assert done.stderr.strip() == "fewshot: --clear feature: expected features"
