from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from fewshot_cli import progress
from fewshot_cli.progress import Progress, say, speaking

SCRIPT = """
from fewshot_cli.progress import Progress
with Progress("Training", 3, "iterations") as bar:
    for step in range(3):
        bar.advance(1, {"accuracy": f"{step}%"})
"""


def test_without_a_terminal_there_is_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Training", 3, "iterations") as bar:
        for step in range(3):
            bar.advance(1, {"accuracy": f"{step}%"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Training: 3/3 iterations, ")
    assert lines[0].endswith("/s, accuracy 2%")


def test_long_work_says_something_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    with Progress("Training", 3, "iterations") as bar:
        for _ in range(3):
            bar.advance()
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_job_s_lines_begin_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking("algo=maml,seed=1"):
        say("hello")
        with Progress("Training", 1, "iterations") as bar:
            bar.advance()
        with speaking(""):
            say("hello")
    say("hello")
    lines = capsys.readouterr().err.splitlines()
    assert lines.pop(1).startswith("[algo=maml,seed=1] Training: 1/1 iterations, ")
    assert lines == ["[algo=maml,seed=1] hello", "hello", "hello"]


def test_an_error_ends_it_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), Progress("Training", 3, "iterations"):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_with_rate_and_figures() -> None:
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=child)
    os.close(child)
    shown = b""
    try:
        while chunk := os.read(parent, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    assert process.wait() == 0
    assert b"Training: 100%" in shown
    assert b"iterations/s, accuracy 2%" in shown
