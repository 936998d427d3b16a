"""`fewshot predict`: images or rows judged by an adapted model; leaves predictions.csv (and .png).

Raises UserError where the file, the folder or an image is wrong, before anything is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Json, Predictions, Together
from fewshot_cli.runs import as_json
from fewshot_cli.settings.errors import UserError


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="What `fewshot adapt --save FILE` kept.", show_default=False
        ),
    ],
    query: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Images, or rows, to judge.")],
    together: Together = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Predictions = None,
    json: Json = None,
) -> None:
    """Judge images, or rows of a table, with an adapted model.

    A .pt2 file is a program: give only those that you trust.

    fewshot predict model.pt DIR

    fewshot predict model.pt rows.csv
    """
    from fewshot_cli import inference
    from fewshot_cli.inference.rows import check_query
    from fewshot_cli.plots.judged import judge

    check_query(query)
    judging = inference.load(model, device)
    try:
        judging = judging if together is None else judging.judging(together)
    except UserError as error:
        raise UserError(f"{model}: {error}") from error
    with as_json.in_place(json):
        said = judge(judging, query, model, out)
    as_json.leave(json, said)
