"""What a run is: one definition for what resumes it, names its job and groups it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from helpers import TINY, config, little_folder, names

from fewshot_cli.settings import choices
from fewshot_cli.settings.identity import (
    COUNTS,
    FINGERPRINT,
    PLACES,
    flat,
    identity,
    may_change,
    of,
    tasks,
)
from fewshot_cli.settings.schema import Role, keys, recorded

KNOWN = keys(choices.all_keys())


def changed(key: str) -> tuple[dict[str, object], dict[str, object]]:
    """The settings of a run, and those of one in which the key has another value."""
    settings = dict(flat(recorded(config(*choosing(key)))))
    return settings, settings | {key: "another"}


def choosing(key: str) -> list[str]:
    """The choice whose kind has a key of its own."""
    group, _, name = key.partition(".")
    if group not in choices.CODE or name in keys(choices.CODE[group][1]):
        return []
    for option in choices.options(group):
        if name in keys(choices.own_keys(group, option.content()["kind"])):
            no_images = ["model=mlp"] if option.name in ("table", "python") else []
            return [f"{group}={option.name}", *no_images]
    return []


@pytest.mark.parametrize("use", COUNTS)
@pytest.mark.parametrize("key", KNOWN)
def test_a_key_counts_by_its_role(key: str, use: str) -> None:
    here, there = changed(key)
    role = KNOWN[key].role
    counts = identity(here, use) != identity(there, use)
    if key in (*PLACES, FINGERPRINT):
        assert counts is (use != ("job" if key == FINGERPRINT else "resume"))
    else:  # what leaves the weights as they are is no matter for a checkpoint
        assert counts is (role in COUNTS[use] and (KNOWN[key].bits or use != "resume"))


def test_every_key_of_a_run_can_be_changed_afterwards_or_counts_for_its_resume() -> None:
    counted = {key for key, known in KNOWN.items() if known.role in COUNTS["resume"]}
    rest = {key for key, known in KNOWN.items() if known.role in (Role.fact, Role.label)}
    fixed = {"tracker.name", "tracker.kind"}  # places, chosen as a group
    assert set(KNOWN) == counted | may_change("resume") | rest | fixed
    assert counted & may_change("resume") == {"eval.checkpoint", "ranks", "rank_timeout"}


def test_the_default_of_a_key_does_not_count_wherever_it_comes_from() -> None:
    settings = dict(flat(recorded(config("algo=reptile"))))
    assert "algo.meta_clip" in settings  # the file lists it, with the schema's default
    assert "algo.meta_clip" not in identity(settings, "job")
    assert identity(settings | {"algo.layers": "all", "model.hidden": ""}, "job") == identity(
        settings, "job"
    )
    # Values in YAML files are no defaults.
    assert identity(settings, "job")["algo.inner_lr"] == 0.001


def test_a_config_and_what_it_records_are_the_same_run(tmp_path: Path) -> None:
    from fewshot_cli.compare.runs_read import read
    from fewshot_cli.runs.directory import RunDirectory

    for algo in names("algo"):
        chosen = config(f"algo={algo}", "model=fc")
        directory = RunDirectory(tmp_path / algo)
        directory.begin(chosen)
        settings = read(directory.path).settings
        for use in COUNTS:
            assert identity(settings, use) == of(chosen, use)


def test_what_is_not_read_is_not_recorded() -> None:
    mlp = recorded(config("model=mlp"))
    assert not {"downsample", "channels", "features"} & set(mlp["model"])
    assert not {"colour", "root", "augment", "rotations"} & set(mlp["data"])
    assert "inner_batch" not in mlp["algo"]
    assert recorded(config("algo=reptile"))["algo"]["inner_batch"] == 10


def test_where_images_lie_is_no_other_test_and_what_they_are_is() -> None:
    here = dict(flat(recorded(config("data=folder", "data.root=/here"))))
    there = here | {"data.root": "/there"}
    assert tasks(here) != tasks(there)  # nobody knows what is in them
    assert tasks(here | {"data.fingerprint": "a"}) == tasks(there | {"data.fingerprint": "a"})
    assert tasks(here | {"data.fingerprint": "a"}) != tasks(here | {"data.fingerprint": "b"})
    assert tasks(here | {"data.augment.flip": True}) == tasks(here)
    assert tasks(here | {"algo.inner_lr": 7.0, "seed": 3}) == tasks(here)


def test_a_saved_kind_that_is_a_path_reads_no_file(tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text("class A(AlgoConfig):\n    raise SystemExit\n")
    assert choices.own_keys("algo", str(evil.with_suffix(""))) is choices.CODE["algo"][1]


@pytest.mark.slow
def test_own_keys_are_read_without_torch(fewshot: Command) -> None:
    done = fewshot("train", "algo=imaml", "--cfg", "job", "algo.cg_steps=7")
    assert done.returncode == 0, done.stderr
    assert "  cg_steps: 7\n" in done.stdout
    for words, message in (
        (["algo.cg_steps=0"], "algo.cg_steps=0: expected a finite number above 0"),
        (["algo.cg_steps=x"], "algo.cg_steps: Value 'x' of type 'str' could not be converted"),
        (["algo.cg_stepz=3"], "algo.cg_stepz: no such key; expected algo.cg_steps"),
    ):
        done = fewshot("train", "algo=imaml", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"fewshot: {message}")
    done = fewshot("train", "algo=maml", "algo.cg_steps=3")
    assert "algo.cg_steps: algo=maml does not read it" in done.stderr


@pytest.mark.slow
def test_data_that_moved_is_the_same_data(fewshot: Command, tmp_path: Path) -> None:
    little_folder(tmp_path / "here")
    shares = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    small = ["data=folder", "data.image_size=16", "model=mlp", *shares, *TINY]
    sweep = ["train", "-m", "seed=1,2", *small, "sweep.dir=sweep"]
    assert fewshot(*sweep, "data.root=here").returncode == 0
    shutil.move(tmp_path / "here", tmp_path / "there")

    done = fewshot(*sweep, "data.root=there")
    assert "2 jobs are complete already" in done.stderr, done.stderr
    done = fewshot("train", "algo=fomaml", *small, "data.root=there", "run.dir=other")
    assert done.returncode == 0, done.stderr
    assert fewshot("compare", "sweep", "other", "--csv", "table.csv").returncode == 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.test.tolist() == ["A", "A"]
    assert sorted(table.seeds) == [1, 2]

    # A resumed run finds the same images elsewhere, and refuses others.
    (job,) = (tmp_path / "sweep").glob("seed=1_*")
    done = fewshot("resume", str(job), "data.root=there", "iterations=6")
    assert done.returncode == 0, done.stderr
    next((tmp_path / "there").rglob("*.png")).unlink()
    before = json.loads((job / "status.json").read_text())
    done = fewshot("resume", str(job), "data.root=there", "iterations=8")
    assert done.returncode == 2
    assert "holds other images than when the run began" in done.stderr
    assert json.loads((job / "status.json").read_text()) == before


def test_a_run_that_has_the_net_under_its_old_name_is_the_same_run() -> None:
    now = dict(flat(recorded(config("model=fc"))))
    then = {name: value for name, value in now.items() if name != "model.norm"}
    then |= {"model.kind": "fc", "model.images_only": False, "model.smallest_image": 2}
    for use in COUNTS:
        assert identity(then, use) == identity(now, use)
        assert identity(now, use) != identity(now | {"model.norm": False}, use)


@pytest.mark.slow
def test_lists_of_images_are_told_apart_and_may_move(fewshot: Command, tmp_path: Path) -> None:
    root = little_folder(tmp_path / "here")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    for name, drop in (("a", 0), ("b", 1)):
        rows = [f"{path},{path.rpartition('/')[0]}" for path in paths[drop:]]
        (root / f"{name}.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    small = ["data=folder", "data.image_size=8", "model=mlp", *TINY]
    sweep = ["train", "-m", *small, "sweep.dir=sweep"]
    done = fewshot(*sweep, "data.labels=here/a.csv,here/b.csv")
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / "sweep").glob("data.labels=*")]) == 2
    shutil.move(root, tmp_path / "there")
    done = fewshot(*sweep, "data.labels=there/a.csv,there/b.csv")
    assert "2 jobs are complete already" in done.stderr, done.stderr

    (job,) = (tmp_path / "sweep").glob("data.labels=here_a.csv*")
    words = [str(job), "data.root=there", "iterations=6"]
    done = fewshot("resume", *words, "data.labels=there/a.csv")
    assert done.returncode == 0, done.stderr
    done = fewshot("resume", *words, "data.labels=there/b.csv")
    assert "holds other images than when the run began" in done.stderr
    there = ["data.root=there", "data.labels=there/b.csv", "data.split=test"]
    done = fewshot("evaluate", str(job), *there, "ways=2")
    assert "Left out 6 classes that the run was trained or validated on\n" in done.stderr
