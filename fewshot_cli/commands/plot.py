"""Draw a picture of tasks or runs."""

from __future__ import annotations

import typer

from fewshot_cli.verbs import Verbs


class Plots(Verbs):
    package = "plots"


plot = typer.Typer(cls=Plots, help=__doc__, invoke_without_command=True, add_completion=False)


@plot.callback()
def root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
