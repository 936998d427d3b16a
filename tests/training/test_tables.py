"""Whole runs on tables: what leaks, what another file is read by, and networks for series."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from helpers import TINY, config, names
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import maml
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training.run import run

SHAPE = ["ways=1", "shots=3", "queries=3"]
KEYS = ["data.task=who", "data.target=[y,z]", "data.split=when"]


def people(folder: Path, name: str, factor: float = 1.0) -> Path:
    """Ten people's lines; `factor` is of the rows of meta-test."""
    draw, rows = np.random.default_rng(0), []
    for person in range(10):
        when = ["train", "train", "train", "valid", "test"][person % 5]
        for x in draw.normal(size=16) * (factor if when == "test" else 1):
            rows.append((f"p{person}", when, x, person + x, 100 * x))
    pd.DataFrame(rows, columns=["who", "when", "x", "y", "z"]).to_csv(folder / name, index=False)
    return folder / name


def trained(folder: Path, table: Path, *words: str) -> RunDirectory:
    directory = RunDirectory(folder)
    chosen = ["data=table", f"data.root='{table}'", *KEYS, "model=mlp", *TINY, *SHAPE, *words]
    run(config(*chosen), directory)
    return directory


def test_meta_test_rows_change_no_weight_and_no_statistic(tmp_path: Path) -> None:
    one, other = (
        trained(tmp_path / name, people(tmp_path, f"{name}.csv", factor))
        for name, factor in {"one": 1.0, "other": 1e3}.items()
    )
    assert one.data.read_bytes() == other.data.read_bytes()
    weights = [torch.load(each.best, weights_only=True)["net"] for each in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    losses = [json.loads(each.summary.read_text())["test"]["steps"][0] for each in (one, other)]
    assert losses[0]["loss"] != losses[1]["loss"]


def test_the_error_is_the_mean_over_outputs_in_their_own_units(tmp_path: Path) -> None:
    """Where nothing is learned, standardised or not, each in its own unit: the root of the loss."""
    steps = json.loads(trained(tmp_path / "run", people(tmp_path, "t.csv")).summary.read_text())
    tasks = pd.read_csv(tmp_path / "run" / "test_tasks.csv")
    for step in steps["test"]["steps"]:
        loss = tasks[tasks.adaptation_steps == step["adaptation_steps"]].loss
        assert step["rmse"] == pytest.approx(np.sqrt(loss).mean(), rel=1e-6)
        assert step["rmse"] > 10  # of z, which is a hundred times as large as y


def test_another_file_is_read_as_the_run_read_its_own(tmp_path: Path) -> None:
    from fewshot_cli.commands.evaluate import evaluate

    done = trained(tmp_path / "run", people(tmp_path, "t.csv"))
    other = people(tmp_path, "other.csv", 2.0)
    frame = pd.read_csv(other)
    frame[frame.when == "test"].assign(who="new").to_csv(other, index=False)
    evaluate(done.path, [f"data.root='{other}'", "data.split=test", "eval.tasks=4"])
    (found,) = (done.path / "evaluations").iterdir()
    again = json.loads((found / "summary.json").read_text())["test"]
    assert (again["classes"], again["left_out"]) == (1, 8)


@pytest.mark.parametrize("algo", names("algo"))
def test_classes_that_tasks_share_go_with_every_algorithm_or_are_refused(
    tmp_path: Path, algo: str
) -> None:
    frame = pd.read_csv(people(tmp_path, "t.csv")).drop(columns="z")
    frame["state"] = np.where(frame.x > 0, "ill", "well")
    frame.to_csv(tmp_path / "t.csv", index=False)
    words = ["data=table", f"data.root='{tmp_path / 't.csv'}'", "data.task=who", "model=mlp"]
    words += ["data.label=state", "data.split=when", *TINY, *SHAPE, f"algo={algo}"]
    if algo in ("protonet", "ncm", "ridge", "logistic", "soft_kmeans"):
        with pytest.raises(UserError, match=rf"algo={algo}: takes the classes of each task for"):
            config(*words)
        return
    run(config(*words), RunDirectory(tmp_path / "run"))
    tested = json.loads((tmp_path / "run" / "summary.json").read_text())["test"]["steps"]
    assert all(0 <= step["accuracy"] <= 1 for step in tested)


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("queries", [2, 30])
def test_meta_gradients_over_series_are_learn2learn_s(first_order: bool, queries: int) -> None:
    torch.manual_seed(0)
    words = ["data=sinusoid", "model=cnn1d", "model.channels=4", "model.blocks=2"]
    net = models.build(config(*words).model, (2, 12), 3).double()
    draw = torch.Generator().manual_seed(1)

    def series(count: int) -> torch.Tensor:
        return torch.randn(3, 3 * count, 2, 12, generator=draw, dtype=torch.float64)

    labels = [torch.arange(3).repeat_interleave(n).expand(3, -1) for n in (2, queries)]
    tasks = TaskBatch(series(2), labels[0], series(queries), labels[1])
    wrapper = l2l.MAML(net, lr=0.1, first_order=first_order)
    for task in range(3):
        learner = wrapper.clone()
        for _ in range(2):
            support = learner(tasks.support_x[task])
            learner.adapt(functional.cross_entropy(support, tasks.support_y[task]))
        functional.cross_entropy(learner(tasks.query_x[task]), tasks.query_y[task]).backward()
    truth = [theta.grad.clone() / 3 for theta in wrapper.parameters()]
    before = [theta.detach().clone() for theta in net.parameters()]
    algo = config(
        *(f"algo={'fomaml' if first_order else 'maml'}", "algo.inner_steps=2", "algo.inner_lr=0.1"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    maml.MAML(net, algo, 1, Acceleration(3)).meta_update(tasks, torch.Generator())
    for old, new, gradient in zip(before, net.parameters(), truth, strict=True):
        assert torch.allclose(old - new.detach(), gradient, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model=cnn1d"], r"model=cnn1d: takes series \[channels, length\], and an example"),
        (["model=mlp,cnn1d", "-m"], r"model=cnn1d: takes series \[channels, length\], and an"),
    ],
)
@pytest.mark.slow
def test_a_network_that_takes_other_examples_costs_a_line(
    fewshot: Command, tmp_path: Path, words: list[str], line: str
) -> None:
    root = f"data.root={people(tmp_path, 't.csv')}"
    done = fewshot("train", "data=table", root, *KEYS, *TINY, *SHAPE, *words)
    assert done.returncode == 2
    assert re.fullmatch(rf"fewshot: {line}.*\n", done.stderr), done.stderr
    assert not (tmp_path / "outputs").exists()
