"""How pictures look and where they go: one palette, no display, PNG or SVG by the file's ending."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from fewshot_cli.runs.directory import atomic, shown
from fewshot_cli.settings.errors import UserError

# Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDINGS = (".png", ".svg")
DOTS_PER_INCH = 150


def new(width: float = 6.4, height: float = 4.0) -> Figure:
    """An empty picture of this size in inches, laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height))
    # Wide enough for the last label of a panel and the first of the next to be two words.
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06, wspace=0.03)
    return figure


def check(path: Path) -> None:
    """Refuse a picture file that could not be written, before anything is computed for it.

    Raises:
        UserError: the ending is not .png or .svg.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: expected a file that ends in {' or '.join(ENDINGS)}")


def leave(figure: Figure, path: Path) -> None:
    """Save the picture and say where it is."""
    save(figure, path)
    print(f"Picture: {shown(path)}")


def save(figure: Figure, path: Path) -> None:
    """Write the picture as PNG or SVG, by the ending of `path`, whole or not at all.

    Raises:
        UserError: the ending is another one.
    """
    check(path)
    form = path.suffix.lower()[1:]
    # A fixed salt and no date, so that the same picture is the same file.
    metadata = {"Date": None} if form == "svg" else None
    with (
        rc_context({"svg.hashsalt": "fewshot"}),
        warnings.catch_warnings(),
        atomic(path, "wb") as file,
    ):
        # A letter that the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata=metadata)
