"""`fewshot plot episode`: the support and query sets of some tasks.

Raises UserError where an override, the run or the file is wrong, or the data has no images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Overrides, Picture, Track
from fewshot_cli.plots.destination import Destination
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change


def episode(
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", metavar="RUN", help="A run whose network predicts.", show_default=False
        ),
    ] = None,
    out: Picture = Path("episode.png"),
    track: Track = False,
) -> None:
    """Tasks: support and query sets of meta-train and meta-test.

    fewshot plot episode ways=10 shots=2

    fewshot plot episode --predictions outputs/runs/NAME --out episode.svg
    """
    if track and predictions is None:
        raise UserError("--track: expected --predictions RUN beside it, whose tracker shows it")
    destination = Destination(out, [predictions] if predictions else [], track)
    if predictions is None:
        config = compose.job_config(overrides or [])
    else:
        saved = RunDirectory(predictions).config
        config = compose.changed_config(saved, overrides or [], may_change("evaluate"))
    if config.data.regression:
        raise UserError(f"data={config.data.name}: has no images; see `fewshot plot sinusoid`")

    from fewshot_cli.plots import task_sheet
    from fewshot_cli.plots.trained import restored
    from fewshot_cli.training.setup import prepare

    splits = "train", "test"
    setup = restored(predictions, config, splits) if predictions else prepare(config, splits)
    destination.leave(task_sheet.draw(setup, predicts=predictions is not None))
