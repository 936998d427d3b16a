"""`fewshot ls`: each choice of a group with its description, `*` marks the default; or the runs.

Raises UserError where there is no such group, or of runs no folder, column or setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import ConfigDir, Json
from fewshot_cli.runs import as_json
from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError, nearest

RUNS = "runs"


def ls(
    group: Annotated[
        str | None,
        typer.Argument(
            help="data, model, algo, tracker or experiment; or runs.", show_default=False
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="With runs: where; else outputs.", show_default=False),
    ] = None,
    config_dir: ConfigDir = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of runs; else the newest first.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Only runs with this setting, tag or state; again: and this."
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Show what can be chosen in each group, or the runs there are.

    fewshot ls algo

    fewshot ls runs outputs --where state=completed --where tag=baseline --sort figure
    """
    if group == RUNS:
        _runs(directory or Path("outputs"), where or [], sort or "age", json)
        return
    if group is not None and group not in choices.SHOWN:
        raise UserError(f"group {group}: expected {nearest(group, [*choices.SHOWN, RUNS])}")
    if directory or sort or where:
        raise UserError("DIR, --sort and --where: are of runs; expected `fewshot ls runs`")
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


def _runs(directory: Path, where: list[str], sort: str, json: Path | None) -> None:
    from fewshot_cli.compare import listing

    pairs = {}
    for word in where:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--where {word}: expected KEY=VALUE")
        pairs[key] = value
    rows = listing.runs(directory, pairs, sort)
    with as_json.in_place(json):
        listing.show(rows)
    as_json.leave(json, rows)
