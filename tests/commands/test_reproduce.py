"""`fewshot reproduce`, as a user types it, and its verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from helpers import config, names

from fewshot_cli.commands.reproduce import compared
from fewshot_cli.settings import choices
from fewshot_cli.settings.schema import Head, Published


def test_without_a_name_it_shows_what_is_published(fewshot: Command) -> None:
    lines = fewshot("reproduce").stdout.splitlines()
    published = [o.name for o in choices.options("experiment") if "published" in o.content()]
    assert [line.split()[0] for line in lines] == published
    assert len(published) >= 20


def test_a_cell_leaves_its_run_and_its_rows(fewshot: Command, tmp_path: Path) -> None:
    for seed, named in ((1, []), (2, ["run.dir=mine"])):
        done = fewshot(
            *("reproduce", "sinusoid_maml", "iterations=3", "eval.tasks=20", f"seed={seed}"),
            *("eval.valid_tasks=5", "eval.queries=5", *named),
        )
        assert done.returncode == 0, done.stderr
        assert "here 0.0% of the published meta-updates" in done.stdout
        assert "10 steps: published 0.3500, here " in done.stdout
    table = pd.read_csv(tmp_path / "outputs" / "reproduced.csv")
    assert table.adaptation_steps.tolist() == [1, 5, 10] * 2
    assert table.published.tolist() == [0.67, 0.38, 0.35] * 2
    assert table.seed.tolist() == [1, 1, 1, 2, 2, 2]
    for run in table.run:
        assert (tmp_path / run / "summary.json").is_file()
    assert table.run[5] == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smoke"], "experiment=smoke: nothing is published; choose what"),
        (
            ["sinusoid_mam"],
            "sinusoid_mam: expected a cell that `fewshot reproduce` shows, such as sinusoid_maml",
        ),
        (["nothing_here"], "nothing_here: expected a cell that `fewshot reproduce` shows\n"),
        (["sinusoid_maml", "algo.eval_steps=3"], "algo.eval_steps=3: the published result"),
        (["sinusoid_maml", "iterations=x"], "iterations: "),
    ],
)
def test_a_wrong_request_is_one_line(
    fewshot: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    done = fewshot("reproduce", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fewshot: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("here", "verdict"), [(0.95, "agrees"), (0.96, "better"), (0.93, "worse"), (0.936, "agrees")]
)
def test_the_verdict_compares_with_the_interval_of_a_difference(here: float, verdict: str) -> None:
    chosen = config("data=omniglot")
    chosen.published = Published("a paper", 100, {3: 0.945}, ci95=0.006)
    step = {"adaptation_steps": 3, "accuracy": here, "accuracy_ci95": 0.008}
    summary = {"test": {"steps": [step], "tasks": 600}, "seconds": 1.0}
    (row,) = compared("x", chosen, summary)
    assert row["verdict"] == verdict  # the interval of the difference is +-0.01
    assert row["difference"] == pytest.approx(here - 0.945)


def test_for_a_loss_less_is_better() -> None:
    chosen = config("data=sinusoid", "model=mlp")
    chosen.published = Published("a paper", 100, {1: 0.5})
    step = {"adaptation_steps": 1, "loss": 0.3, "loss_ci95": 0.1}
    summary = {"test": {"steps": [step], "tasks": 600}, "seconds": 1.0}
    assert compared("x", chosen, summary)[0]["verdict"] == "better"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [e for e in names("experiment") if "_budget" in e])
def test_a_budget_variant_keeps_the_protocol(experiment: str) -> None:
    full, budget = (
        config(f"experiment={name}") for name in (experiment.removesuffix("_budget"), experiment)
    )
    assert budget.iterations < full.iterations
    for key in ("ways", "shots", "queries", "data", "model", "published"):
        assert getattr(budget, key) == getattr(full, key)
    for key in ("inner_lr", "inner_steps", "inner_batch", "eval_steps", "eval_inner_batch"):
        assert getattr(budget.algo, key) == getattr(full.algo, key)
    assert budget.eval.transductive == full.eval.transductive


FAST = [e for e in names("experiment") if e.endswith("_fast") and "features" not in e]


@pytest.mark.parametrize("experiment", FAST)
def test_a_fast_recipe_is_tested_as_published(experiment: str) -> None:
    full, fast = (
        config(f"experiment={name}") for name in (experiment.removesuffix("_fast"), experiment)
    )
    assert fast.published == full.published
    for key in ("name", "first_order", "eval_steps", "eval_inner_batch"):
        assert getattr(fast.algo, key) == getattr(full.algo, key)
    for key in ("queries", "seed", "transductive"):
        assert getattr(fast.eval, key) == getattr(full.eval, key)
    assert (fast.ways, fast.shots) == (full.ways, full.shots)
    if fast.data.classes is not None and full.data.classes is not None:
        assert fast.data.classes.test == full.data.classes.test
    # The inner loop finds the classes: no head begins at them.
    assert fast.algo.head is not Head.prototypes
