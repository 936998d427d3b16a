"""What a meta-test tells by class, against loops over its queries, and how runs write it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, choosing, config
from scipy import stats

from fewshot_cli.data.task import Judged, TaskBatch
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.training import by_class
from fewshot_cli.training.run import run

TASKS, WAYS, QUERIES, CLASSES = 1201, 3, 4, 7
TABLES = ["contents", "classes", "confusions", "calibration"]


def judged_at_random(shared: bool = False) -> Judged:
    draw = np.random.default_rng(0)
    if shared:  # then a task may lack a class
        truth = draw.integers(0, CLASSES, (TASKS, WAYS * QUERIES))
        taken = np.where(draw.random(truth.shape) < 0.5, truth, draw.integers(0, 5, truth.shape))
        classes = None
    else:
        truth = np.arange(WAYS).repeat(QUERIES) + np.zeros((TASKS, 1), np.int64)
        taken = np.where(draw.random(truth.shape) < 0.5, truth, draw.integers(0, WAYS, truth.shape))
        classes = draw.random((TASKS, CLASSES)).argsort(1)[:, :WAYS]
    sure = draw.random(truth.shape).astype(np.float32)
    return Judged(truth, taken, sure, classes, shared, None)


def queries(told: Judged) -> pd.DataFrame:
    """A row for each query, with its class and what it was taken for."""
    rows = []
    for task, (truth, taken) in enumerate(zip(told.truth, told.taken, strict=True)):
        for one, two in zip(truth.tolist(), taken.tolist(), strict=True):
            names = (one, two) if told.classes is None else told.classes[task, [one, two]].tolist()
            rows.append((task, *names))
    return pd.DataFrame(rows, columns=["task", "class", "judged_as"])


@pytest.mark.parametrize("shared", [False, True])
def test_pairs_are_counted_where_they_could_occur(shared: bool) -> None:
    told = judged_at_random(shared)
    if not shared:  # a class that is never judged right
        assert told.classes is not None
        lost = (np.take_along_axis(told.classes, told.truth, 1) == 6) & (told.truth == told.taken)
        told.taken[lost] = (told.taken[lost] + 1) % WAYS
    table = queries(told)
    count = Counter(zip(table["class"], table.judged_as, strict=True))
    there = table.groupby("task")["class"].agg(set)
    found = {(one, two): numbers for one, two, *numbers in by_class.confusions(told)}
    assert found.keys() == count.keys() | {(each, each) for each in range(CLASSES)}
    for (one, two), (times, of, tasks) in found.items():
        met = [task for task, some in there.items() if one in some and (shared or two in some)]
        asked = table[table.task.isin(met) & (table["class"] == one)]
        assert (times, of, tasks) == (count[one, two], len(asked), len(met))


@pytest.mark.parametrize("shared", [False, True])
def test_a_class_has_the_mean_over_its_tasks_with_student_s_interval(shared: bool) -> None:
    told = judged_at_random(shared)
    _, of, there, right = by_class.by_task(told)
    table = queries(told)
    table["right"] = table["class"] == table.judged_as
    assert len(of) == table.groupby(["task", "class"]).ngroups
    for each, tasks, count, mean, half in by_class.by_class(of, there, right / there):
        mine = table[table["class"] == each]
        values = mine.groupby("task").right.mean()
        assert (tasks, count) == (len(values), len(mine))
        low, high = stats.t.interval(0.95, tasks - 1, values.mean(), stats.sem(values))
        assert (mean - half, mean + half) == pytest.approx((low, high), abs=1e-12)


def test_the_calibration_error_is_the_mean_gap_over_queries() -> None:
    told = judged_at_random()
    told.confidence[0, :2] = 0.0, 1.0
    rows, error = by_class.calibration(told)
    sure, right = told.confidence.ravel(), (told.truth == told.taken).ravel()
    gap, seen = 0.0, 0
    for place, (low, high, count, confidence, accuracy) in enumerate(rows):
        assert low is not None
        assert high is not None
        here = (sure > low) & (sure <= high) | ((sure == 0) & (place == 0))
        assert count == int(here.sum())
        assert (confidence, accuracy) == pytest.approx((sure[here].mean(), right[here].mean()))
        gap += abs(right[here].mean() - sure[here].astype(float).mean()) * here.sum() / len(sure)
        seen += int(here.sum())
    assert (len(rows), seen) == (15, len(sure))
    assert error == pytest.approx(gap, abs=1e-7)


def test_what_is_sure_and_right_has_no_error_and_what_diverged_has_none_to_tell() -> None:
    labels = torch.arange(2).repeat(3, 1)
    x = torch.zeros(3, 2, 1)
    tasks = TaskBatch(x, labels, x, labels, labels)
    (told,) = by_class.judged(60.0 * torch.eye(2).expand(3, 2, 2), tasks)
    assert by_class.calibration(told)[1] == pytest.approx(0)
    (told,) = by_class.judged(torch.full((3, 2, 2), torch.nan), tasks)
    assert by_class.calibration(told)[1] is None
    assert (
        by_class.judged(torch.zeros(3, 2, 1), TaskBatch(x, labels.float(), x, labels.float())) == ()
    )


@pytest.mark.parametrize("data", ["glyphs", "folder", "table", "python"])
def test_the_files_of_a_run_agree_with_its_tasks(
    tmp_path: Path, cache_dir: Path, data: str
) -> None:
    chosen = config("model=mlp", *TINY, *choosing(data, cache_dir.parent))
    chosen.cache_dir = str(cache_dir)
    directory = RunDirectory(tmp_path)
    run(chosen, directory)
    contents, classes, confusions, calibration = (
        pd.read_csv(tmp_path / f"test_{name}.csv") for name in TABLES
    )
    tasks = pd.read_csv(directory.test_tasks)
    last = tasks[tasks.adaptation_steps == tasks.adaptation_steps.max()]
    assert contents.groupby("task").accuracy.mean().tolist() == pytest.approx(
        last.accuracy.tolist(), abs=1e-6
    )
    # Three ways with two queries each in six tasks.
    assert (contents.queries == 2).all()
    assert classes.queries.sum() == confusions["count"].sum() == calibration.queries.sum() == 36
    known = pd.read_csv(directory.splits) if chosen.data.counted else None
    if known is not None:
        assert {*classes["class"]} <= {*known[known.split == "test"]["class"]}
    right = confusions[confusions["class"] == confusions.judged_as]
    assert right["count"].sum() == pytest.approx(last.accuracy.sum() * 6)
    gap = (calibration.accuracy - calibration.confidence).abs() * calibration.queries
    test = directory.read(directory.summary)["test"]
    assert test["expected_calibration_error"] == pytest.approx(gap.sum() / 36)
    assert test["calibration_bins"] == len(calibration) == 15


def test_tasks_that_are_there_by_name_have_it_beside_the_classes_that_they_share(
    tmp_path: Path, own_cache: None
) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"who": [f"p{row // 12:02}" for row in range(240)]})
    frame["x"] = draw.normal(size=240)
    frame["state"] = np.where(frame.x > 0, "ill", "well")
    frame.to_csv(tmp_path / "t.csv", index=False)
    words = ["data=table", f"data.root='{tmp_path / 't.csv'}'", "data.task=who", "data.label=state"]
    run(config(*words, "model=mlp", *TINY, "ways=1", "shots=4"), RunDirectory(tmp_path / "run"))
    contents = pd.read_csv(tmp_path / "run" / "test_contents.csv")
    test = pd.read_csv(tmp_path / "run" / "splits.csv").query("split == 'test'")["class"]
    groups = contents.groupby("task").group.unique().str[0]
    assert {*groups[:4]} == {*test}  # each once before one comes again
    assert {*contents["class"]} == {"ill", "well"}


def test_without_an_identity_of_classes_only_the_calibration_is_left(
    tmp_path: Path, own_cache: None
) -> None:
    (tmp_path / "drawn.py").write_text(
        "import numpy as np\n"
        "def draw(split, tasks, shape, generator):\n"
        "    found = {}\n"
        "    for name, each in (('support', shape.shots), ('query', shape.queries)):\n"
        "        y = np.tile(np.arange(shape.ways).repeat(each), (tasks, 1))\n"
        "        found[f'{name}_x'] = y[..., None] + generator.normal(size=(*y.shape, 2))\n"
        "        found[f'{name}_y'] = y\n"
        "    return found\n"
    )
    words = ["data=python", f"data.module='{tmp_path / 'drawn.py'}'", "data.trust=true"]
    run(config(*words, "model=mlp", *TINY), RunDirectory(tmp_path / "run"))
    written = {path.name for path in (tmp_path / "run").glob("test_*")}
    assert written == {"test_tasks.csv", "test_calibration.csv"}


def test_an_evaluation_leaves_what_the_run_s_own_test_left(tmp_path: Path, own_cache: None) -> None:
    from fewshot_cli.commands.evaluate import evaluate

    run(config("model=mlp", *TINY), directory := RunDirectory(tmp_path / "run"))
    evaluate(directory.path, [])
    (again,) = (directory.path / "evaluations").iterdir()
    for name in TABLES:
        file = f"test_{name}.csv"
        assert (again / file).read_bytes() == (directory.path / file).read_bytes()
