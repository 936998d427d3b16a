"""`fewshot plot paths`: paths in weight space, a column for each run.

Raises UserError where a run, the plane or the file is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Picture, Runs, Track
from fewshot_cli.plots.destination import Destination
from fewshot_cli.settings.errors import UserError, nearest

PLANES = ("pca", "random")


def paths(
    runs: Runs,
    plane: Annotated[str, typer.Option("--plane", help="pca or random.")] = "pca",
    out: Picture = Path("paths.png"),
    track: Track = False,
) -> None:
    """Weight space: the meta-parameters over training, and inner loops from there to some tasks.

    fewshot train data=sinusoid model=mlp record_paths=true

    fewshot plot paths outputs/runs/NAME
    """
    destination = Destination(out, runs, track)
    if plane not in PLANES:
        raise UserError(f"--plane {plane}: expected {nearest(plane, PLANES)}")

    from fewshot_cli.plots import weight_space

    destination.leave(weight_space.draw(runs, plane))
