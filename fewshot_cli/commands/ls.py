"""`fewshot ls`: each choice of a group with its description; `*` marks the default.

Raises UserError where there is no such group.
"""

from __future__ import annotations

from typing import Annotated

import typer

from fewshot_cli.arguments import ConfigDir, Json
from fewshot_cli.runs import as_json
from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError, nearest


def ls(
    group: Annotated[
        str | None,
        typer.Argument(help="data, model, algo, tracker or experiment.", show_default=False),
    ] = None,
    config_dir: ConfigDir = None,
    json: Json = None,
) -> None:
    """Show what can be chosen in each group.

    fewshot ls algo
    """
    if group is not None and group not in choices.SHOWN:
        raise UserError(f"group {group}: expected {nearest(group, choices.SHOWN)}")
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: expected a folder of groups")
    default = choices.defaults()
    rows = []
    with as_json.in_place(json):
        for shown in [group] if group else choices.SHOWN:
            options = choices.options(shown, config_dir)
            width = max(len(option.name) for option in options)
            print(shown)
            for option in options:
                chosen = option.name == default[shown]
                print(f"  {'*' if chosen else ' '} {option.name:{width}}  {option.description}")
                row = {"name": option.name, "description": option.description, "default": chosen}
                rows.append({"group": shown} | row)
    as_json.leave(json, rows)
