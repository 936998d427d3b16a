"""A run, or a pretrained backbone, adapted to a support folder and asked about other images.

    from fewshot_cli.inference import adapt
    model = adapt(support="SUPPORT")  # or adapt("outputs/runs/NAME", support="SUPPORT")
    table = model.predict("QUERY").table

`save(model, "model.pt")` keeps it, or `model.pt2` as a program that needs torch alone, or
`model.onnx` as one that needs onnxruntime alone, and `load` reads them all. With a run on a table,
SUPPORT and QUERY are tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewshot_cli.inference.adapted import adapt_run
from fewshot_cli.inference.backbone import adapt_backbone
from fewshot_cli.inference.model import Model
from fewshot_cli.inference.of_rows import RowModel
from fewshot_cli.inference.saved import load, save


def adapt(
    run: str | Path | None = None,
    support: str | Path = "",
    overrides: Sequence[str] = (),
    *,
    backbone: str | None = None,
    head: str | None = None,
    finetune: bool = False,
) -> Model | RowModel:
    """A model of the classes of a support folder, which has a folder of images for each class.

    A run on a table takes a table of support rows.

    Args:
        run: a run directory; none: the other arguments are those of `adapt_backbone`.
        overrides: of the run's settings, or of the backbone's.

    Raises:
        UserError: an argument, an override or an image is wrong.
    """
    if run is None:
        return adapt_backbone(support, overrides, backbone, head, finetune)
    return adapt_run(run, support, overrides)


__all__ = ["Model", "RowModel", "adapt", "load", "save"]
