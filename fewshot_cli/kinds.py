"""From a YAML's `kind` to the file that it names: `kind: maml` in conf/algo is algorithms/maml.py."""

from __future__ import annotations

import importlib
import importlib.util
from difflib import get_close_matches
from types import ModuleType

from fewshot_cli.config import UserError


def nearest(wrong: str, choices: list[str]) -> str:
    """The choices to show for a wrong word: the closest ones, or all where none is close."""
    return " or ".join(get_close_matches(wrong, choices, n=3)) or ", ".join(sorted(choices))


def module(room: str, kind: str) -> ModuleType:
    """The file `kind` of one of our own packages; a config cannot reach any other code.

    Raises:
        UserError: there is no such file.
    """
    name = f"fewshot_cli.{room}.{kind}"
    if not kind.isidentifier() or importlib.util.find_spec(name) is None:
        raise UserError(f"kind={kind}: expected the name of a file in fewshot_cli/{room}")
    return importlib.import_module(name)
