"""What a search by Optuna found: trial by trial, over training, and by what was searched."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewshot_cli.arguments import Picture, Track
from fewshot_cli.compare import style
from fewshot_cli.plots.destination import Destination
from fewshot_cli.settings.errors import UserError
from fewshot_cli.sweeps import study as studies
from fewshot_cli.sweeps.directory import OPTUNA

if TYPE_CHECKING:  # an extra
    from optuna import Study
    from optuna.trial import FrozenTrial

LEAST = 2  # complete trials, of which something can be seen
COMPLETE, PRUNED = style.COLOURS[:2]
Search = Annotated[Path, typer.Argument(help="The folder of a search.", show_default=False)]
Storage = Annotated[
    str | None,
    typer.Option(help="The search's hydra.sweeper.storage, if it had one.", show_default=False),
]


def study(
    sweep: Search,
    storage: Storage = None,
    study_name: Annotated[str, typer.Option(help="Its hydra.sweeper.study_name.")] = "fewshot",
    out: Picture = Path("study.png"),
    track: Track = False,
) -> None:
    """How a search by Optuna went: its trials, meta-validations, settings and their weight.

    fewshot plot study outputs/sweeps/NAME
    """
    destination = Destination(out, [sweep], track)
    if storage is None:
        if not (sweep / OPTUNA).is_file():
            raise UserError(
                f"{sweep}: expected the folder of a search, which has an {OPTUNA}, or --storage"
            )
        storage = f"{studies.SQLITE}{sweep / OPTUNA}"
    try:
        found = studies.known(storage, study_name)
    except ImportError as error:
        raise UserError("plot study: expected pip install 'fewshot[optuna]'") from error
    destination.leave(draw(found))


def draw(study: Study) -> Figure:
    """Panels in two columns: the trials in their order, their meta-validations, how much each
    searched key weighs, and the trials over each of these keys.

    Raises:
        UserError: too few of its trials are complete.
    """
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    if len(complete) < LEAST:
        raise UserError(
            f"study {study.study_name}: has {len(complete)} complete trials; expected {LEAST} or "
            "more"
        )
    searched = sorted({name for trial in complete for name in trial.params})
    followed = any(trial.intermediate_values for trial in complete)
    weigh = len(searched) > 1
    rows = -(-(1 + followed + weigh + len(searched)) // 2)
    figure = style.new(9.6, 1.0 + 2.8 * rows)
    panels = list(figure.subplots(rows, 2, squeeze=False).flatten())
    unit, label = _unit(complete)
    _trials(panels.pop(0), complete, pruned, unit, label)
    if followed:
        _validations(panels.pop(0), complete, pruned, unit)
    if weigh:
        _weights(panels.pop(0), study)
    for name in searched:
        _over(panels.pop(0), name, complete, unit, label)
    for panel in panels:
        panel.set_axis_off()
    return figure


def _unit(complete: list[FrozenTrial]) -> tuple[float, str]:
    """What a trial is judged by: an accuracy, or where none is above 0 minus a squared error."""
    if any((trial.value or 0) > 0 for trial in complete):
        return 100.0, "best meta-validation, %"
    return 1.0, "best meta-validation, minus the loss"


def _trials(
    axes: Axes, complete: list[FrozenTrial], pruned: list[FrozenTrial], unit: float, label: str
) -> None:
    numbers = [trial.number for trial in complete]
    values = unit * np.array([trial.value for trial in complete], float)
    axes.plot(numbers, values, "o", color=COMPLETE, markersize=4, label="complete")
    best_so_far = np.maximum.accumulate(values)
    axes.step(numbers, best_so_far, where="post", color="0.4", label="best so far")
    best = [unit * max(trial.intermediate_values.values(), default=np.nan) for trial in pruned]
    numbers = [trial.number for trial in pruned]
    axes.plot(numbers, best, "x", color=PRUNED, markersize=5, label="pruned")
    axes.set(xlabel="trial", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("trials", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _validations(
    axes: Axes, complete: list[FrozenTrial], pruned: list[FrozenTrial], unit: float
) -> None:
    for trials, colour, end in ((complete, COMPLETE, "o"), (pruned, PRUNED, "x")):
        for trial in trials:
            rows = sorted(trial.intermediate_values.items())
            x, y = [step for step, _ in rows], [unit * value for _, value in rows]
            axes.plot(x, y, color=colour, alpha=0.6, linewidth=1)
            axes.plot(x[-1:], y[-1:], end, color=colour, markersize=4)
    axes.set(xlabel="meta-updates", ylabel="meta-validation" + ", %" * (unit > 1))
    axes.set_title("meta-validations of complete and pruned trials", fontsize=10)
    axes.grid(alpha=0.3)


def _weights(axes: Axes, study: Study) -> None:
    """By PED-ANOVA (Watanabe et al. 2023): what tells the best trials from all."""
    from optuna import importance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental in Optuna
        found = importance.get_param_importances(
            study, evaluator=importance.PedAnovaImportanceEvaluator()
        )
    names = [*found][::-1]
    axes.barh(names, [found[name] for name in names], color=COMPLETE)
    axes.set(xlabel="share of what tells the best trials from all", xlim=(0, 1))
    axes.set_title("what matters (PED-ANOVA)", fontsize=10)


def _over(axes: Axes, name: str, complete: list[FrozenTrial], unit: float, label: str) -> None:
    """The complete trials over one searched key; words stand side by side."""
    having = [trial for trial in complete if name in trial.params]
    given = having[0].distributions[name]
    values = [trial.params[name] for trial in having]
    if hasattr(given, "choices"):
        values = [str(value) for value in values]
    best = [unit * (trial.value or 0) for trial in having]
    axes.plot(values, best, "o", color=COMPLETE, markersize=4)
    if getattr(given, "log", False):
        axes.set_xscale("log")
    axes.set(xlabel=name, ylabel=label)
    axes.grid(alpha=0.3)
