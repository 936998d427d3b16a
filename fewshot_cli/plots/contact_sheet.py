"""Judged images, class by class, with how sure the model is."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fewshot_cli.compare import style
from fewshot_cli.inference.predictions import Predictions

ACROSS = 10  # images side by side
INCH = 0.62  # of an image
WORD = 0.35  # of an image's height, for what stands under it
HEAD = 0.6  # the name of a class
# A $ in the name of a class is no formula.
NAME: dict[str, Any] = {"fontsize": 8, "weight": "bold", "va": "center", "parse_math": False}
FRAMES = {None: "0.8", True: style.COLOURS[0], False: style.COLOURS[1]}
SIGNS = {None: "", True: "✓ ", False: "✗ "}


def draw(predictions: Predictions) -> Figure:
    """The images that were taken for each class, the least sure first."""
    sure, predicted = predictions.probabilities.max(-1).values.tolist(), predictions.predicted
    taken, shown = Counter(predicted), dict[int, list[int]]()
    for image in sorted(predictions.thumbnails, key=lambda image: (predicted[image], sure[image])):
        shown.setdefault(predicted[image], []).append(image)
    rows = [math.ceil(len(images) / ACROSS) for images in shown.values()]
    height = sum(rows) * (1 + WORD) + (len(shown) + (len(taken) > len(shown))) * HEAD + 0.2
    figure = style.new(ACROSS * INCH, height * INCH)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    top, right = 0.1, predictions.right
    for (place, images), lines in zip(shown.items(), rows, strict=True):
        some = f", the {len(images)} least sure" if taken[place] > len(images) else ""
        title = f"{predictions.classes[place]} ({taken[place]}{some})"
        axes.text(0.1, top + HEAD / 2, title, **NAME)
        top += HEAD
        for number, image in enumerate(images):
            row, x = divmod(number, ACROSS)
            y = top + row * (1 + WORD)
            pixels = predictions.thumbnails[image].permute(1, 2, 0).numpy()
            extent = (x + 0.06, x + 0.94, y + 0.94, y + 0.06)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent)
            colour, corner = FRAMES[right[image]], (x + 0.06, y + 0.06)
            axes.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=colour))
            word = f"{SIGNS[right[image]]}{sure[image]:.0%}"
            axes.text(x + 0.5, y + 1 + WORD / 3, word, fontsize=6, ha="center", va="center")
        top += lines * (1 + WORD)
    if len(taken) > len(shown):
        axes.text(0.1, top + HEAD / 2, f"and {len(taken) - len(shown)} classes more", **NAME)
    axes.set(xlim=(0, ACROSS), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure
