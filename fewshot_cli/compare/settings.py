"""Settings of runs by dotted key: which differ, and what a user's word means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.identity import identity

NAMES = ("algo.name", "data.name", "model.name")


def varied(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that differ, but for those that each name (of algorithm, data, model) settles."""
    counted = [identity(each, "compare") for each in settings]
    keys = dict.fromkeys(key for each in settings for key in each)
    differ = [key for key in keys if len({repr(each.get(key)) for each in counted}) > 1]
    names = [key for key in NAMES if key in differ]
    by_name: dict[str, dict[str, set[str]]] = {}
    for each in counted:
        values = by_name.setdefault(repr([each.get(name) for name in names]), {})
        for key in differ:
            values.setdefault(key, set()).add(repr(each.get(key)))
    return names + [
        key
        for key in differ
        if key not in names and any(len(values[key]) > 1 for values in by_name.values())
    ]


def full_key(word: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """The setting that a word names: all of its dotted key, or the end of one.

    Args:
        others: to offer beside the settings for a wrong word.

    Raises:
        UserError: there is none, or several.
    """
    keys = set(known)
    word = "tags" if word == "tag" else word  # as the option of `train` is called
    if word in keys:
        return word
    ends = sorted(key for key in keys if key == f"{word}.name" or key.endswith(f".{word}"))
    if f"{word}.name" in ends or len(ends) == 1:
        return f"{word}.name" if f"{word}.name" in ends else ends[0]
    choices = ends or [*(key.removesuffix(".name") for key in keys), *others]
    expected = nearest(word, choices) or "runs whose config.yaml can be read"
    if others and "`" in expected:  # nothing is close
        expected = f"{', '.join(others)} or a setting, as config.yaml has them"
    kind = "setting or column" if others else "setting"
    raise UserError(f"{word}: no {kind} of these runs; expected {expected}")


def has(settings: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether the settings are these, as a user writes them: 0.10 is 0.1, true is true.

    Of tags, one is enough.
    """
    return all(_same(settings.get(key), value) for key, value in wanted.items())


def _same(value: Any, written: str) -> bool:
    if isinstance(value, tuple):
        return written in value
    if isinstance(value, bool) or value is None:
        return written.lower() == json.dumps(value)
    try:
        return float(value) == float(written)
    except ValueError:
        return str(value) == written
