"""Tests of fewshot_cli/compare/comparison.py and settings.py on runs that stand on the disk."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import fake, sweep

from fewshot_cli.compare.comparison import Comparison, compare, write_csv
from fewshot_cli.compare.paired import difference
from fewshot_cli.compare.runs_read import find, read
from fewshot_cli.settings.errors import UserError


def compared(folder: Path, **options: object) -> Comparison:
    return compare([read(path) for path in find([folder])], **options)  # type: ignore[arg-type]


def test_runs_that_differ_only_in_their_seed_are_one_setting(tmp_path: Path) -> None:
    comparison = compared(sweep(tmp_path / "s"))
    assert [len(setting.runs) for setting in comparison.settings] == [3, 3, 3, 3]
    assert comparison.left == []
    best, second = comparison.settings[:2]
    assert [run.settings["seed"] for run in best.runs] == [1, 2, 3]
    assert best.mean == pytest.approx(0.8, abs=0.002)
    assert best.mean == pytest.approx(sum(run.by_step[1] for run in best.runs) / 3)
    assert second.against == difference(second.values, best.values)


def test_the_best_comes_first_and_the_verdicts_are_with_it(tmp_path: Path) -> None:
    table = compared(sweep(tmp_path / "s")).table()
    assert list(table["algo.name"]) == ["maml", "fomaml", "maml", "fomaml"]
    assert list(table["algo.inner_lr"]) == [0.4, 0.4, 0.1, 0.1]
    assert list(table["verdict"]) == ["best", "worse", "worse", "worse"]
    assert table["difference"][1] == pytest.approx(-0.05, abs=0.002)
    assert all(table["p"][1:] <= 0.05)


def test_only_settings_that_differ_are_shown_and_not_what_follows_from_a_name(
    tmp_path: Path,
) -> None:
    # first_order differs too, but each algorithm has one value of it.
    assert compared(sweep(tmp_path / "s")).varied == ["algo.name", "algo.inner_lr"]


@pytest.mark.parametrize("key", ["device", "cache_dir", "record_paths", "tracker.uri"])
def test_what_does_not_change_a_run_does_not_make_another_setting(tmp_path: Path, key: str) -> None:
    fake(tmp_path / "a", {key: "x"})
    fake(tmp_path / "b", {key: "y", "seed": 2})
    comparison = compared(tmp_path)
    assert [len(setting.runs) for setting in comparison.settings] == [2]
    assert comparison.varied == []


def test_1_and_true_and_the_word_1_are_three_settings(tmp_path: Path) -> None:
    for name, value in {"a": 1, "b": True, "c": "1"}.items():
        fake(tmp_path / name, {"algo.inner_steps": value})
    assert len(compared(tmp_path).settings) == 3


def test_what_has_no_figures_is_listed_and_not_averaged(tmp_path: Path) -> None:
    fake(tmp_path / "good", {"seed": 1}, 0.8)
    fake(tmp_path / "failed", {"seed": 2}, status="failed", error="the loss is nan")
    fake(tmp_path / "running", {"seed": 3}, status="running")
    fake(tmp_path / "interrupted", {"seed": 4}, status="interrupted")
    (fake(tmp_path / "damaged", {"seed": 5}, 0.1) / "summary.json").write_text("{")
    (fake(tmp_path / "cut", {"seed": 6}, 0.1) / "test_tasks.csv").write_text("task\n")
    fake(tmp_path / "repeated", {"seed": 1}, 0.1)
    comparison = compared(tmp_path)
    (setting,) = comparison.settings
    assert setting.mean == pytest.approx(0.8, abs=0.002)
    left = {run.path.name: (run.status, run.error) for run in comparison.left}
    assert left == {
        "failed": ("failed", "the loss is nan"),
        "running": ("interrupted", "its process was killed"),
        "interrupted": ("interrupted", None),
        "damaged": ("damaged", "summary.json is missing or damaged"),
        "cut": ("damaged", "test_tasks.csv is missing or damaged"),
        "repeated": ("not counted", f"the same settings and seed as {tmp_path / 'good'}"),
    }
    table = comparison.table()
    assert table["status"][0] == "completed"
    assert table["mean"].notna().sum() == 1


@pytest.mark.parametrize(
    "other",
    [{"eval.seed": 1}, {"eval.queries": 5}, {"ways": 20}, {"shots": 5}, {"data.name": "omniglot"}],
)
def test_nothing_is_compared_between_other_tasks(tmp_path: Path, other: dict[str, object]) -> None:
    for seed in (1, 2):
        fake(tmp_path / f"a{seed}", {"seed": seed}, 0.8)
        fake(tmp_path / f"b{seed}", {"seed": seed} | other, 0.5)
    comparison = compared(tmp_path)
    assert [setting.verdict for setting in comparison.settings] == ["best", "best"]
    assert [setting.test for setting in comparison.settings] == ["A", "B"]
    assert [setting.against for setting in comparison.settings] == [None, None]
    assert "Tests A, B had other tasks" in comparison.caption


def test_other_augmentation_is_another_setting_of_the_same_test(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake(tmp_path / f"a{seed}", {"seed": seed, "data.augment.flip": True}, 0.8)
        fake(tmp_path / f"b{seed}", {"seed": seed, "data.augment.flip": False}, 0.5)
    comparison = compared(tmp_path)
    assert comparison.varied == ["data.augment.flip"]
    assert [setting.verdict for setting in comparison.settings] == ["best", "worse"]
    assert "other tasks" not in comparison.caption


def test_another_number_of_tasks_is_another_test(tmp_path: Path) -> None:
    fake(tmp_path / "a", tasks=8)
    fake(tmp_path / "b", tasks=9)
    assert [setting.test for setting in compared(tmp_path).settings] == ["A", "B"]


def test_without_steps_each_is_shown_after_its_last_and_with_them_after_as_many(
    tmp_path: Path,
) -> None:
    fake(tmp_path / "a", {"algo.inner_steps": 1}, 0.8, steps=1)
    fake(tmp_path / "b", {"algo.inner_steps": 3}, 0.8, steps=3)
    assert sorted(setting.steps for setting in compared(tmp_path).settings) == [1, 3]
    after_one = compared(tmp_path, steps=1).settings
    assert [setting.mean for setting in after_one] == pytest.approx([0.8, 0.6], abs=0.002)
    after_two = compared(tmp_path, steps=2)
    assert [setting.mean for setting in after_two.settings] == pytest.approx([0.7], abs=0.002)
    assert after_two.left[0].error == "has no results after 2 adaptation steps, at most 1"


def test_a_run_that_was_scored_after_some_steps_is_read_at_each_of_them(tmp_path: Path) -> None:
    fake(tmp_path / "some", {"algo.inner_lr": 0.1}, 0.8, steps=5, scored=[0, 1, 5])
    fake(tmp_path / "every", {"algo.inner_lr": 0.2}, 0.8, steps=5)
    for steps, mean in ((None, 0.8), (1, 0.4), (0, 0.3)):
        found = [setting.mean for setting in compared(tmp_path, steps=steps).settings]
        assert found == pytest.approx([mean] * 2, abs=0.002)
    (left,) = compared(tmp_path, steps=3).left
    assert left.error == (
        "has no results after 3 adaptation steps, only after 0, 1, 5: test it with "
        "eval.score_steps=[3]"
    )


def test_a_baseline_chosen_before_is_compared_with_each_other_one_only(tmp_path: Path) -> None:
    # The family is 3 comparisons and not 6 pairs, so no p is larger than with the best.
    folder = sweep(tmp_path / "s", seeds=2)
    chosen = compared(folder, baseline={"algo.name": "maml", "algo.inner_lr": "0.40"}).table()
    best = compared(folder).table()
    assert list(chosen["verdict"]) == ["baseline", "worse", "worse", "worse"]
    assert list(chosen["p"][1:] * 2) == pytest.approx(list(best["p"][1:]), rel=1)
    assert all(chosen["p"][1:] < best["p"][1:])
    worst = compared(folder, baseline={"algo.name": "fomaml", "algo.inner_lr": "0.1"}).table()
    assert list(worst["verdict"]) == ["better", "better", "better", "baseline"]
    assert worst["difference"][0] == pytest.approx(-chosen["difference"][3])


def test_a_baseline_that_is_none_or_several_is_refused(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "s", seeds=1)
    with pytest.raises(UserError, match=r"--baseline algo\.name=anil: no setting has that"):
        compared(folder, baseline={"algo.name": "anil"})
    with pytest.raises(UserError, match=r"2 settings have that; add one of algo\.inner_lr"):
        compared(folder, baseline={"algo.name": "maml"})


def test_a_single_seed_has_an_interval_over_tasks_and_says_so(tmp_path: Path) -> None:
    comparison = compared(sweep(tmp_path / "s", seeds=1))
    table = comparison.table()
    assert list(table["over"][1:]) == ["tasks"] * 3
    assert all(math.isnan(each) for each in table["ci95_seeds"])
    assert "over the tasks of these runs" in comparison.caption


def test_of_a_regression_the_least_loss_is_the_best(tmp_path: Path) -> None:
    for name, loss in (("a", 1.0), ("b", 0.5)):
        path = fake(tmp_path / name, {"data.kind": "sinusoid", "model.name": name})
        for file in ("test_tasks.csv", "summary.json"):
            text = (path / file).read_text()
            text = text.replace(",1.0,", f",{loss},").replace('"loss": 1.0', f'"loss": {loss}')
            (path / file).write_text(text)
    table = compared(tmp_path).table()
    assert (list(table["measure"]), list(table["mean"])) == (["loss"] * 2, [0.5, 1.0])
    assert list(table["verdict"]) == ["best", "worse"]
    assert list(table["rmse"]) == pytest.approx([0.5**0.5, 1.0])


def test_figures_that_are_not_finite_come_last_and_are_not_judged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = fake(tmp_path / name, {"data.kind": "sinusoid", "model.name": name})
        if name == "a":
            tasks = path / "test_tasks.csv"
            tasks.write_text(tasks.read_text().replace(",1.0,", ",nan,"))
    table = compared(tmp_path).table()
    assert list(table["model.name"]) == ["b", "a"]
    assert list(table["verdict"]) == ["best", "not known"]


def test_nothing_completed_is_a_comparison_too(tmp_path: Path) -> None:
    fake(tmp_path / "a", status="failed")
    comparison = compared(tmp_path)
    assert (comparison.settings, comparison.caption) == ([], "No run is completed.")


def test_the_csv_of_a_sweep_holds_the_same_figures(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "s")
    write_csv([folder], tmp_path / "comparison.csv")
    written = pd.read_csv(tmp_path / "comparison.csv")
    table = compared(folder).table()
    assert list(written.columns) == list(table.columns)
    assert list(written["mean"]) == list(table["mean"])
    assert list(written["p"][1:]) == list(table["p"][1:])
