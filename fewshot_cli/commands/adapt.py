"""`fewshot adapt`: a run adapted to a user's own classes."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli import applying
from fewshot_cli.applying import files
from fewshot_cli.applying.images import query_files
from fewshot_cli.commands.predict import leave
from fewshot_cli.runs.directory import shown


def adapt(
    run: Path,
    support: Path,
    query: Path,
    overrides: list[str],
    save: Path | None,
    out: Path | None,
) -> None:
    """Adapt to the support folder, judge the query folder, and leave predictions.csv and .png.

    Raises:
        UserError: the run, an override, a folder or an image is wrong; nothing was written.
    """
    if save is not None:
        files.check(save)
    query_files(query)
    model = applying.adapt(run, support, overrides)
    print(f"Adapted {shown(run)} to {len(model.classes)} classes")
    leave(model.predict(query), model.transductive, out)
    if save is not None:
        files.save(model, save)
        print(f"Next:  fewshot predict {shown(save)} DIR")
