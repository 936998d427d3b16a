"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _complete(incomplete: str) -> list[str]:
    # Here, since Hydra takes long to import and is only needed when a shell asks.
    from fewshot_cli.settings.completion import overrides

    return overrides(incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[OVERRIDES]...",
        help="GROUP=CHOICE or KEY=VALUE, as in Hydra; `fewshot ls` shows the choices.",
        autocompletion=_complete,
        show_default=False,
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help="A folder with groups of your own.", show_default=False),
]
Run = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Runs = Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)]
Picture = Annotated[Path, typer.Option("--out", help="A file that ends in .png or .svg.")]
Track = Annotated[bool, typer.Option("--track", help="Show it in the tracker of the run, too.")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="What is printed, as JSON; - is the terminal, in its place.",
        show_default=False,
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Where predictions.csv and .png go.", show_default=False
    ),
]
Together = Annotated[
    bool | None,
    typer.Option(
        "--transductive/--one-by-one",
        help="All images in one batch, or each alone with the support set; else as the run was "
        "tested.",
        show_default=False,
    ),
]
