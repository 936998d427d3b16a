"""Meta-test curves before adaptation and after 1, 5 and 10 steps (Finn et al. 2017, figure 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fewshot_cli.compare import style
from fewshot_cli.data.sinusoid import AMPLITUDE, INPUT
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.plots.trained import adapted, after, meta_test_tasks, restored
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.measure import LOSS
from fewshot_cli.training.setup import Setup

TASKS = 3
STEPS = (0, 1, 5, 10)
LINES = (":", "-.", "--", "-")
POINTS = 200


def draw(run: Path) -> Figure:
    """A panel for each of the first meta-test tasks; the errors over all of them in the legend.

    Raises:
        UserError: it is no run on sinusoids that was tested.
    """
    directory = RunDirectory(run)
    config = compose.changed_config(directory.config, [], ())
    if config.data.kind != "sinusoid":
        raise UserError(f"{run}: data={config.data.name}; expected a run of data=sinusoid")
    tested = {
        row["adaptation_steps"]: row for row in directory.read(directory.summary)["test"]["steps"]
    }
    shown = [step for step in STEPS if step in tested]
    setup = restored(run, config)
    tasks = meta_test_tasks(setup, TASKS)
    x = torch.linspace(*INPUT, POINTS)
    curves = _curves(setup, tasks, x, shown)

    figure = style.new(9.6, 3.6)
    panels = figure.subplots(1, TASKS, sharey=True)
    for number, axes in enumerate(panels):
        _draw_task(axes, tasks, number, x)
        for step, colour, line in zip(shown, style.COLOURS, LINES, strict=False):
            error = LOSS.shown(tested[step]["loss"], tested[step]["loss_ci95"], ".2f")
            look: dict[str, Any] = {"color": colour, "label": f"{after(step)}: {error}"}
            axes.plot(x, curves[step][number], line, **look)
        axes.set_title(f"meta-test task {number + 1}", fontsize=10)
        axes.set_xlabel("x")
    # Room for the curves; what diverges goes out of the picture.
    panels[0].set(ylabel="y", ylim=(-1.3 * AMPLITUDE[1], 1.3 * AMPLITUDE[1]))
    handles, labels = panels[0].get_legend_handles_labels()
    test = f"mean squared error over {int(config.eval.tasks)} tasks, ± 95 %"
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False, title=test
    )
    figure.suptitle(f"{config.algo.name}, {config.shots} points of a sinusoid", fontsize=11)
    return figure


def _curves(setup: Setup, tasks: TaskBatch, x: Tensor, steps: list[int]) -> dict[int, Tensor]:
    """The learners' outputs over `x [P]`, `[T, P]`, after each of these numbers of steps."""
    inputs, curves = x[None, :, None].expand(len(tasks), -1, -1).to(tasks.query_x), {}
    for step, learner in enumerate(adapted(setup, tasks, max(steps))):
        if step in steps:
            with torch.no_grad():
                curves[step] = learner(inputs)[..., 0].cpu()
    return curves


def _draw_task(axes: Axes, tasks: TaskBatch, number: int, x: Tensor) -> None:
    """The curve itself and its support points."""
    # A sin(x - p) is a sum of sin x and cos x: two unknowns, found again from the query points.
    seen_x, seen_y = tasks.query_x[number, :, 0].cpu(), tasks.query_y[number].cpu()
    parts = torch.linalg.lstsq(_waves(seen_x), seen_y[:, None]).solution
    axes.plot(x, _waves(x) @ parts, color="0.75", linewidth=4, label="the curve")
    support = tasks.support_x[number, :, 0].cpu(), tasks.support_y[number].cpu()
    axes.plot(*support, "k^", markersize=6, zorder=3, label="support set")


def _waves(x: Tensor) -> Tensor:
    return torch.stack([x.sin(), x.cos()], 1)
