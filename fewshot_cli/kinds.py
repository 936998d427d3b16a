"""From a YAML's `kind` to its file: `kind: maml` in conf/algo is algorithms/maml.py."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fewshot_cli.config import UserError

MANY = 12


def nearest(wrong: str, choices: Iterable[str]) -> str:
    """What to offer for a wrong word: the closest choices, or all where none is close."""
    known = sorted(set(choices))
    close = get_close_matches(wrong, known, n=3)
    if close:
        return " or ".join(close)
    return ", ".join(known) if len(known) <= MANY else "what `fewshot ls` and `--cfg job` show"


def check(room: str, kind: str) -> None:
    """Refuse a kind that is no file of one of our own packages: a config reaches no other code.

    Raises:
        UserError: names the kinds that there are.
    """
    files = {path.stem for path in (Path(__file__).parent / room).glob("[a-z]*.py")}
    if kind not in files:
        offered = nearest(kind, files)
        raise UserError(f"kind={kind}: expected a file of fewshot_cli/{room}, {offered}")


def call(room: str, kind: str, function: str, *arguments: object) -> Any:
    """What `function` of the file that `kind` names makes of the arguments.

    Raises:
        UserError: there is no such file, or it is not one of the things that a config can choose.
    """
    check(room, kind)
    module = importlib.import_module(f"fewshot_cli.{room}.{kind}")
    if not hasattr(module, function):
        raise UserError(f"kind={kind}: fewshot_cli/{room}/{kind}.py has no `{function}`")
    return getattr(module, function)(*arguments)
