from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import TINY, config, image_tasks
from scipy import stats

from fewshot_cli import models
from fewshot_cli.algorithms.base import Learner
from fewshot_cli.data.task import Scores, TaskBatch
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.stacking import PerTask
from fewshot_cli.training.evaluation import evaluate, mean_ci95, metrics, predict
from fewshot_cli.training.setup import Setup, prepare


def prepared(cache_dir: Path, *overrides: str) -> Setup:
    chosen: Config = config("model=mlp", *TINY, *overrides)
    chosen.cache_dir = str(cache_dir)
    return prepare(chosen)


def test_the_interval_is_student_s() -> None:
    values = torch.rand(37, dtype=torch.float64)
    mean, half = mean_ci95(values)
    low, high = stats.t.interval(0.95, 36, loc=values.mean(), scale=stats.sem(values.numpy()))
    assert (mean - half, mean + half) == pytest.approx((low, high), abs=1e-12)
    assert mean_ci95(torch.tensor([0.5])) == (0.5, None)


def test_more_tasks_begin_with_the_same_tasks(cache_dir: Path) -> None:
    setup = prepared(cache_dir)
    few = evaluate(setup, "test", 7, "few", 0)
    many = evaluate(setup, "test", 130, "many", 0)
    for some, all_of_them in zip(few, many, strict=True):
        assert torch.equal(some.loss, all_of_them.loss[:7])
    assert len(many[0].loss) == 130


@pytest.mark.parametrize("algo", ["maml", "reptile"])
def test_the_chunk_does_not_matter(cache_dir: Path, algo: str) -> None:
    ends = [
        evaluate(
            prepared(cache_dir, f"algo={algo}", "batching=stacked", f"chunk={chunk}"),
            "test",
            9,
            "",
            0,
        )
        for chunk in (1, 4, 100)
    ]
    for one, four, hundred in zip(*ends, strict=True):
        assert torch.allclose(one.loss, four.loss, rtol=1e-4)
        assert torch.allclose(one.loss, hundred.loss, rtol=1e-4)


def test_tasks_depend_on_the_evaluation_s_seed_alone(cache_dir: Path) -> None:
    def tasks(*overrides: str) -> torch.Tensor:
        setup = prepared(cache_dir, *overrides)
        met, plain = [], setup.algorithm.adapt

        def adapt(batch: TaskBatch, *others: object) -> Iterator[Learner]:
            met.append(batch.query_x)
            return plain(batch, *others)

        setup.algorithm.adapt = adapt
        evaluate(setup, "test", 5, "", 0)
        return torch.cat(met)

    assert torch.equal(tasks("seed=1"), tasks("seed=2", "algo=reptile", "iterations=9"))
    assert not torch.equal(tasks(), tasks("eval.seed=1"))


def test_only_the_steps_that_are_asked_for_are_scored(cache_dir: Path) -> None:
    setup = prepared(cache_dir)
    every = evaluate(setup, "valid", 5, "", 0)
    last = evaluate(setup, "valid", 5, "", 3)
    assert (len(every), len(last)) == (4, 1)
    assert torch.equal(every[-1].loss, last[0].loss)


def test_a_row_of_metrics() -> None:
    scores = Scores(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.0]))
    row = metrics(scores, 5, "valid", 3, start=0.0, seconds=4.0)
    assert (row.iteration, row.split, row.adaptation_steps, row.tasks) == (5, "valid", 3, 2)
    assert (row.loss, row.accuracy, row.tasks_per_s) == (2.0, 0.75, 0.5)
    regression = metrics(Scores(scores.loss, None), 5, "valid", 3, 0.0, 4.0)
    assert (regression.accuracy, regression.accuracy_ci95) == (None, None)


def test_without_transduction_a_query_sees_the_support_set_and_no_other_query() -> None:
    torch.manual_seed(0)
    net = models.build(config("model=cnn4").model, (1, 16, 16), 3).double()
    tasks = image_tasks(dtype=torch.float64)
    learner = PerTask(copy.deepcopy(net))
    learner.stack(len(tasks))
    alone = predict(learner, tasks, net, transductive=False)
    together = predict(learner, tasks, net, transductive=True)
    for task in range(len(tasks)):
        for query in range(tasks.query_y.shape[1]):
            batch = torch.cat([tasks.support_x[task], tasks.query_x[task, query][None]])
            assert torch.allclose(alone[task, query], net(batch)[-1])
    assert together.shape == alone.shape
    assert not torch.allclose(together, alone)
