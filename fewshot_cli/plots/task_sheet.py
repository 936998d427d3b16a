"""N-way K-shot tasks as the networks see them: support and query sets, meta-train and meta-test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from fewshot_cli.compare import style
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.plots.trained import adapted, after, meta_test_tasks
from fewshot_cli.training.evaluation import predict
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup

TRAIN_TASKS, TEST_TASKS = 3, 2
MOST_SHOTS, MOST_QUERIES = 5, 3  # images of a class that are shown
ACROSS = 10  # classes side by side
NARROWEST = 5  # images that a set has room for, so that the words above it have it too
# Lengths are in images: what lies between sets, the words above a set and those under an image.
GAP, HEAD, WORD = 0.8, 0.7, 0.5
INCH = 0.37  # of an image, at most
FRAMES = {None: "0.8", True: style.COLOURS[0], False: style.COLOURS[1]}
SIGNS = {None: "", True: "✓ ", False: "✗ "}
EXPLANATION = f"""Each task: adapt to the support
set, be judged on the query set
({MOST_QUERIES} images a class at most shown).
Under an image stands its class
in the task or, in meta-test, what
the network takes it for:
✓ right (blue), ✗ wrong (orange)."""


@dataclass(frozen=True)
class Set:
    """What is shown of a support or query set: B images of each of N classes."""

    title: str
    images: Tensor  # [N, B, C, S, S] in 0..1
    labels: Tensor  # [N, B], what stands under them
    right: Tensor | None = None  # [N, B], whether that is their class; None: no prediction

    @property
    def height(self) -> float:
        classes, images = self.labels.shape
        return HEAD + math.ceil(classes / ACROSS) * images * (1 + WORD)


def draw(setup: Setup, predicts: bool) -> Figure:
    """Meta-train tasks above, meta-test tasks below.

    Args:
        predicts: whether the algorithm says what it takes the meta-test queries for, before and
            after adaptation.
    """
    config = setup.config
    images = setup.in_images()
    drawn = images.train_tasks(generator(config.seed, "train tasks"))
    train = _sets(next(drawn.split(TRAIN_TASKS)))
    tasks = meta_test_tasks(images, TEST_TASKS)
    test = _sets(tasks)
    if predicts:
        for sets, predicted in zip(test, _predicted(setup, tasks), strict=True):
            sets[1:] = predicted

    across = min(max(config.ways, NARROWEST), ACROSS)
    width = len(test[0]) * (across + GAP) + GAP
    height = sum(_height(sets) for sets in train + test) + 2 * HEAD + GAP
    inch = min(6.4 / width, INCH)
    figure = style.new(width * inch, height * inch)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    y = GAP / 2
    for title, rows in (("Meta-train", train), ("Meta-test, with other classes", test)):
        axes.text(GAP / 2, y + HEAD / 2, title, fontsize=10, weight="bold", va="center")
        y += HEAD
        for sets in rows:
            right = len(sets) * (across + GAP) + GAP / 2
            back = (GAP / 2, y), right - GAP / 2, _height(sets) - GAP / 4
            axes.add_patch(Rectangle(*back, facecolor="0.93", zorder=-1))
            for column, shown in enumerate(sets):
                left = GAP + column * (across + GAP)
                _draw(axes, shown, left, y, 21 * inch, config.data.invert)
            y += _height(sets)
    if predicts:
        beside = GAP + 2 * (across + GAP), GAP / 2 + 1.5 * HEAD
        axes.text(*beside, EXPLANATION, fontsize=21 * inch, va="top", linespacing=1.6)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure


def _height(sets: list[Set]) -> float:
    return max(shown.height for shown in sets) + GAP / 4


def _sets(tasks: TaskBatch) -> list[list[Set]]:
    """Each task's support and query set."""
    classes = int(tasks.support_y[0].max()) + 1

    def some(name: str, images: Tensor, labels: Tensor, most: int) -> Set:
        images, labels = images.unflatten(0, (classes, -1)), labels.unflatten(0, (classes, -1))
        there = labels.shape[1]
        title = f"{name} ({most} of {there} a class)" if there > most else name
        return Set(title, images[:, :most], labels[:, :most])

    return [
        [
            some("support set", support_x, support_y, MOST_SHOTS),
            some("query set", query_x, query_y, MOST_QUERIES),
        ]
        for support_x, support_y, query_x, query_y in zip(*tasks.fields(), strict=True)
    ]


def _predicted(setup: Setup, images: TaskBatch) -> list[list[Set]]:
    """Each task's query set with what it is taken for, before and after adaptation.

    Args:
        images: the tasks as they are shown.
    """
    config, found = setup.config, list[list[Set]]()
    steps, net = config.algo.eval_steps, setup.algorithm.net
    tasks = meta_test_tasks(setup, len(images))
    for step, learner in enumerate(adapted(setup, tasks, steps)):
        if step not in (0, steps):
            continue
        with torch.no_grad():
            labels = predict(learner, tasks, net, config.eval.transductive).argmax(-1)
        right = labels == tasks.query_y
        when = after(step)
        by_class = (config.ways, -1)
        found.append(
            [
                Set(
                    f"{when}: {float(own_right.float().mean()):.1%} of {len(own)} right",
                    x.unflatten(0, by_class)[:, :MOST_QUERIES],
                    own.unflatten(0, by_class)[:, :MOST_QUERIES],
                    own_right.unflatten(0, by_class)[:, :MOST_QUERIES],
                )
                for x, own, own_right in zip(images.query_x, labels, right, strict=True)
            ]
        )
    return [list(sets) for sets in zip(*found, strict=True)]


def _draw(axes: Axes, shown: Set, left: float, top: float, points: float, ink: bool) -> None:
    """The set with its upper left corner there.

    Args:
        points: the size of its letters.
        ink: 1 is black in grey images.
    """
    axes.text(left, top + HEAD / 2, shown.title, fontsize=points, va="center")
    classes, images = shown.labels.shape
    for index in range(classes * images):
        label, image = divmod(index, images)
        x = left + label % ACROSS
        y = top + HEAD + (label // ACROSS * images + image) * (1 + WORD)
        right = None if shown.right is None else bool(shown.right[label, image])
        pixels = shown.images[label, image].permute(1, 2, 0).cpu().numpy()
        extent = (x + 0.04, x + 0.96, y + 0.96, y + 0.04)
        axes.imshow(pixels, cmap="gray_r" if ink else "gray", vmin=0, vmax=1, extent=extent)
        frame = (x + 0.04, y + 0.04), 0.92, 0.92
        axes.add_patch(Rectangle(*frame, fill=False, edgecolor=FRAMES[right], linewidth=points / 7))
        word = f"{SIGNS[right]}{int(shown.labels[label, image])}"
        colour = "black" if right is None else FRAMES[right]
        place: dict[str, Any] = {"fontsize": points, "ha": "center", "va": "center"}
        axes.text(x + 0.5, y + 1 + WORD / 2.5, word, color=colour, **place)
