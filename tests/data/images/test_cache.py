from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewshot_cli.data.images.cache import Arrays, cached
from fewshot_cli.settings.errors import UserError


def build() -> Arrays:
    return {"a": np.arange(5)}


def never() -> Arrays:
    raise AssertionError("it lies in the cache")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_built_once_and_again_for_another_key(tmp_path: Path) -> None:
    first = cached(str(tmp_path), "x", {"size": 1}, build)
    again = cached(str(tmp_path), "x", {"size": 1}, never)
    assert np.array_equal(first["a"], again["a"])
    with pytest.raises(AssertionError):
        cached(str(tmp_path), "x", {"size": 2}, never)
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: bytes | None) -> None:
    cached(str(tmp_path), "x", {}, build)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert np.array_equal(cached(str(tmp_path), "x", {}, build)["a"], np.arange(5))
    assert np.array_equal(cached(str(tmp_path), "x", {}, never)["a"], np.arange(5))


SLOW = """
import sys, time
import numpy as np
from fewshot_cli.data.images.cache import cached

def slow():
    print("built", flush=True)
    time.sleep(0.5)
    return {"a": np.arange(5)}

assert len(cached(sys.argv[1], "x", {}, slow)["a"]) == 5
"""


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    assert "".join(said) == "built\n"


def test_a_cache_that_is_ready_needs_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that many share may be read-only."""
    cached(str(tmp_path), "x", {}, build)
    monkeypatch.setattr("fewshot_cli.data.images.cache.FileLock.acquire", never)
    assert np.array_equal(cached(str(tmp_path), "x", {}, never)["a"], np.arange(5))


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        cached(str(tmp_path), "x", {}, never)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache_dir=.*file/below: Not a directory"):
        cached(str(tmp_path / "file" / "below"), "x", {}, build)
    assert os.listdir(tmp_path) == ["file"]


def test_a_process_killed_while_it_prepares_leaves_the_next_one_a_cache(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "built\n"
    killed.kill()
    killed.wait()
    assert files(tmp_path) == []
    assert subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True).stdout
    assert len(files(tmp_path)) == 1
