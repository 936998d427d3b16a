"""`fewshot plot confusion`: which classes are taken for which others, with an image of each.

Raises UserError where the run or the file is wrong.
"""

from __future__ import annotations

import typing
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewshot_cli.arguments import Picture, Run, Track
from fewshot_cli.compare import style
from fewshot_cli.plots.destination import Destination
from fewshot_cli.plots.tested import MetaTest, lines, sheet, stamp

if typing.TYPE_CHECKING:  # a table has no images, and its picture needs no torch
    import numpy as np

COLUMNS = ["class", "judged_as", "count", "queries", "tasks"]
MOST = 12  # pairs
# Lengths are in inches.
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 9.6, 0.15, 0.25, 0.95, 0.55
SIDE, GAP, NAME, ARROW = 0.5, 0.08, 1.75, 0.3
ROW, PLAIN_ROW = 0.58, 0.34  # with images, and without
POINTS = 8  # of a name
NOTE = 1.55  # beside the longest bar


def confusion(run: Run, out: Picture = Path("confusion.png"), track: Track = False) -> None:
    """The most frequent confusions of a meta-test, by name.

    fewshot plot confusion outputs/runs/NAME
    """
    destination = Destination(out, [run], track)
    destination.leave(draw(run))


def draw(run: Path) -> Figure:
    """A row for each pair: a class, what it was taken for, and how often.

    Raises:
        UserError: the run was not tested on classes, or its images are not there.
    """
    tested = MetaTest(run)
    table = tested.read(tested.directory.test_confusions, COLUMNS)
    wrong = table[table["class"] != table.judged_as]
    # Of two pairs alike in number, the one that could occur less often.
    order = wrong.sort_values(["count", "queries"], ascending=[False, True], kind="stable")
    pairs = order.head(MOST)
    pictures = _examples(tested, pairs)
    row = ROW if pictures else PLAIN_ROW
    height = TOP + max(len(pairs), 1) * row + BOTTOM
    amount = f"{wrong['count'].sum():,} of {table['count'].sum():,} queries were judged wrong"
    more = f"; the {MOST} most frequent of {len(wrong):,} pairs" if len(wrong) > MOST else ""
    figure, axes = sheet(WIDTH, height, LEFT, tested.title, f"{amount}{more}")
    if pairs.empty:
        return figure
    cell = NAME + GAP + (SIDE + GAP if pictures else 0)
    for x, head in ((LEFT, "class"), (LEFT + cell + ARROW, "was judged as")):
        axes.text(x, TOP - 0.12, head, fontsize=8, color="0.4", va="center")
    for place, pair in enumerate(pairs.itertuples(index=False)):
        _pair(axes, pictures, str(pair[0]), str(pair[1]), TOP + place * row, row, tested)
    beside = LEFT + 2 * cell + ARROW
    width, high = WIDTH - beside - RIGHT, len(pairs) * row
    frame = beside / WIDTH, BOTTOM / height, width / WIDTH, high / height
    _bars(figure.add_axes(frame), pairs, width)
    return figure


def _pair(
    axes: Axes,
    pictures: dict[str, np.ndarray],
    one: str,
    two: str,
    top: float,
    row: float,
    tested: MetaTest,
) -> None:
    """A class, an arrow and what it was taken for."""
    x, middle = LEFT, top + row / 2
    for name in (one, two):
        if pictures:
            stamp(axes, pictures[name], x, middle - SIDE / 2, SIDE, tested.config.data.invert)
            x += SIDE + GAP
        words = "\n".join(lines(name, POINTS, NAME))
        axes.text(x, middle, words, fontsize=POINTS, va="center", parse_math=False)
        x += NAME + GAP
        if name is one:
            axes.text(x, middle, "→", fontsize=11, va="center", ha="center")
            x += ARROW


def _bars(axes: Axes, pairs: pd.DataFrame, width: float) -> None:
    places, counts = range(len(pairs)), pairs["count"]
    axes.barh(places, counts, height=0.6, color=style.COLOURS[1])
    for place, pair in zip(places, pairs.itertuples(index=False), strict=True):
        count, queries, tasks = (int(number) for number in pair[2:5])
        note = f"{count / queries:.0%} of {queries:,} in {tasks:,} task{'s' * (tasks != 1)}"
        axes.annotate(
            note, (count, place), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.set(ylim=(len(pairs) - 0.5, -0.5), yticks=[])
    axes.set_xlim(0, counts.max() * width / max(width - NOTE, 0.3 * width))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("queries taken for the other class", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _examples(tested: MetaTest, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    """The first image of each class, uint8 `[C, S, S]`; nothing where the data has none."""
    source = tested.images()
    if source is None:
        return {}
    import torch

    names = [*dict.fromkeys([*pairs["class"], *pairs.judged_as])]
    there, sizes = list(source.names["test"]), list(source.sizes["test"].values())
    tested.refuse_other_data(names, there)
    first = dict(zip(there, [sum(sizes[:place]) for place in range(len(sizes))], strict=True))
    places = torch.tensor([first[name] for name in names], dtype=torch.int64)
    return dict(zip(names, source.pixels("test", places).numpy(), strict=True))
