"""Weight space: theta's path over training, and the inner paths of some tasks from points of it.

Above, the whole training of each run. Below, magnified, half of the way: where the tasks pull the
weights, and where the algorithm would have them go. Each panel is a plane of its own. The tasks are
the same for all runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from fewshot_cli.compare import style
from fewshot_cli.plots import plane as planes
from fewshot_cli.plots.plane import Plane
from fewshot_cli.plots.walk import TASKS, Walk, follow
from fewshot_cli.progress import Progress
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config, lookup
from fewshot_cli.training.trajectory import recorded

GRID = 33  # points a side of what the contours are drawn from
NARROW, WIDE = 6.4, 9.0  # inches; a wide one has more of its legend in a row
SAME = ("data", "model", "ways", "shots", "eval.queries", "eval.seed")
AXIS = {"pca": "PCA", "random": "random"}
BLACK = "#000000"
PATH: dict[str, Any] = {"color": BLACK, "linewidth": 1, "marker": ".", "markersize": 4}
MARK = {"linestyle": "none", "color": "white", "markeredgecolor": BLACK}
START: dict[str, Any] = MARK | {"marker": "s", "markersize": 5}
HALF_WAY: dict[str, Any] = MARK | {"marker": "o", "markersize": 5}
END: dict[str, Any] = MARK | {"marker": "*", "markersize": 10}
CONTOUR: dict[str, Any] = {"color": "0.75", "linewidth": 0.7}
INNER: dict[str, Any] = {"linewidth": 1, "markersize": 5, "markevery": [-1]}
ARROW = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}


def draw(runs: list[Path], plane: str) -> Figure:
    """A column for each run; `plane` is "pca" or "random".

    Raises:
        UserError: a run has no recorded path, no inner loop, or other tasks than the first.
    """
    configs = [compose.changed_config(RunDirectory(run).config, [], ()) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        _check(run, config, runs[0], configs[0])
    points = [recorded(RunDirectory(run)) for run in runs]
    # Fine-tuning gives each task a head of its own, which lies nowhere near theta's.
    with_head = not any(c.algo.pretrains and not c.data.regression for c in configs)
    with Progress("Paths", sum(map(len, points)), "points") as progress:
        walks = [
            follow(config, files, with_head, progress)
            for config, files in zip(configs, points, strict=True)
        ]
    rows, columns = (1, 2) if len(walks) == 1 else (2, len(walks))
    width = max(NARROW, 1.92 * columns)
    legend = 0.5 if width > WIDE else 0.9
    figure = style.new(width, rows * (0.9 * width / columns + 0.3) + legend)
    panels = figure.subplots(rows, columns, squeeze=False).reshape(2, -1)
    for number, (config, walked) in enumerate(zip(configs, walks, strict=True)):
        over, under = panels[:, number]
        over.set_title(_name(config), fontsize=10)
        _draw_training(over, walked, plane)
        iteration = points[number][walked.half_way].stem
        under.set_title(f"iteration {iteration}, magnified", fontsize=8)
        _draw_half_way(under, walked, plane)
    _explain(figure, contours=walks[0].loss is not None)
    return figure


def _check(run: Path, config: Config, first_run: Path, first: Config) -> None:
    if not config.algo.eval_steps:
        name = config.algo.name
        raise UserError(f"{run}: algo={name} makes no inner steps; expected a run that does")
    for key in SAME:
        if lookup(config, key) != lookup(first, key):
            raise UserError(f"{run}: has another `{key}` than {first_run}; expected the same")


def _name(config: Config) -> str:
    return f"{config.algo.name}, one task" if config.meta_batch == 1 else str(config.algo.name)


def _draw_training(axes: Axes, walked: Walk, kind: str) -> None:
    plane = planes.through(torch.cat([walked.theta, walked.inner.flatten(0, 2)]), kind)
    theta, inner = plane.coordinates(walked.theta), plane.coordinates(walked.inner)
    _frame(axes, torch.cat([theta, inner.flatten(0, 2)]), plane, kind)
    _draw_contours(axes, plane, walked, walked.theta[-1], theta[-1])
    axes.plot(*theta.T, **PATH)
    for paths in inner:
        _draw_inner(axes, paths)
    axes.plot(*theta[0], **START)
    axes.plot(*theta[walked.half_way], **HALF_WAY)
    axes.plot(*theta[-1], **END)


def _draw_half_way(axes: Axes, walked: Walk, kind: str) -> None:
    """The plane is laid by where theta, the tasks and the meta-update are, not by the steps."""
    theta = walked.theta[walked.half_way]
    pull = walked.inner[1] - theta  # [T, S, W]
    arrow = _arrow(walked, pull)
    plane = planes.through(torch.cat([pull[:, -1], arrow, torch.zeros_like(pull[:1, 0])]), kind)
    paths, tips = plane.coordinates(pull), plane.coordinates(arrow)
    _frame(axes, torch.cat([paths.flatten(0, 1), tips]), plane, kind)
    _draw_contours(axes, plane, walked, theta, torch.zeros(2))
    _draw_inner(axes, paths)
    for tip in tips.tolist():
        axes.annotate("", tip, (0, 0), arrowprops=ARROW)
    axes.plot(0, 0, **HALF_WAY)


def _arrow(walked: Walk, pull: Tensor) -> Tensor:
    """The direction of the meta-update, as long as the tasks' inner paths are; `[1 or 0, W]`."""
    if walked.update is None:
        return pull[:0, 0]
    length = pull[:, -1].norm(dim=-1).mean()
    arrow: Tensor = walked.update / walked.update.norm() * length
    return arrow[None]


def _draw_inner(axes: Axes, paths: Tensor) -> None:
    """`[T, S, 2]`; a colour and a sign a task, the sign where it ends."""
    for path, colour, marker in zip(paths, style.COLOURS, style.MARKERS, strict=False):
        axes.plot(*path.T, color=colour, marker=marker, **INNER)


def _frame(axes: Axes, points: Tensor, plane: Plane, kind: str) -> None:
    """The square around the points: a length is the same length in both directions."""
    low, high = points.min(0).values, points.max(0).values
    reach = float((high - low).max()) * 0.58
    (left, right), (bottom, top) = [(float(c) - reach, float(c) + reach) for c in (low + high) / 2]
    axes.set(xlim=(left, right), ylim=(bottom, top), box_aspect=1)
    axes.tick_params(labelsize=7)
    axes.locator_params(nbins=4)
    first, second = (
        f"{AXIS[kind]} {i + 1} ({_percent(float(share))})" for i, share in enumerate(plane.shares)
    )
    axes.set_xlabel(first, fontsize=8)
    axes.set_ylabel(second, fontsize=8)


def _percent(share: float) -> str:
    """Two digits, without an exponent where the share is all."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _draw_contours(axes: Axes, plane: Plane, walked: Walk, anchor: Tensor, at: Tensor) -> None:
    """Levels of the mean query loss, in the plane that holds the weights `anchor [W]`.

    Args:
        at: the coordinates of `anchor`.
    """
    if walked.loss is None:
        return
    x, y = (torch.linspace(*limits, GRID) for limits in (axes.get_xlim(), axes.get_ylim()))
    steps = torch.cartesian_prod(x, y).double() - at
    loss = walked.loss((anchor + steps @ plane.axes).to(anchor)).view(GRID, GRID).T
    levels = torch.logspace(*loss.log10().aminmax(), 9)
    axes.contour(x, y, loss, levels, colors=CONTOUR["color"], linewidths=CONTOUR["linewidth"])


def _explain(figure: Figure, contours: bool) -> None:
    inner = zip(style.COLOURS[:TASKS], style.MARKERS[:TASKS], strict=True)
    handles = [
        Line2D([], [], label="meta-parameters θ over training", **PATH),
        Line2D([], [], label="start", **START),
        Line2D([], [], label="half of the way", **HALF_WAY),
        Line2D([], [], label="end", **END),
        *(
            Line2D([], [], color=colour, marker=marker, label=f"task {number}: θ to φ", **INNER)
            for number, (colour, marker) in enumerate(inner, 1)
        ),
        Line2D([], [], color=BLACK, marker=">", label="meta-update on them: direction", **INNER),
    ]
    if contours:
        handles.append(Line2D([], [], label="mean query loss of the tasks", **CONTOUR))
    columns = 5 if figure.get_figwidth() > WIDE else 3
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
