"""Pictures of a comparison: accuracy, learning curves, adaptation, response to a setting, cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fewshot_cli.compare import style
from fewshot_cli.compare.comparison import Comparison, Setting
from fewshot_cli.compare.runs_read import DamagedError, curve
from fewshot_cli.compare.tables import label, short, word
from fewshot_cli.settings.measure import ACCURACY

MOST = len(style.COLOURS)  # lines that can be told apart
DECADE = 10.0  # a setting that spans as much has a logarithmic axis
WIDE_LABEL = 32
MARGIN = 0.1  # of the axes, so that no point lies on the frame


@dataclass(frozen=True)
class Picture:
    name: str  # of its file
    caption: str
    figure: Figure


def draw(comparison: Comparison) -> list[Picture]:
    """The pictures that make sense of these settings; of several tests, those of the first."""
    settings = [setting for setting in comparison.settings if math.isfinite(setting.mean)]
    settings = [setting for setting in settings if setting.test == settings[0].test]
    if not settings:
        return []
    found = []
    for name, (caption, paint) in PICTURES.items():
        figure = paint(settings, comparison.varied)
        if figure is not None:
            found.append(Picture(name, caption, figure))
    return found


def _accuracy(settings: Sequence[Setting], keys: Sequence[str]) -> Figure:
    figure = style.new(7.2, 1.2 + 0.32 * len(settings))
    axes = figure.subplots()
    for place, setting in enumerate(settings):
        wide = setting.ci95_seeds if len(setting.runs) > 1 else setting.ci95_tasks
        axes.errorbar(
            *(setting.mean, place),
            xerr=_interval([setting], [wide]),
            fmt="o",
            color=style.COLOURS[0],
            capsize=3,
            ms=5,
        )
    axes.set_yticks(range(len(settings)), [_text(label(each, keys)) for each in settings])
    axes.set_ylim(len(settings) - 0.4, -0.6)  # the best above, and none on the frame
    axes.margins(x=MARGIN)
    axes.grid(axis="x", alpha=0.3)
    _measure(axes, settings[0], "x")
    return figure


def _learning(settings: Sequence[Setting], keys: Sequence[str]) -> Figure | None:
    lines = []
    for setting, colour, marker in _told_apart(settings):
        try:
            curves = [curve(run) for run in setting.runs]
        except DamagedError:
            continue
        if all(len(x) > 1 and np.array_equal(x, curves[0].iterations) for x, _, _ in curves):
            values = np.stack([each.values for each in curves])
            lines.append((setting, colour, marker, curves[0].iterations, values))
    if not lines:
        return None
    figure = style.new()
    axes = figure.subplots()
    for setting, colour, marker, x, values in lines:
        name = _text(label(setting, keys))
        axes.plot(x, values.mean(0), color=colour, marker=marker, ms=4, label=name)
        axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    axes.margins(MARGIN)
    axes.set_xlabel("iteration")
    _measure(axes, settings[0], "y", "meta-validation ")
    _legend(figure, axes)
    return figure


def _steps(settings: Sequence[Setting], keys: Sequence[str]) -> Figure | None:
    figure = style.new()
    axes = figure.subplots()
    for setting, colour, marker in _told_apart(settings):
        steps = sorted(set.intersection(*(set(run.by_step) for run in setting.runs)))
        means = [np.mean([run.by_step[step] for run in setting.runs]) for step in steps]
        name = _text(label(setting, keys))
        axes.plot(steps, means, color=colour, marker=marker, ms=4, label=name)
    if all(len(line.get_xdata()) < 2 for line in axes.lines):  # type: ignore[arg-type]
        return None
    axes.margins(MARGIN)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("adaptation steps")
    _measure(axes, settings[0], "y", "meta-test ")
    _legend(figure, axes)
    return figure


def _response(settings: Sequence[Setting], keys: Sequence[str]) -> Figure | None:
    """A curve over the one numeric setting that was swept, or a map over two."""
    numeric = [key for key in keys if _is_numeric(settings, key)]
    others = [key for key in keys if key not in numeric]
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(_text(label(setting, others)), []).append(setting)
    if len(numeric) == 1:
        return _curves(groups, numeric[0])
    if len(numeric) == 2:
        return _maps(groups, numeric[0], numeric[1])
    return None


def _curves(groups: dict[str, list[Setting]], key: str) -> Figure:
    figure = style.new()
    axes = figure.subplots()
    for (name, group), colour, marker in zip(
        groups.items(), style.COLOURS, style.MARKERS, strict=False
    ):
        points = sorted((float(each.settings[key]), each) for each in group)
        x = [value for value, _ in points]
        of_points = [each for _, each in points]
        wide = _interval(of_points, [each.ci95_seeds for each in of_points])
        y = [each.mean for each in of_points]
        axes.errorbar(x, y, wide, color=colour, marker=marker, ms=5, capsize=3, label=name)
    axes.margins(MARGIN)
    values = [float(each.settings[key]) for group in groups.values() for each in group]
    if min(values) > 0 and max(values) / min(values) >= DECADE:
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(values)), [f"{value:g}" for value in sorted(set(values))])
        axes.minorticks_off()
    axes.set_xlabel(_text(short(key)))
    _measure(axes, next(iter(groups.values()))[0], "y")
    _legend(figure, axes)
    return figure


def _maps(groups: dict[str, list[Setting]], across: str, up: str) -> Figure:
    shown = list(itertools.islice(groups.items(), MOST))
    figure = style.new(1.2 + 3.2 * len(shown), 3.4)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    means = [each.mean for _, group in shown for each in group]
    for axes, (name, group) in zip(panels, shown, strict=True):
        xs = sorted({float(each.settings[across]) for each in group})
        ys = sorted({float(each.settings[up]) for each in group})
        table = np.full((len(ys), len(xs)), np.nan)
        for each in group:
            at = ys.index(float(each.settings[up])), xs.index(float(each.settings[across]))
            table[at] = each.mean
        image = axes.imshow(
            table, cmap="cividis", origin="lower", vmin=min(means), vmax=max(means), aspect="auto"
        )
        for (row, column), value in np.ndenumerate(table):
            dark = value < (min(means) + max(means)) / 2
            form = ".1%" if group[0].measure is ACCURACY else ".3g"
            colour = "white" if dark else "black"
            axes.text(column, row, f"{value:{form}}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
        axes.set_xlabel(_text(short(across)))
        axes.set_ylabel(_text(short(up)))
        axes.set_title(name, fontsize="medium")
    figure.colorbar(image, ax=panels, label=shown[0][1][0].measure.title)
    return figure


def _cost(settings: Sequence[Setting], keys: Sequence[str]) -> Figure:
    figure = style.new()
    axes = figure.subplots()
    for setting, colour, marker in _told_apart(settings):
        name = _text(label(setting, keys))
        axes.plot(setting.seconds, setting.mean, marker, color=colour, ms=7, label=name, ls="")
    axes.set_xlabel("seconds a run")
    axes.margins(MARGIN)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    _measure(axes, settings[0], "y")
    _legend(figure, axes)
    return figure


Paint = Callable[[Sequence[Setting], Sequence[str]], Figure | None]
PICTURES: dict[str, tuple[str, Paint]] = {
    "accuracy": (
        "Each setting with its 95 % interval, over seeds if there are several",
        _accuracy,
    ),
    "learning": ("Meta-validation over training: mean, lowest and highest seed", _learning),
    "steps": ("Meta-test by adaptation steps", _steps),
    "response": ("The result over the numeric settings that were swept", _response),
    "cost": ("Seconds of a whole run against what it reaches", _cost),
}


def _told_apart(settings: Sequence[Setting]) -> Iterator[tuple[Setting, str, str]]:
    """The best settings, as many as colours tell apart, with a colour and a marker."""
    return zip(settings, style.COLOURS, style.MARKERS, strict=False)


def _is_numeric(settings: Sequence[Setting], key: str) -> bool:
    values: list[Any] = [each.settings.get(key) for each in settings]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and len(set(values)) > 1 and all(math.isfinite(value) for value in values)


def _interval(settings: Sequence[Setting], wide: Sequence[float]) -> list[list[float]]:
    """What matplotlib draws below and above each mean; a squared error is never below 0."""
    known = [width if math.isfinite(width) else 0.0 for width in wide]
    below = [
        width if each.measure is ACCURACY else min(width, each.mean)
        for each, width in zip(settings, known, strict=True)
    ]
    return [below, known]


def _measure(axes: Axes, setting: Setting, side: str, before: str = "") -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_label_text(f"{before}{setting.measure.title}")
    if setting.measure is ACCURACY:
        axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _legend(figure: Figure, axes: Axes) -> None:
    if len(axes.get_legend_handles_labels()[1]) > 1:
        figure.legend(loc="outside right upper", fontsize="small", frameon=False)


def _text(name: str) -> str:
    """A name from a file, cut to fit and not taken for a formula."""
    cut = word(name)
    cut = cut if len(cut) <= WIDE_LABEL else f"{cut[: WIDE_LABEL - 1]}…"
    return cut.replace("$", r"\$")
