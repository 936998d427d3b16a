"""docs/keys.md, made from the schema: `make reference` writes it anew, a test compares."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from fewshot_cli.settings import choices
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.identity import plain
from fewshot_cli.settings.schema import Config, Key, Role, keys, values

PAGE = Path(__file__).parents[1] / "docs" / "keys.md"
HEAD = """# Every key

This page is made from the schema (`make reference`). Each key is `KEY=VALUE` on the command line.
A choice's YAML file may give another value than the default, and
`fewshot train --cfg job` shows the values of a run. The role says what a key is for, and
[runs.md](runs.md#what-a-run-is) which roles make another run: a *setting*, the *seed*, a *length*,
a *means* (how something is computed), a *place*, a *habit* (how often something is written) or a
*label*.
"""


def page() -> str:
    parts = [HEAD]
    top = keys(Config)
    parts.append(_table("Of every run", {n: k for n, k in top.items() if "." not in n}))
    for block in ("eval", "checkpoint", "limits"):
        parts.append(
            _table(f"`{block}`", {n: k for n, k in top.items() if n.startswith(f"{block}.")})
        )
    for group, (package, shared) in choices.CODE.items():
        of_all = keys(shared, f"{group}.")
        parts.append(_table(f"`{group}`", of_all))
        for kind in sorted(choices.kinds(package)):
            own = {
                n: k
                for n, k in keys(choices.own_keys(group, kind), f"{group}.").items()
                if n not in of_all
            }
            if own:
                parts.append(_table(f"`{group}` of kind `{kind}`", own))
    return "\n".join(parts)


def _table(title: str, found: dict[str, Key]) -> str:
    rows = [
        f"| `{name}` | {_default(name, key)} | {_values(key)} | {key.role.value} | {key.help} |"
        for name, key in found.items()
        if key.role not in (Role.choice, Role.fact) and name not in ("tracker.name", "tracker.kind")
    ]
    head = ["| key | default | values | role | what it is |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"## {title}", "", *head, *rows, ""])


def _default(name: str, key: Key) -> str:
    """The schema's, or where it has none that of conf/config.yaml."""
    value = key.default
    if value == MISSING:
        value = {n: v for n, v, _ in values(job_config([])) if n in keys(Config)}.get(name)
        if value is None or name.startswith("data.") or name == "cache_dir":
            return ""
    return f"`{'null' if value is None else str(plain(value)).lower()}`"


def _values(key: Key) -> str:
    if isinstance(key.default, Enum):
        return ", ".join(f"`{each.value}`" for each in type(key.default))
    words = ["true", "false"] if isinstance(key.default, bool) else []
    words += [] if key.words is None else [*key.words]
    return ", ".join(f"`{each}`" for each in words) or key.bounds


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
