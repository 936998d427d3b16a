from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import TINY, config, little_folder

from fewshot_cli import data
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.training.met import classes_met
from fewshot_cli.training.run import run

SMALL = ["model=mlp", "algo=reptile", *TINY, "iterations=0"]


@pytest.fixture
def trained(tmp_path: Path, cache_dir: Path) -> RunDirectory:
    root = little_folder(tmp_path / "photos")
    chosen = config("data=folder", f"data.root='{root}'", "data.image_size=8", *SMALL)
    chosen.cache_dir = str(cache_dir)
    run(chosen, directory := RunDirectory(tmp_path / "run"))
    return directory


def met(directory: RunDirectory) -> set[str] | None:
    data._held.clear()  # as in a process of its own
    return classes_met(directory, compose.changed_config(directory.config, [], ()))


def as_an_early_release_left_it(directory: RunDirectory) -> None:
    directory.splits.unlink()
    settings = yaml.safe_load(directory.config.read_text())
    for key in ("least", "skip_broken"):
        del settings["data"][key]
    directory.config.write_text(yaml.safe_dump(settings))


@pytest.mark.usefixtures("own_cache")
def test_they_are_in_splits_csv_or_in_the_data(trained: RunDirectory) -> None:
    found = met(trained)
    assert found is not None
    assert len(found) == 6
    as_an_early_release_left_it(trained)
    assert met(trained) == found


@pytest.mark.usefixtures("own_cache")
def test_they_cannot_be_told_where_both_are_gone_or_changed(trained: RunDirectory) -> None:
    as_an_early_release_left_it(trained)
    photos = trained.path.parent / "photos"
    shutil.copytree(photos / "gruppe 0" / "klasse ä0", photos / "another")
    assert met(trained) is None
    shutil.rmtree(photos)
    assert met(trained) is None


@pytest.mark.usefixtures("own_cache")
def test_a_run_without_training_or_names_has_met_none(tmp_path: Path, cache_dir: Path) -> None:
    chosen = config(*SMALL)
    chosen.cache_dir = str(cache_dir)
    run(chosen, directory := RunDirectory(tmp_path / "glyphs"))
    assert not directory.splits.exists()
    assert met(directory) == set()
    root = little_folder(tmp_path / "photos")
    words = ["data=folder", f"data.root='{root}'", "data.image_size=8", *SMALL, "algo=scratch"]
    chosen = config(*words)
    chosen.cache_dir = str(cache_dir)
    run(chosen, directory := RunDirectory(tmp_path / "scratch"))
    assert directory.splits.exists()
    assert met(directory) == set()
