from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, config
from matplotlib.figure import Figure

from fewshot_cli.plots import fitted_curves
from fewshot_cli.plots.trained import adapted, meta_test_tasks, restored
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.compose import changed_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    words = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "eval.score_steps=[0,1,5]"]
    run(config(*words), RunDirectory(folder))
    return folder


@pytest.fixture(scope="module")
def figure(trained: Path) -> Figure:
    return fitted_curves.draw(trained)


def line(figure: Figure, panel: int, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = (one for one in figure.axes[panel].lines if str(one.get_label()).startswith(label))
    return np.array(found.get_xdata()), np.array(found.get_ydata())


@pytest.mark.parametrize("panel", range(3))
def test_the_support_points_lie_on_the_curve(figure: Figure, panel: int) -> None:
    x, y = line(figure, panel, "the curve")
    support_x, support_y = line(figure, panel, "support set")
    assert len(support_x) == 10
    assert np.interp(support_x, x, y) == pytest.approx(support_y, abs=2e-3)


@pytest.mark.parametrize(
    ("step", "label"),
    [(0, "before adaptation"), (1, "after 1 step:"), (5, "after 5 steps"), (10, "after 10 steps")],
)
def test_the_curves_are_the_learners(trained: Path, figure: Figure, step: int, label: str) -> None:
    """Through the query points they have the error that meta-test gives."""
    setup = restored(trained, changed_config(RunDirectory(trained).config, [], ()))
    tasks = meta_test_tasks(setup, 3)
    *_, learner = adapted(setup, tasks, step)
    x, _ = line(figure, 0, label)
    with torch.no_grad():
        outputs = learner(torch.tensor(x).float()[None, :, None].expand(3, -1, -1))[..., 0]
    for panel in range(3):
        assert line(figure, panel, label)[1] == pytest.approx(outputs[panel].numpy(), abs=1e-5)


def test_the_legend_has_the_errors_of_the_run(trained: Path, figure: Figure) -> None:
    steps = json.loads((trained / "summary.json").read_text())["test"]["steps"]
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    loss, ci95 = steps[-1]["loss"], steps[-1]["loss_ci95"]
    assert f"after 10 steps: {loss:.2f} ± {ci95:.2f}" in said
    assert "over 6 tasks" in legend.get_title().get_text()


def test_steps_that_were_not_tested_are_left_out(tmp_path: Path) -> None:
    words = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "algo.eval_steps=5"]
    run(config(*words), RunDirectory(tmp_path))
    labels = [str(line.get_label()) for line in fitted_curves.draw(tmp_path).axes[0].lines]
    assert len(labels) == 2 + 3
    assert labels[-1].startswith("after 5 steps")


def test_other_data_and_runs_without_a_test_are_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    with pytest.raises(UserError, match=r"summary\.json: expected a file that a run left"):
        fitted_curves.draw(tmp_path)
    RunDirectory(tmp_path).begin(config("model=mlp"))
    with pytest.raises(UserError, match=r"data=glyphs; expected a run of data=sinusoid"):
        fitted_curves.draw(tmp_path)


def test_a_table_with_one_feature_is_drawn_in_its_own_units(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [(task, x, 100 * task + x) for task in range(12) for x in draw.uniform(1000, 2000, 16)]
    table = pd.DataFrame(rows, columns=["task", "load", "heat"])
    table.to_csv(tmp_path / "t.csv", index=False)
    keys = ["data.task=task", "data.target=heat", f"data.root='{tmp_path / 't.csv'}'"]
    shape = ["ways=1", "shots=5", "queries=5", "algo.eval_steps=5"]
    run(config("data=table", *keys, "model=mlp", *TINY, *shape), RunDirectory(tmp_path / "run"))
    figure = fitted_curves.draw(tmp_path / "run")
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("load", "heat")
    for panel in range(3):
        x, y = line(figure, panel, "support set")
        offset = (y - x) / 100  # the number of the task
        assert offset == pytest.approx(np.full(5, round(offset[0])), abs=1e-2)
        assert len(line(figure, panel, "query set")[0]) == 2


def test_curves_that_diverge_leave_the_others_in_sight(tmp_path: Path) -> None:
    words = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "algo.eval_steps=5"]
    run(config(*words, "algo=scratch", "algo.inner_lr=1e30"), RunDirectory(tmp_path))
    figure = fitted_curves.draw(tmp_path)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "after 5 steps: not finite" in said
    assert max(map(abs, figure.axes[0].get_ylim())) < 10
