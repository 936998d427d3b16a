from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import config

from fewshot_cli.runs.directory import COLUMNS, Metrics, RunDirectory, atomic, new_name, shown
from fewshot_cli.settings.errors import UserError

ROW = Metrics(3, "valid", 1, 9, 0.5, 0.1, 0.75, 0.05, 1.25, 7.2)


def test_metrics_are_readable_at_any_time(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.begin(config())
    assert list(pd.read_csv(directory.metrics).columns) == COLUMNS
    directory.add([ROW])
    directory.add([ROW, Metrics(4, "train", 1, 1, 0.5, None, None, None, 1.5, 7.0)])
    table = pd.read_csv(directory.metrics)
    assert len(table) == 3
    assert table.accuracy.tolist()[:2] == [0.75, 0.75]
    assert table.accuracy.isna().tolist() == [False, False, True]
    assert json.loads(directory.status.read_text()) == {"status": "running", "error": None}
    directory.mark("failed", "why")
    assert json.loads(directory.status.read_text()) == {"status": "failed", "error": "why"}


def test_each_class_stands_once_whatever_its_name(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    names = ["a, b", 'ä "', os.fsdecode(b"caf\xe9")]
    directory.write_splits({"train": names, "valid": names, "test": ["c/d"]})
    assert directory.splits.read_bytes() == (
        b'class,split\n"a, b",train\n"\xc3\xa4 """,train\ncaf\xe9,train\nc/d,test\n'
    )


def test_how_the_work_ended_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ended(name: str, error: BaseException | None) -> dict[str, str | None]:
        directory = RunDirectory(tmp_path / name)
        try:
            with directory.recorded():
                if error is not None:
                    raise error
        except (SystemExit, KeyboardInterrupt) as end:
            code = end.code if isinstance(end, SystemExit) else 130
            assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
        return json.loads(directory.status.read_text())

    assert ended("good", None) == {"status": "completed", "error": None}
    assert ended("bad", ValueError("two\nlines")) == {"status": "failed", "error": "two lines"}
    assert ended("stopped", KeyboardInterrupt())["status"] == "interrupted"
    (tmp_path / "later" / "checkpoints").mkdir(parents=True)
    (tmp_path / "later" / "checkpoints" / "last.pt").touch()
    assert ended("later", ValueError("two\nlines"))["status"] == "failed"
    assert "ValueError: two" in (tmp_path / "bad" / "traceback.txt").read_text()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("fewshot: the run failed: two lines; see ")
    # There is nothing to go on from in the second, and all that was asked for in the last.
    assert [line.partition(tmp_path.name)[0] for line in said[1:]] == [
        f"fewshot: interrupted; what was written is in {tmp_path.parent}/",
        f"Next:  fewshot resume {tmp_path.parent}/",
        f"fewshot: the run failed: two lines; see {tmp_path.parent}/",
        f"Next:  fewshot resume {tmp_path.parent}/",
    ]


def killed(path: Path) -> RunDirectory:
    """A run whose process ended without a word."""
    script = f"""
import os, signal
from pathlib import Path
from fewshot_cli.runs.directory import RunDirectory
directory = RunDirectory(Path({str(path)!r}))
with directory.recorded():
    directory.mark("running")
    assert directory.state() == "running"
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-9, "")
    return RunDirectory(path)


def test_a_run_that_was_killed_is_interrupted(tmp_path: Path) -> None:
    directory = killed(tmp_path / "run")
    assert json.loads(directory.status.read_text())["status"] == "running"
    assert directory.ending() == ("interrupted", "its process was killed")
    with directory._locked():
        assert directory.ending() == ("running", None)
    assert directory.state() == "interrupted"
    directory.mark("failed", "why")
    assert directory.ending() == ("failed", "why")
    assert RunDirectory(tmp_path / "nothing").ending() == (None, None)


def test_to_look_at_a_run_writes_nothing(tmp_path: Path) -> None:
    directory = killed(tmp_path / "run")
    directory.lock.unlink()
    directory.path.chmod(0o555)
    before = os.stat(directory.path).st_mtime_ns
    try:
        assert directory.state() == "interrupted"
        assert not directory.is_written()
        assert [path.name for path in directory.path.iterdir()] == ["status.json"]
    finally:
        directory.path.chmod(0o755)
    assert os.stat(directory.path).st_mtime_ns == before
    assert not RunDirectory(tmp_path / "nothing").is_written()
    assert not (tmp_path / "nothing").exists()


def test_a_lock_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    directory = killed(tmp_path / "run")
    directory.lock.unlink()
    os.mkfifo(directory.lock)
    assert directory.state() == "interrupted"


def test_where_locks_are_not_known_the_status_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = killed(tmp_path / "run")

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert (directory.is_written(), directory.state()) == (None, "running")


def test_who_only_looks_is_in_nobody_s_way(tmp_path: Path) -> None:
    directory = killed(tmp_path / "run")
    script = f"""
from pathlib import Path
from fewshot_cli.runs.directory import RunDirectory
directory = RunDirectory(Path({str(directory.path)!r}))
print(flush=True)
while True:
    directory.is_written()
"""
    looking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(50):
            with directory._locked():
                pass
    finally:
        looking.kill()
        looking.communicate()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as file:
        file.write("old")
    with pytest.raises(TypeError), atomic(path) as file:
        file.write("new", 1)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "[1]", "{", b"\xff\xfe"])
def test_a_json_file_that_is_none_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    directory = RunDirectory(tmp_path)
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        directory.summary.write_bytes(data)
    with pytest.raises(UserError, match=r"summary.json: expected"):
        directory.read(directory.summary)


def test_names_do_not_collide() -> None:
    assert len({new_name() for _ in range(1000)}) == 1000


def test_paths_are_shown_as_one_would_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == Path("a/b")
    assert shown(Path("/elsewhere")) == Path("/elsewhere")
