"""Tests of fewshot_cli/sweeps/directory.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import config

from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.sweeps.directory import SweepDirectory, digest, job_name


def test_a_job_is_known_by_what_its_config_says_not_by_how_it_was_said() -> None:
    assert digest(config("algo=maml", "algo.inner_lr=0.4")) == digest(config("algo.inner_lr=4e-1"))
    assert digest(config("cache_dir=/elsewhere", "tracker=tensorboard")) == digest(config())
    assert len({digest(config(f"seed={seed}")) for seed in range(20)}) == 20


def test_a_name_is_a_file_name_whatever_was_swept() -> None:
    name = job_name("data.root=/a b/ü,seed=1," + "x" * 500, config())
    assert name.startswith("data.root=_a_b_,seed=1,xxx")
    assert len(name) == 109
    assert job_name("", config()) == digest(config())


def test_a_job_keeps_its_folder_whatever_it_was_called(tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path)
    old, new = job_name("seed=1", config()), job_name("algo=maml,seed=1", config())
    other = job_name("seed=2", config("seed=2"))
    (tmp_path / old / ".hydra").mkdir(parents=True)
    wanted = [(new, config()), (other, config("seed=2"))]
    assert [run.path.name for run in sweep.folders(wanted, no_data)] == [old, other]


def no_data(config: Config) -> str:
    raise AssertionError("the data was looked at")


def test_a_sweep_goes_on_only_in_the_folder_of_a_sweep(tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path / "new" / "sweep")
    sweep.reserve()
    (sweep.path / "seed=1_12345678" / ".hydra").mkdir(parents=True)
    (sweep.path / "comparison.csv").touch()
    sweep.reserve()
    (sweep.path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds thesis\.tex, which is no job of a sweep"):
        sweep.reserve()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="expected a folder that can be made"):
        SweepDirectory(tmp_path / "file" / "x").reserve()
