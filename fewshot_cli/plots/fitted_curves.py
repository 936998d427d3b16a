"""Meta-test curves before adaptation and after 1, 5 and 10 steps (Finn et al. 2017, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fewshot_cli.compare import style
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.sinusoid import AMPLITUDE, INPUT
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.plots.trained import adapted, after, meta_test_tasks, restored
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.measure import LOSS
from fewshot_cli.training.setup import Setup

TASKS = 3
STEPS = (0, 1, 5)  # and the last
LINES = (":", "-.", "--", "-")
POINTS = 200


def draw(run: Path) -> Figure:
    """A panel for each of the first meta-test tasks; the errors over all of them in the legend.

    Raises:
        UserError: it is no tested run that predicts one number from one.
    """
    directory = RunDirectory(run)
    config = compose.changed_config(directory.config, [], ())
    if not config.data.regression:
        raise _other(run, config.data.name)
    tested = {
        row["adaptation_steps"]: row for row in directory.read(directory.summary)["test"]["steps"]
    }
    shown = sorted({*(step for step in STEPS if step in tested), max(tested)})
    setup = restored(run, config)
    tasks = meta_test_tasks(setup, TASKS)
    if setup.source.input_shape != (1,) or tasks.query_y.dim() != 2:
        raise _other(run, config.data.name)
    is_sinusoid = config.data.kind == "sinusoid"
    units = Units.of(setup)
    x = torch.linspace(*(INPUT if is_sinusoid else _range(tasks)), POINTS)
    curves = _curves(setup, tasks, x, shown)

    figure = style.new(9.6, 3.6)
    panels = figure.subplots(1, TASKS, sharey=True)
    look: dict[str, Any]
    for number, axes in enumerate(panels):
        if is_sinusoid:
            _draw_sinusoid(axes, tasks, number, x)
        else:
            query = tasks.query_x[number, :, 0].cpu(), tasks.query_y[number].cpu()
            look = {"color": "0.75", "markersize": 4, "label": "query set"}
            axes.plot(units.x(query[0]), units.y(query[1]), "o", **look)
        support = tasks.support_x[number, :, 0].cpu(), tasks.support_y[number].cpu()
        look = {"markersize": 6, "zorder": 3, "label": "support set"}
        axes.plot(units.x(support[0]), units.y(support[1]), "k^", **look)
        for step, colour, line in zip(shown, style.COLOURS, LINES, strict=False):
            error = LOSS.shown(tested[step]["loss"], tested[step]["loss_ci95"], ".2f")
            look = {"color": colour, "label": f"{after(step)}: {error}"}
            axes.plot(units.x(x), units.y(curves[step][number]), line, **look)
        axes.set_title(f"meta-test task {number + 1}", fontsize=10)
        axes.set_xlabel(units.of_x)
    # Room for the curves; what diverges goes out of the picture.
    panels[0].set(ylabel=units.of_y, ylim=_limits(is_sinusoid, units, tasks))
    handles, labels = panels[0].get_legend_handles_labels()
    test = f"mean squared error over {int(config.eval.tasks)} tasks, ± 95 %"
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False, title=test
    )
    what = "sinusoid" if is_sinusoid else "task"
    figure.suptitle(f"{config.algo.name}, {config.shots} points of a {what}", fontsize=11)
    return figure


@dataclass(frozen=True)
class Units:
    """From what a network reads and answers to the units of the table."""

    of_x: str = "x"
    of_y: str = "y"
    x_mean: float = 0.0
    x_scale: float = 1.0
    y_mean: float = 0.0
    y_scale: float = 1.0

    @staticmethod
    def of(setup: Setup) -> Units:
        if not isinstance(setup.source, ArrayTasks) or setup.source.kept is None:
            return Units()
        kept = setup.source.kept
        numbers = kept["numbers"] or ["x"]
        target = getattr(setup.config.data, "target", "y")
        shown = target[0] if isinstance(target, list) else str(target)
        moments = [kept[name] for name in ("mean", "scale", "target_mean", "target_scale")]
        if None in moments:
            return Units(numbers[0], shown)
        return Units(numbers[0], shown, *(moment[0] for moment in moments))

    def x(self, values: Tensor) -> Tensor:
        return values * self.x_scale + self.x_mean

    def y(self, values: Tensor) -> Tensor:
        return values * self.y_scale + self.y_mean


def _other(run: Path, data: str) -> UserError:
    return UserError(
        f"{run}: data={data}; expected a run of data=sinusoid, or of data=table with one target "
        "and one feature"
    )


def _range(tasks: TaskBatch) -> tuple[float, float]:
    x = torch.cat([tasks.support_x, tasks.query_x], 1)
    return float(x.min()), float(x.max())


def _limits(is_sinusoid: bool, units: Units, tasks: TaskBatch) -> tuple[float, float]:
    """Of y, with room around what is there."""
    if is_sinusoid:
        return -1.3 * AMPLITUDE[1], 1.3 * AMPLITUDE[1]
    y = units.y(torch.cat([tasks.support_y, tasks.query_y], 1))
    room = 0.15 * float(y.max() - y.min()) or 1.0
    return float(y.min()) - room, float(y.max()) + room


def _curves(setup: Setup, tasks: TaskBatch, x: Tensor, steps: list[int]) -> dict[int, Tensor]:
    """The learners' outputs over `x [P]`, `[T, P]`, after each of these numbers of steps."""
    inputs, curves = x[None, :, None].expand(len(tasks), -1, -1).to(tasks.query_x), {}
    for step, learner in enumerate(adapted(setup, tasks, max(steps))):
        if step in steps:
            with torch.no_grad():
                curves[step] = learner(inputs)[..., 0].cpu()
    return curves


def _draw_sinusoid(axes: Axes, tasks: TaskBatch, number: int, x: Tensor) -> None:
    """The curve itself."""
    # A sin(x - p) is a sum of sin x and cos x: two unknowns, found again from the query points.
    seen_x, seen_y = tasks.query_x[number, :, 0].cpu(), tasks.query_y[number].cpu()
    parts = torch.linalg.lstsq(_waves(seen_x), seen_y[:, None]).solution
    axes.plot(x, _waves(x) @ parts, color="0.75", linewidth=4, label="the curve")


def _waves(x: Tensor) -> Tensor:
    return torch.stack([x.sin(), x.cos()], 1)
