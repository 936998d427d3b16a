"""The processes that a command starts, as /proc shows them."""

from __future__ import annotations

from pathlib import Path


def children(process: int) -> list[int]:
    """The processes that another one has started."""
    words = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(word) for word in words]


def is_a_rank(process: int) -> bool:
    """Whether it is one that the first rank has started, and not another helper of the command."""
    try:
        return b"import child" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def gone(process: int) -> bool:
    """Whether it has ended, also where nobody has asked how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
