"""What is said to a user whose input is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 12
LONGEST = 200  # letters of another program's error


class UserError(Exception):
    """The user's input is wrong: one line that names the key or file; exit status 2."""


def one_line(error: object) -> str:
    return " ".join(str(error).split())


def in_short(error: object) -> str:
    """The beginning of another program's error, in a line."""
    return one_line(error)[:LONGEST]


def nearest(wrong: str, choices: Iterable[str], most: int = MANY) -> str:
    """What to offer for a wrong word: the closest choices, or all where none is close.

    Args:
        most: of more than so many, where they are shown is told instead.
    """
    known = sorted(set(choices))
    close = get_close_matches(wrong, known, n=3)
    if close:
        return " or ".join(close)
    return ", ".join(known) if len(known) <= most else "what `fewshot ls` and `--cfg job` show"
