"""What can be chosen: the YAML files of each group, shipped or from a user's --config-dir."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fewshot_cli.config import UserError

SHOWN = ("data", "model", "algo", "tracker", "experiment")


@dataclass(frozen=True)
class Option:
    group: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def description(self) -> str:
        """The first comment that is no Hydra header."""
        found = re.search(r"^#(?! *@package) *(.+)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    def content(self) -> dict[str, Any]:
        """What the file says of its own group."""
        content: Any = yaml.safe_load(self.text) or {}
        return dict(content.get(self.group, content))

    def keys(self) -> set[str]:
        """The keys of its group that this choice reads: those that its file lists."""
        return set(self.content())


def shipped() -> Path:
    """The folder conf/, from the checkout or from the wheel."""
    return Path(str(resources.files("fewshot_cli.conf")))


def options(group: str, config_dir: Path | None = None) -> list[Option]:
    """The choices of a group, by name.

    Raises:
        UserError: there is no such group, or a user's own file has the name of a shipped one,
            which Hydra would take instead.
    """
    found = {path.stem: Option(group, path) for path in (shipped() / group).glob("*.yaml")}
    for path in (config_dir / group).glob("*.yaml") if config_dir else ():
        if path.stem in found:
            raise UserError(f"{path}: {group}={path.stem} is shipped; expected another file name")
        found[path.stem] = Option(group, path)
    if not found:
        raise UserError(f"group {group}: expected one of {', '.join(SHOWN)}")
    return [found[name] for name in sorted(found)]


def defaults() -> dict[str, str]:
    """The choice that each group has when nothing is said."""
    content = yaml.safe_load((shipped() / "config.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    return {group: name for entry in entries for group, name in entry.items() if group in SHOWN}
