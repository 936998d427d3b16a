"""`fewshot plot hardest`: the tasks of a meta-test with the lowest accuracy, and what was in them.

Raises UserError where the run or the file is wrong.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewshot_cli.arguments import Picture, Run, Track
from fewshot_cli.compare import style
from fewshot_cli.plots.destination import Destination
from fewshot_cli.plots.tested import MetaTest, fit, lines, sheet, stamp

if typing.TYPE_CHECKING:  # a table has no images, and its picture needs no torch
    import numpy as np

CONTENTS = ["task", "group", "class", "accuracy"]
TASK = ["task", "adaptation_steps", "loss", "accuracy"]
TASKS, CLASSES = 6, 10  # that are shown, the hardest ones
ACROSS = 5  # classes side by side
SUPPORT, QUERY = 1, 2  # images of a class that are shown
# Lengths are in inches.
WIDTH, EDGE, TOP, HEAD, SIDE = 9.6, 0.15, 0.75, 0.3, 0.5
CELL = (WIDTH - 2 * EDGE) / ACROSS
GAP, LINE, BELOW = 0.04, 0.16, 0.12  # between images, of words, and below a row of classes
POINTS = 7.5  # of a name


def hardest(run: Run, out: Picture = Path("hardest.png"), track: Track = False) -> None:
    """The tasks of a meta-test with the lowest accuracy, with their classes.

    fewshot plot hardest outputs/runs/NAME
    """
    destination = Destination(out, [run], track)
    destination.leave(draw(run))


def draw(run: Path) -> Figure:
    """A block for each task, with a cell for each class, the worst first.

    Raises:
        UserError: the run was not tested on classes, or its images are not there.
    """
    tested = MetaTest(run)
    contents = tested.read(tested.directory.test_contents, CONTENTS)
    every = tested.read(tested.directory.test_tasks, TASK)
    last = every[every.adaptation_steps == every.adaptation_steps.max()].set_index("task")
    order = last.sort_values(["accuracy", "loss"], ascending=[True, False], kind="stable")
    tasks = order.head(TASKS)
    inside = {task: contents[contents.task == task] for task in tasks.index}
    pictures = _pictures(tested, inside)
    images = SIDE + GAP if pictures else 0.0
    cells = {
        task: table.sort_values("accuracy", kind="stable").head(CLASSES)
        for task, table in inside.items()
    }
    grouped = bool((contents.group != "").any())
    rows = 2 + int(any("/" in name for table in cells.values() for name in table["class"]))
    row = images + rows * LINE + BELOW
    height = TOP + sum(HEAD + math.ceil(len(table) / ACROSS) * row for table in cells.values())
    shown = f"; of each class {SUPPORT} support image and {QUERY} query images" if pictures else ""
    what = f"The {len(tasks)} tasks with the lowest accuracy of {len(last):,}, as numbered in "
    told = f"{what}test_tasks.csv{shown}"
    figure, axes = sheet(WIDTH, height + EDGE, EDGE, tested.title, told)
    y = TOP
    for task, table in cells.items():
        name = f", {fit(str(table.group.iloc[0]), 9, WIDTH / 2)}" if grouped else ""
        all_of_them = len(inside[task])
        some = f", the {CLASSES} hardest of {all_of_them} classes" if all_of_them > CLASSES else ""
        head = f"task {task}{name}: {tasks.accuracy[task]:.1%} right{some}"
        look: dict[str, Any] = {"fontsize": 9, "weight": "bold", "va": "center"}
        axes.text(EDGE, y + HEAD / 2, head, parse_math=False, **look)
        y += HEAD
        for place, (name, accuracy) in enumerate(zip(table["class"], table.accuracy, strict=True)):
            down, across = divmod(place, ACROSS)
            x, top = EDGE + across * CELL, y + down * row
            for number, pixels in enumerate(pictures.get((task, name), [])):
                at = x + number * (SIDE + GAP)
                stamp(axes, pixels, at, top, SIDE, tested.config.data.invert)
            _words(axes, name, accuracy, x, top + images)
        y += math.ceil(len(table) / ACROSS) * row
    return figure


def _words(axes: Axes, name: str, accuracy: float, x: float, y: float) -> None:
    """The name of a class, below that of its group, and how many of its queries were right."""
    parts = lines(name, POINTS, CELL - 0.1)
    for place, line in enumerate([*parts, f"{accuracy:.0%} right"]):
        colour = style.COLOURS[1] if place == len(parts) and accuracy < 0.5 else "black"
        look: dict[str, Any] = {"fontsize": POINTS, "va": "center", "color": colour}
        axes.text(x, y + (place + 0.5) * LINE, line, parse_math=False, **look)


def _pictures(
    tested: MetaTest, inside: Mapping[int, pd.DataFrame]
) -> dict[tuple[int, str], list[np.ndarray]]:
    """Images of each class in each task, uint8 `[C, S, S]`; nothing where the data has none."""
    source = tested.images()
    if source is None:
        return {}
    from fewshot_cli.plots.trained import places_of_meta_test

    names, shots = source.names["test"], tested.config.shots
    shown = [*range(SUPPORT), *range(shots, shots + min(QUERY, tested.config.eval.queries))]
    found = dict[tuple[int, str], list["np.ndarray"]]()
    for task, (places, classes) in places_of_meta_test(source, tested.config, [*inside]).items():
        called = [names[each] for each in classes.tolist()]
        tested.refuse_other_data([*inside[task]["class"]], called)
        pixels = source.pixels("test", places[:, shown]).numpy()
        found |= {(task, name): list(of) for name, of in zip(called, pixels, strict=True)}
    return found
