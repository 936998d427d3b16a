"""What a run is: which of its settings count where runs are told apart.

    resume    are a checkpoint and a config of one run?
    job       has a sweep made this run already?
    compare   are two runs one setting, but for their seed?

A setting counts unless it has its schema's default. So a key that comes later, whose default is
what the code did before, changes no earlier run; and a key that a choice does not read, which has
its default, counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fewshot_cli.settings import choices
from fewshot_cli.settings.schema import Config, Key, Role, Shapes, keys, recorded

# What counts in each use. `length` is that of the training: 400 and 60,000 iterations are no two
# seeds of one setting, though one run may grow from the first to the second.
COUNTS: dict[str, set[Role]] = {
    "resume": {Role.choice, Role.setting, Role.seed, Role.means},  # and leaves other bits
    "job": {Role.choice, Role.setting, Role.seed, Role.length},
    "compare": {Role.choice, Role.setting, Role.length},
}
ROOT, FINGERPRINT = "data.root", "data.fingerprint"
PLACES = ROOT, "data.labels", "data.module"  # of what the fingerprint is of


def identity(settings: Mapping[str, Any], use: str) -> dict[str, Any]:
    """The settings that count, by dotted key.

    Args:
        settings: of a run, by dotted key as `flat` gives them.
        use: one of `COUNTS`.
    """
    settings = _renamed(settings)
    known = _known(settings)
    found = {}
    for name, value in sorted(settings.items()):
        if name in _of_any() and name not in known:
            continue  # of another kind, and not read: the first releases recorded every key
        key = _key(name, known)
        if key is None or (
            key.role in COUNTS[use]
            and (key.bits or use != "resume")
            and value != plain(key.default)
        ):
            found[name] = value
    return found | _content(settings, use)


def tasks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say which tasks a meta-test has: runs that share them can be paired."""
    known = _known(settings)
    return {
        name: value
        for name, value in identity(settings, "compare").items()
        if (key := _key(name, known)) and key.shapes is Shapes.tasks
    }


def _renamed(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings as they are called now; models/fc.py says until when."""
    if settings.get("model.kind") == "fc":
        return {**settings, "model.kind": "mlp", "model.norm": True}
    return settings


def _content(settings: Mapping[str, Any], use: str) -> dict[str, Any]:
    """What the data holds counts, wherever it is: by its fingerprint, else by its paths.

    The jobs of a sweep are told apart before anything is read, so by their paths.
    """
    fingerprint = settings.get(FINGERPRINT)
    if use == "job" or fingerprint is None:
        paths = {name: settings[name] for name in PLACES if settings.get(name) is not None}
        return {} if use == "resume" else paths
    return {FINGERPRINT: fingerprint}


def _key(name: str, known: Mapping[str, Key]) -> Key | None:
    """What the schema says of a dotted name; None where it has no such key."""
    while name not in known and "." in name:  # an entry of a mapping: published.figures.1
        name = name.rpartition(".")[0]
    return known.get(name)


def _known(settings: Mapping[str, Any]) -> dict[str, Key]:
    """Every key that a run with these settings may have, those of its choices' own included.

    What holds keys, as `data.fractions` does, is there too, since it may be null.
    """
    return _of_kinds(*(str(settings.get(f"{group}.kind")) for group in choices.CODE))


@cache
def _of_kinds(*kinds: str) -> dict[str, Key]:
    found = keys()
    for group, kind in zip(choices.CODE, kinds, strict=True):
        found |= keys(choices.own_keys(group, kind), f"{group}.")
    for name in [*found]:
        while "." in name:
            name = name.rpartition(".")[0]
            found.setdefault(name, Key(None))
    return found


@cache
def _of_any() -> dict[str, Key]:
    """Every key that a run of any kind may have."""
    return keys(choices.all_keys())


def of(config: Config, use: str) -> dict[str, Any]:
    """The identity of a run that has this config."""
    return identity(dict(flat(recorded(config))), use)


def may_change(verb: str) -> set[str]:
    """The keys that `resume` and `evaluate` take for a run that was made with others."""
    known = _of_any()
    if verb == "resume":
        free = {Role.length, Role.place, Role.habit}
        return {name for name, key in known.items() if key.role in free or not key.bits}
    of_data = {name for name in known if name.startswith("data.")}
    tested = {name for name, key in known.items() if key.shapes is not Shapes.training}
    return {"data"} | of_data | tested


def saved(config: Path) -> dict[str, Any]:
    """The settings in a run's config.yaml, by dotted key; none where it cannot be read."""
    try:
        content = yaml.load(config.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return dict(flat(content)) if isinstance(content, dict) else {}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted key, each value as `plain` gives it."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain(value)


def plain(value: Any) -> Any:
    """A value as a run's config.yaml gives it to whoever reads it: no enums, no lists."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value
