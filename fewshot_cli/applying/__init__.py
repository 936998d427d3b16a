"""A trained run applied to images: adapt it to a support folder, then ask it about other images.

    from fewshot_cli.applying import adapt
    model = adapt("outputs/runs/NAME", support="SUPPORT")
    table = model.predict("QUERY").table

`save(model, "model.pt")` keeps it, or `model.pt2` as a program that needs torch alone, and `load`
reads both.
"""

from __future__ import annotations

from fewshot_cli.applying.adapted import adapt
from fewshot_cli.applying.files import load, save
from fewshot_cli.applying.model import Model

__all__ = ["Model", "adapt", "load", "save"]
