"""A trained run applied to images: adapt it to a support folder, then ask it about other images.

    from fewshot_cli.inference import adapt
    model = adapt("outputs/runs/NAME", support="SUPPORT")
    table = model.predict("QUERY").table

`save(model, "model.pt")` keeps it, or `model.pt2` as a program that needs torch alone, and `load`
reads both.
"""

from __future__ import annotations

from fewshot_cli.inference.adapted import adapt
from fewshot_cli.inference.model import Model
from fewshot_cli.inference.saved import load, save

__all__ = ["Model", "adapt", "load", "save"]
