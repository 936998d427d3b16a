from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from helpers import TINY, UNTRAINED, choosing, config, each_value, little_folder, names, pairs

from fewshot_cli.runs import result
from fewshot_cli.runs.directory import COLUMNS, RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training.dry_run import dry_run
from fewshot_cli.training.run import RunDivergedError, run

TIMES = ["elapsed_s", "tasks_per_s"]
BY_CLASS = [f"test_{name}.csv" for name in ("contents", "classes", "confusions", "calibration")]


def configured(cache_dir: Path, *overrides: str) -> Config:
    chosen = config(*overrides)
    chosen.cache_dir = str(cache_dir)
    return chosen


def small(cache_dir: Path, algo: str, data: str = "glyphs", *overrides: str) -> Config:
    setting = [*TINY, *choosing(data, cache_dir.parent)]
    return configured(cache_dir, "model=mlp", f"algo={algo}", *setting, *overrides)


@pytest.mark.parametrize(
    ("data", "algo"), each_value(pair for pair in pairs() if "omni" not in pair[0])
)
def test_a_run_leaves_every_file_of_the_contract(
    tmp_path: Path, cache_dir: Path, algo: str, data: str
) -> None:
    chosen = small(cache_dir, algo, data)
    directory = RunDirectory(tmp_path / "run")
    with directory.recorded():
        run(chosen, directory)
    assert {path.name for path in directory.path.iterdir()} == {
        *("config.yaml", "metrics.csv", "test_tasks.csv", "summary.json", "status.json"),
        *("checkpoints", ".lock"),
        *([] if data == "sinusoid" else BY_CLASS),
        *(["splits.csv"] if chosen.data.counted else []),
        *(["data.json"] if data == "table" else []),
    }
    kept = {"best.pt", "last.pt"} | ({"previous.pt"} if algo not in UNTRAINED else set())
    assert {path.name for path in directory.checkpoints.iterdir()} == kept
    assert yaml.safe_load(directory.config.read_text())["algo"]["name"] == algo

    metrics = pd.read_csv(directory.metrics)
    assert list(metrics.columns) == COLUMNS
    steps = chosen.algo.eval_steps
    test = metrics[metrics.split == "test"]
    assert test.adaptation_steps.tolist() == sorted({0, min(1, steps), steps})
    assert (test.tasks == 6).all()
    trained = metrics[metrics.split == "train"]
    valid = metrics[metrics.split == "valid"]
    if algo not in UNTRAINED:
        assert trained.iteration.tolist() == [2, 4]
        assert (trained.tasks == 6).all()
        assert valid.iteration.tolist() == [2, 4]
        assert (valid.adaptation_steps == steps).all()
    else:
        assert trained.empty
        assert valid.empty
    assert metrics.accuracy.isna().all() == (data == "sinusoid")

    tasks = pd.read_csv(directory.test_tasks)
    assert list(tasks.columns) == ["task", "adaptation_steps", "loss", "accuracy"]
    by_step = tasks.groupby("adaptation_steps")
    assert by_step.loss.mean().tolist() == pytest.approx(test.loss.tolist(), rel=1e-6)

    summary = json.loads(directory.summary.read_text())
    assert (summary["algo"], summary["data"], summary["seed"]) == (algo, data, 1)
    assert summary["test"]["tasks"] == 6
    found = [step["loss"] for step in summary["test"]["steps"]]
    assert found == pytest.approx(test.loss.tolist())
    assert json.loads(directory.status.read_text())["status"] == "completed"


def weights(directory: RunDirectory) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(directory.checkpoints / "last.pt")["net"]
    return found


@pytest.mark.parametrize("algo", names("algo"))
def test_the_same_config_gives_the_same_bits(tmp_path: Path, cache_dir: Path, algo: str) -> None:
    ends = []
    for name in ("one", "two"):
        directory = RunDirectory(tmp_path / name)
        run(small(cache_dir, algo), directory)
        table = pd.read_csv(directory.metrics, dtype=str).drop(columns=TIMES)
        ends.append((table.to_csv(), directory.test_tasks.read_bytes(), weights(directory)))
    assert ends[0][:2] == ends[1][:2]
    for name, weight in ends[0][2].items():
        assert torch.equal(weight, ends[1][2][name])


def test_another_seed_trains_differently_but_meets_the_same_test_tasks(
    tmp_path: Path, cache_dir: Path
) -> None:
    one, two = RunDirectory(tmp_path / "1"), RunDirectory(tmp_path / "2")
    run(small(cache_dir, "maml"), one)
    run(small(cache_dir, "maml", "glyphs", "seed=2"), two)
    assert not torch.equal(weights(one)["1.weight"], weights(two)["1.weight"])


def test_the_best_checkpoint_is_the_one_that_validated_best(
    tmp_path: Path, cache_dir: Path
) -> None:
    directory = RunDirectory(tmp_path / "run")
    run(small(cache_dir, "maml", "glyphs", "iterations=8", "algo.meta_lr=0.5"), directory)
    metrics = pd.read_csv(directory.metrics)
    valid = metrics[metrics.split == "valid"].reset_index()
    best = int(valid.iteration[valid.accuracy.idxmax()])
    assert torch.load(directory.checkpoints / "best.pt")["iteration"] == best
    assert json.loads(directory.summary.read_text())["test"]["iteration"] == best
    assert torch.load(directory.checkpoints / "last.pt")["iteration"] == 8


@pytest.mark.slow
def test_the_pace_leaves_out_meta_validation(tmp_path: Path, cache_dir: Path) -> None:
    """Rows whose iterations a validation interrupts show the pace of the others."""
    chosen = small(cache_dir, "maml", "sinusoid", "iterations=400", "log_every=30")
    chosen.eval.every, chosen.eval.valid_tasks, chosen.algo.eval_steps = 100, 3000, 40
    directory = RunDirectory(tmp_path / "run")
    run(chosen, directory)
    metrics = pd.read_csv(directory.metrics)
    pace = metrics[metrics.split == "train"].set_index("iteration").tasks_per_s
    interrupted = pace.loc[[120, 210, 330]]
    quiet = pace.loc[[60, 90, 150, 180, 240, 270, 360, 390]]
    assert 0.5 < interrupted.median() / quiet.median() < 2


def test_the_last_checkpoint_can_be_tested_instead(tmp_path: Path, cache_dir: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    run(small(cache_dir, "maml", "glyphs", "eval.checkpoint=last"), directory)
    test = json.loads(directory.summary.read_text())["test"]
    assert (test["checkpoint"], test["iteration"]) == ("last", 4)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, cache_dir: Path) -> None:
    chosen = small(cache_dir, "maml", "sinusoid", "algo.inner_lr=1e30", "iterations=50")
    with pytest.raises(RunDivergedError, match=r"task \d+ in iteration \d+ is (nan|inf).*inner_lr"):
        run(chosen, RunDirectory(tmp_path / "run"))


def test_adaptation_that_diverges_is_reported_as_such(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path / "run")
    run(small(cache_dir, "scratch", "sinusoid", "algo.inner_lr=1e30"), directory)
    result.show(directory)
    assert "not finite" in capsys.readouterr().out
    test = json.loads(directory.summary.read_text(), parse_constant=pytest.fail)["test"]
    assert test["steps"][0]["loss"] > 0
    assert test["steps"][-1]["loss"] is None


def test_a_validation_that_is_no_number_still_leaves_a_best_checkpoint(
    tmp_path: Path, cache_dir: Path
) -> None:
    directory = RunDirectory(tmp_path / "run")
    diverging = ["algo.inner_lr=1e4", "algo.inner_steps=1", "algo.eval_steps=60"]
    run(small(cache_dir, "fomaml", "sinusoid", *diverging, "iterations=1"), directory)
    metrics = pd.read_csv(directory.metrics)
    assert not metrics[metrics.split == "valid"].loss.abs().max() < float("inf")
    assert (directory.checkpoints / "best.pt").is_file()


def test_a_dry_run_writes_nothing(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for algo in names("algo"):
        done = "one adaptation" if algo in UNTRAINED else "one meta-update of 3 tasks"
        assert f"{done} works" in dry_run(small(cache_dir, algo))
    assert list(tmp_path.iterdir()) == []


def on_folder(cache_dir: Path, root: Path, *overrides: str) -> Config:
    smaller = ["data.image_size=8", "model=mlp", "algo=reptile", *TINY]
    return configured(cache_dir, "data=folder", f"data.root='{root}'", *smaller, *overrides)


def test_a_collection_with_too_few_classes_for_three_splits(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = little_folder(tmp_path / "photos", classes=7)
    run(on_folder(cache_dir, root), directory := RunDirectory(tmp_path / "run"))
    assert (
        "Meta-validation draws from the 4 classes of meta-train and only chooses the checkpoint; "
        "meta-test has 3 others\n"
    ) in capsys.readouterr().err
    table = pd.read_csv(directory.splits)
    assert table.columns.tolist() == ["class", "split"]
    assert table.split.tolist() == ["train"] * 4 + ["test"] * 3
    assert table["class"].nunique() == 7
    assert json.loads(directory.summary.read_text())["test"]["classes"] == 3
    settings = yaml.safe_load(directory.config.read_text())["data"]
    assert settings["least"] == 3

    # What it leaves says the same split again.
    named = on_folder(cache_dir, root, f"data.split_file='{directory.splits}'")
    run(named, again := RunDirectory(tmp_path / "again"))
    assert again.splits.read_bytes() == directory.splits.read_bytes()
    assert named.data.fingerprint == settings["fingerprint"]
    assert again.test_tasks.read_bytes() == directory.test_tasks.read_bytes()


def test_all_classes_are_for_the_test_where_nothing_is_trained(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = little_folder(tmp_path / "photos", classes=4)
    chosen = on_folder(cache_dir, root, "data.split=test", "algo=scratch")
    assert "one adaptation works" in dry_run(chosen)
    run(chosen, directory := RunDirectory(tmp_path / "run"))
    assert pd.read_csv(directory.splits).split.tolist() == ["test"] * 4
    assert json.loads(directory.summary.read_text())["test"]["classes"] == 4
    assert "Meta-validation" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"^data.split=test: leaves algo=maml no classes to train"):
        dry_run(on_folder(cache_dir, root, "data.split=test", "algo=maml"))

    rows = "".join(f"{name},test\n" for name in pd.read_csv(directory.splits)["class"])
    (tmp_path / "tests.csv").write_text(f"class,split\n{rows}", encoding="utf-8")
    of_file = f"data.split_file='{tmp_path / 'tests.csv'}'"
    run(on_folder(cache_dir, root, of_file, "algo=scratch"), RunDirectory(tmp_path / "again"))
    with pytest.raises(UserError, match=r"^ways=3: data=folder has 0 classes in its train split"):
        dry_run(on_folder(cache_dir, root, of_file))


@pytest.mark.slow
def test_maml_learns_sinusoids(tmp_path: Path, cache_dir: Path) -> None:
    chosen = configured(cache_dir, "data=sinusoid", "model=mlp", "iterations=600")
    directory = RunDirectory(tmp_path / "run")
    run(chosen, directory)
    steps = json.loads(directory.summary.read_text())["test"]["steps"]
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
