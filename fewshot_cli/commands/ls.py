"""`fewshot ls`: the groups and their choices."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli import groups
from fewshot_cli.config import UserError
from fewshot_cli.kinds import nearest


def ls(group: str | None, config_dir: Path | None) -> None:
    """Print each choice with its description; `*` marks the default.

    Raises:
        UserError: there is no such group.
    """
    if group is not None and group not in groups.SHOWN:
        raise UserError(f"group {group}: expected {nearest(group, groups.SHOWN)}")
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: expected a folder of groups")
    default = groups.defaults()
    for shown in [group] if group else groups.SHOWN:
        options = groups.options(shown, config_dir)
        width = max(len(option.name) for option in options)
        print(shown)
        for option in options:
            mark = "*" if option.name == default[shown] else " "
            print(f"  {mark} {option.name:{width}}  {option.description}")
