from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import TINY, TOGETHER, config, image_tasks, names
from scipy import stats

from fewshot_cli import models
from fewshot_cli.algorithms.base import Learner
from fewshot_cli.data.task import Scores, TaskBatch
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.stacking import PerTask
from fewshot_cli.training import evaluation
from fewshot_cli.training.evaluation import evaluate, mean_ci95, metrics, predict, scored_steps
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
    few = evaluate(setup, "test", 7, "few", range(4))
    many = evaluate(setup, "test", 130, "many", range(4))
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
            range(4),
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
        evaluate(setup, "test", 5, "", [0])
        return torch.cat(met)

    assert torch.equal(tasks("seed=1"), tasks("seed=2", "algo=reptile", "iterations=9"))
    assert not torch.equal(tasks(), tasks("eval.seed=1"))


def test_only_the_steps_that_are_asked_for_are_scored(cache_dir: Path) -> None:
    setup = prepared(cache_dir)
    every = evaluate(setup, "valid", 5, "", range(4))
    some = evaluate(setup, "valid", 5, "", [1, 3])
    assert (len(every), len(some)) == (4, 2)
    for step, one in zip((1, 3), some, strict=True):
        assert torch.equal(one.loss, every[step].loss)


@pytest.mark.parametrize(
    ("told", "steps"),
    [
        ([], [0, 1, 5]),
        (["eval.score_steps=all"], [0, 1, 2, 3, 4, 5]),
        (["eval.score_steps=[3]"], [3, 5]),
        (["eval.score_steps=[]"], [5]),
        (["algo.eval_steps=0"], [0]),
    ],
)
def test_which_steps_a_meta_test_scores(told: list[str], steps: list[int]) -> None:
    assert scored_steps(config("algo.eval_steps=5", *told)) == steps


def test_published_steps_are_scored_whatever_else_is_asked_for() -> None:
    chosen = config("experiment=sinusoid_maml", "eval.score_steps=[2]")
    assert chosen.published is not None
    assert scored_steps(chosen) == [1, 2, 5, 10]


@pytest.mark.parametrize("told", ["[6]", "[-1]", "[1.5]", "some", "3", "[true]", "{a: 1}"])
def test_steps_that_are_none_of_a_test_are_refused_in_a_line(told: str) -> None:
    with pytest.raises(UserError, match=r"eval.score_steps=.*: expected all, or a list of numbers"):
        config("algo.eval_steps=5", f"eval.score_steps={told}")


def test_a_row_of_metrics() -> None:
    scores = Scores(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.0]))
    row = metrics(scores, 5, "valid", 3, start=0.0, seconds=4.0)
    assert (row.iteration, row.split, row.adaptation_steps, row.tasks) == (5, "valid", 3, 2)
    assert (row.loss, row.accuracy, row.tasks_per_s) == (2.0, 0.75, 0.5)
    regression = metrics(Scores(scores.loss, None), 5, "valid", 3, 0.0, 4.0)
    assert (regression.accuracy, regression.accuracy_ci95) == (None, None)


NORMED = ["cnn4 channels=8", "cnn4_pool channels=4", "resnet12 channels=4", "mlp norm=true"]


@pytest.mark.parametrize("model", NORMED)
@pytest.mark.parametrize(
    ("shots", "at_once"),
    [(1, 2**20), (1, 1), (7, 2**20)],  # all queries in a pass, or one; few images in it, or many
)
def test_without_transduction_a_query_sees_the_support_set_and_no_other_query(
    monkeypatch: pytest.MonkeyPatch, model: str, shots: int, at_once: int
) -> None:
    """Each task and query by itself, through torch's own layers, is the truth."""
    monkeypatch.setitem(evaluation.AT_ONCE, "cpu", at_once)
    tasks = image_tasks(shots=shots, dtype=torch.float64)
    torch.manual_seed(0)
    name, key = model.split()
    chosen = config(f"model={name}", f"model.{key}").model
    nets = [models.build(chosen, (1, 16, 16), 3) for _ in range(len(tasks))]
    own = [list(net.double().parameters()) for net in nets]
    learner = PerTask(copy.deepcopy(nets[0]))
    learner.stack(len(tasks))
    learner.take([torch.stack(weights) for weights in zip(*own, strict=True)])
    with torch.no_grad():
        alone = predict(learner, tasks, nets[0], transductive=False)
        together = predict(learner, tasks, nets[0], transductive=True)
        for task, net in enumerate(nets):
            for query in range(tasks.query_y.shape[1]):
                batch = torch.cat([tasks.support_x[task], tasks.query_x[task, query][None]])
                assert torch.allclose(alone[task, query], net(batch)[-1])
    assert together.shape == alone.shape
    assert not torch.allclose(together, alone)


@pytest.mark.parametrize("algo", [name for name in names("algo") if name not in TOGETHER])
def test_every_algorithm_scores_each_query_alone(cache_dir: Path, algo: str) -> None:
    """As if the queries were tested one by one, each in a test of its own."""
    setup = prepared(cache_dir, f"algo={algo}", "model=cnn4", "model.channels=4")
    tasks = setup.source.sample("test", 2, setup.test_shape, torch.Generator().manual_seed(0))
    *_, learner = setup.algorithm.adapt(tasks, 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = predict(learner, tasks, setup.algorithm.net, transductive=False)
        for query, outputs in zip(tasks.query_x.unbind(1), alone.unbind(1), strict=True):
            own = learner(torch.cat([tasks.support_x, query[:, None]], 1))[:, -1]
            assert torch.allclose(outputs, own, rtol=1e-3, atol=1e-4)
