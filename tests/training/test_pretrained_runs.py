"""Runs on backbones: features from the cache, weights of another run, another domain."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Command
from helpers import TINY, little_folder, outcome

from fewshot_cli.inference import adapt
from fewshot_cli.inference.model import Judge

LITE0 = ["model=lite0", "model.image_size=32"]
RANDOM = ["model=timm", "model.backbone=test_efficientnet", "model.weights=none"]


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    root = little_folder(tmp_path / "photos")
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    return ["data=folder", f"data.root={root}", *thirds]


def summary(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.slow
def test_a_picture_of_its_tasks_shows_images(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    run = tmp_path / "run"
    assert fewshot("train", *photos, *LITE0, *TINY, "algo=ncm", f"run.dir={run}").returncode == 0
    for words in (["--predictions", str(run)], [*photos, *LITE0, "ways=3"]):
        done = fewshot("plot", "episode", *words)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_another_domain_is_tested_at_the_backbone_s_size(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    run = tmp_path / "run"
    assert fewshot("train", *photos, *LITE0, *TINY, "algo=ridge", f"run.dir={run}").returncode == 0
    other = little_folder(tmp_path / "others", classes=4)
    done = fewshot("evaluate", str(run), f"data.root={other}", "data.split=test", "ways=4")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ncm", "ridge", "logistic", "soft_kmeans"])
def test_heads_are_a_meta_test_and_no_more(
    fewshot: Command, tmp_path: Path, photos: list[str], algo: str
) -> None:
    run = tmp_path / "run"
    done = fewshot("train", *photos, *LITE0, *TINY, f"algo={algo}", f"run.dir={run}")
    assert done.returncode == 0, done.stderr
    assert "Meta-training" not in done.stderr
    table = pd.read_csv(run / "metrics.csv")
    assert set(table.split) == {"test"}
    assert table.accuracy_ci95.notna().all()
    again = fewshot("evaluate", str(run), "eval.tasks=12", "ways=2")
    assert again.returncode == 0, again.stderr
    assert "Computing features" not in again.stderr  # they are there


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", "3", "norm", "none"])
def test_a_run_goes_on_to_the_same_bits(
    fewshot: Command, tmp_path: Path, photos: list[str], freeze: str
) -> None:
    wanted = [*photos, *RANDOM, "model.image_size=32", f"model.freeze={freeze}", *TINY]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run, iterations in ((whole, 4), (parts, 2)):
        done = fewshot(
            *("train", *wanted, f"iterations={iterations}", "algo.meta_schedule=constant"),
            f"run.dir={run}",
        )
        assert done.returncode == 0, done.stderr
    done = fewshot("resume", str(parts), "iterations=4")
    assert done.returncode == 0, done.stderr
    whole_outcome, parts_outcome = outcome(whole), outcome(parts)
    for name in ("last weights and state", "test_tasks.csv"):
        assert whole_outcome[name] == parts_outcome[name]
    state = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    if freeze == "all":
        assert [weight.shape[0] for weight in state["net"].values()] == [3, 3]


@pytest.mark.parametrize("statistics", ["batch", "support"])
def test_the_summary_says_whose_statistics(
    fewshot: Command, tmp_path: Path, photos: list[str], statistics: str
) -> None:
    run = tmp_path / "run"
    wanted = [*photos, *RANDOM, "model.image_size=32", "model.freeze=none", *TINY]
    done = fewshot("train", *wanted, f"model.statistics={statistics}", f"run.dir={run}")
    assert done.returncode == 0, done.stderr
    test = summary(run)["test"]
    assert isinstance(test, dict)
    assert test["batch_norm"] == statistics


@pytest.mark.slow
def test_other_frozen_weights_than_the_run_s_are_refused(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    import timm

    file, run = tmp_path / "mine.pth", tmp_path / "run"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    wanted = [*photos, *RANDOM[:2], f"model.weights={file}", "model.image_size=32", *TINY]
    done = fewshot("train", *wanted, "algo=ncm", f"run.dir={run}")
    assert done.returncode == 0, done.stderr
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    done = fewshot("evaluate", str(run))
    assert done.returncode == 2
    assert "the frozen weights are others than when the run began" in done.stderr


def test_a_run_begins_with_the_weights_of_another(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    small = [*photos, *TINY, "model.channels=8"]
    assert fewshot("train", *small, f"run.dir={first}").returncode == 0
    done = fewshot("train", *small, "algo=ncm", f"init={first}", f"run.dir={second}")
    assert done.returncode == 0, done.stderr
    before, after = (
        torch.load(run / "checkpoints" / "best.pt", weights_only=True)["net"]
        for run in (first, second)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    # The head has another shape there, the body the same.
    file = first / "checkpoints" / "last.pt"
    done = fewshot(
        "train", *small, "algo=finetune", "iterations=0", f"init={file}", f"run.dir={third}"
    )
    assert done.returncode == 0, done.stderr
    first.rename(tmp_path / "elsewhere")
    done = fewshot("evaluate", str(second))  # which has all that it needs
    assert done.returncode == 0, done.stderr
    done = fewshot("train", *small, f"init={first}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"fewshot: init={first}: expected a run directory")


@pytest.mark.slow
def test_a_frozen_body_of_another_run_is_there_again(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    small = [*photos, *RANDOM, "model.image_size=32", *TINY]
    done = fewshot("train", *small, "model.freeze=none", "algo.inner_lr=0.01", f"run.dir={first}")
    assert done.returncode == 0, done.stderr
    done = fewshot("train", *small, "algo=ncm", f"init={first}", f"run.dir={second}")
    assert done.returncode == 0, done.stderr
    done = fewshot("evaluate", str(second))
    assert done.returncode == 0, done.stderr
    (evaluated,) = (second / "evaluations").iterdir()
    both = [(run / "test_tasks.csv").read_bytes() for run in (second, evaluated)]
    assert both[0] == both[1]
    body = first / "checkpoints" / "best.pt"
    learned = torch.load(body, weights_only=True)["net"]
    model = adapt(second, tmp_path / "photos" / "gruppe 0", overrides=[])
    assert isinstance(model.judge, Judge)
    assert torch.equal(model.judge.net.state_dict()["1.weight"], learned["1.weight"])
    first.rename(tmp_path / "elsewhere")
    done = fewshot("evaluate", str(second))
    assert done.returncode == 2
    assert done.stderr.startswith(f"fewshot: init={first}: expected a run directory")


def test_the_weights_of_another_network_are_refused(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    first = tmp_path / "first"
    assert fewshot("train", *photos, *TINY, "model.channels=8", f"run.dir={first}").returncode == 0
    done = fewshot("train", *photos, *TINY, f"init={first}", "--dry-run")
    assert done.returncode == 2, done.stderr
    assert "has shape (8, 3, 3, 3), expected (64, 3, 3, 3) for this model" in done.stderr


def test_a_size_of_the_data_is_not_read_beside_a_backbone(
    fewshot: Command, photos: list[str]
) -> None:
    done = fewshot("train", *photos, "model=lite0", "data.image_size=84")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "fewshot: data.image_size: model=lite0 has a size of its own; expected model.image_size"
    )


@pytest.mark.slow
def test_a_sweep_over_backbones_heads_and_algorithms(
    fewshot: Command, tmp_path: Path, photos: list[str]
) -> None:
    sweep = tmp_path / "sweep"
    words = [
        *("train", "-m", *photos, *TINY, "model=lite0,cnn4", "algo=ncm,fomaml"),
        *("model.image_size=32", f"sweep.dir={sweep}"),
    ]
    done = fewshot(*words)
    assert done.returncode == 0, done.stderr
    again = fewshot(*words, "--dry-run")
    assert "0 of 4" in again.stdout + again.stderr
    table = pd.read_csv(sweep / "comparison.csv")
    assert len(table) == 4
