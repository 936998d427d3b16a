"""Where a run or a sweep goes."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from fewshot_cli.runs.directory import new_name


def spelled_out(overrides: list[str]) -> list[str]:
    """`run.dir` and `sweep.dir` are short for Hydra's own names."""
    return [re.sub(r"^(run|sweep)\.dir=", r"hydra.\1.dir=", word) for word in overrides]


def place(overrides: list[str], kind: str) -> tuple[Path, list[str]]:
    """Where the run or sweep goes, and the overrides that send it there."""
    key = f"hydra.{kind}.dir"
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.key_or_group == key:
            return Path(str(override.value())), overrides
    where = Path("outputs") / f"{kind}s" / new_name()
    return where, [*overrides, f"{key}={where}"]
