"""`fewshot data`: what is in a folder or list of images, or in a table, before a run uses it.

Raises UserError where it cannot be read, or the folder has no classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Json, Overrides
from fewshot_cli.data.images import report as of_images
from fewshot_cli.data.tables import report as of_tables
from fewshot_cli.runs import as_json
from fewshot_cli.settings.errors import UserError


def data(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE",
            help="A folder with a folder per class; or a table.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A CSV with the columns file,label instead of folders."),
    ] = None,
    json: Json = None,
) -> None:
    """Look at images or a table of your own: classes, faults, duplicates, what runs it allows.

    fewshot data DIR

    fewshot data DIR --labels DIR/labels.csv

    fewshot train data=folder data.root=DIR

    Of a table, the words are those of the run that you have in mind.

    fewshot data FILE data.task=patient data.target=dose shots=5

    fewshot train data=table data.root=FILE data.task=patient data.target=dose shots=5 ...
    """
    if folder.is_file():
        if labels is not None:
            raise UserError(f"--labels {labels}: is for a folder of images; expected none")
    elif overrides:
        raise UserError(f"{overrides[0]}: goes with a table; expected none with a folder")
    with as_json.in_place(json):
        if folder.is_file():
            found = of_tables.show(folder, overrides or [])
        else:
            found = of_images.show(folder, labels)
    as_json.leave(json, found)
