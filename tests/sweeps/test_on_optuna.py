"""Studies of Optuna's: real ones, in SQLite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Command
from helpers import TINY
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from fewshot_cli.settings.errors import UserError
from fewshot_cli.sweeps import study as studies
from fewshot_cli.sweeps.on_optuna import distribution

EARLIER = Path(__file__).with_name("optuna_2.10.1.db")
RATES = FloatDistribution(0.01, 0.1, log=True)
SEARCH = [
    *("train", "-m", "data=sinusoid", "model=mlp", *TINY, "ways=1", "threads=1", "sweep.dir=s"),
    *("hydra/sweeper=optuna", "algo.inner_lr=tag(log,interval(0.01,0.1))"),
]


def trials(sweep: Path) -> list[FrozenTrial]:
    study = optuna.load_study(study_name="fewshot", storage=f"sqlite:///{sweep / 'optuna.db'}")
    return study.get_trials()


def status(sweep: Path, trial: FrozenTrial) -> dict[str, Any]:
    folder = sweep / trial.user_attrs["folder"]
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


@pytest.mark.parametrize(
    ("word", "drawn"),
    [
        ("x=interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("x=tag(log,interval(0.1,2.0))", FloatDistribution(0.1, 2.0, log=True)),
        ("x=int(interval(1,8))", IntDistribution(1, 8)),
        ("x=tag(log,int(interval(1,8)))", IntDistribution(1, 8, log=True)),
        ("x=range(1,9,2)", IntDistribution(1, 9, step=2)),
        ("x=range(0.5,2,0.5)", FloatDistribution(0.5, 2.0, step=0.5)),
        ("x=1,0.5,a,null,true", CategoricalDistribution([1, 0.5, "a", "null", True])),
    ],
)
def test_what_is_drawn_for_an_override(word: str, drawn: object) -> None:
    assert distribution(OverridesParser.create().parse_override(word)) == drawn


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hydra.sweeper.sampler=tpee", "expected tpe"),
        ("hydra.sweeper.pruner=medium", "expected median"),
        ("hydra.sweeper.n_trials=0", "expected a number above 0"),
    ],
)
def test_a_wrong_word_is_one_line(word: str, expected: str) -> None:
    with pytest.raises(UserError, match=rf"^{word}: {expected}$"):
        studies.check(["hydra/sweeper=optuna", word])


def test_every_word_is_one_of_optuna_s_own(tmp_path: Path) -> None:
    samplers = sorted({*studies.SAMPLERS} - {"cmaes"})  # of another package
    for sampler, pruner in zip(samplers, studies.PRUNERS, strict=True):
        study = studies.opened(f"sqlite:///{tmp_path / 'db'}", "x", sampler, 1, pruner)
        assert type(study.sampler).__name__ == studies.SAMPLERS[sampler]
        assert type(study.pruner).__name__ == studies.PRUNERS[pruner]


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database")
    with pytest.raises(UserError, match=r"^hydra.sweeper.storage=sqlite:.*optuna.db: .*database"):
        studies.opened(f"sqlite:///{tmp_path / 'optuna.db'}", "fewshot")


@pytest.mark.slow
def test_the_folder_of_an_earlier_release_goes_on(fewshot: Command, tmp_path: Path) -> None:
    """Its database is that of Hydra's plugin, with Optuna 2.10."""
    sweep = tmp_path / "s"
    sweep.mkdir()
    shutil.copy(EARLIER, sweep / "optuna.db")
    done = fewshot(*SEARCH, "hydra.sweeper.n_trials=1")  # within other bounds than before
    assert done.returncode == 0, done.stderr
    assert "was of an earlier Optuna" in done.stderr
    assert (sweep / "optuna.db.before_upgrade").read_bytes() == EARLIER.read_bytes()
    *before, mine = trials(sweep)
    assert [trial.value for trial in before[:2]] == [0.5, 0.6]
    assert mine.state is TrialState.COMPLETE
    assert 0.01 <= mine.params["algo.inner_lr"] <= 0.1


@pytest.mark.slow
def test_another_search_space_is_one_line(fewshot: Command, tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    sweep.mkdir()
    study = studies.opened(f"sqlite:///{sweep / 'optuna.db'}", "fewshot")
    study.tell(study.ask({"algo.inner_lr": RATES}), 0.5)
    words = [word for word in SEARCH if not word.startswith("algo.inner_lr")]
    done = fewshot(*words, "algo.inner_lr=0.1,0.2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("fewshot: algo.inner_lr: the study fewshot searched Float")
    assert [trial.state for trial in trials(sweep)] == [TrialState.COMPLETE]


@pytest.mark.slow
def test_a_poor_trial_is_pruned_and_tested(fewshot: Command, tmp_path: Path) -> None:
    """By five trials, each better at every meta-validation than any real one."""
    sweep = tmp_path / "s"
    sweep.mkdir()
    study = studies.opened(f"sqlite:///{sweep / 'optuna.db'}", "fewshot")
    for number in range(5):
        study.add_trial(
            create_trial(
                params={"algo.inner_lr": 0.02 * (number + 1)},
                distributions={"algo.inner_lr": RATES},
                value=-1e-9,
                intermediate_values={2: -1e-9, 4: -1e-9, 6: -1e-9},
            )
        )
    words = ["hydra.sweeper.pruner=median", "hydra.sweeper.n_trials=1", "iterations=6"]
    done = fewshot(*SEARCH, *words)
    assert done.returncode == 0, done.stderr
    assert "Meta-training ends at iteration 2 of 6: pruned" in done.stderr
    assert "1 of 1 jobs completed" in done.stdout
    mine = trials(sweep)[-1]
    assert (mine.state, list(mine.intermediate_values)) == (TrialState.PRUNED, [2])
    assert status(sweep, mine) == {"status": "completed", "error": None, "stopped": "pruned"}
    folder = sweep / mine.user_attrs["folder"]
    assert json.loads((folder / "summary.json").read_text())["test"]["iteration"] == 2
    done = fewshot("resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 6


@pytest.mark.slow
def test_a_failed_job_is_a_failed_trial(fewshot: Command, tmp_path: Path) -> None:
    words = [word for word in SEARCH if not word.startswith("algo.inner_lr")]
    done = fewshot(*words, "algo.inner_lr=1e30,1e29", "hydra.sweeper.n_trials=1")
    assert done.returncode == 1
    assert [trial.state for trial in trials(tmp_path / "s")] == [TrialState.FAIL]
    assert "0 of 1 jobs completed" in done.stdout


def begun(folder: Path, cache_dir: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fewshot_cli", *SEARCH, *words],
        cwd=folder,
        env=os.environ | {"FEWSHOT_CACHE": str(cache_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_trial(
    fewshot: Command, tmp_path: Path, cache_dir: Path
) -> None:
    words = ["iterations=300", "eval.every=50", "hydra.sweeper.n_trials=1"]
    search = begun(tmp_path, cache_dir, *words)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("s/*/checkpoints/last.pt")) and search.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    search.send_signal(signal.SIGKILL)
    search.communicate()
    while trials(tmp_path / "s")[0].state is not TrialState.RUNNING:  # its child ends by itself
        time.sleep(0.1)
    time.sleep(2)
    done = fewshot(*SEARCH, *words)
    assert done.returncode == 0, done.stderr
    (trial,) = trials(tmp_path / "s")
    assert trial.state is TrialState.COMPLETE
    assert len(list(tmp_path.glob("s/trial=*"))) == 1


@pytest.mark.slow
def test_two_commands_work_on_one_study(tmp_path: Path, cache_dir: Path) -> None:
    both = [begun(tmp_path, cache_dir, "hydra.sweeper.n_trials=2") for _ in range(2)]
    for search in both:
        said = search.communicate(timeout=200)[1]
        assert search.returncode == 0, said
    found = trials(tmp_path / "s")
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 4
    assert len({trial.params["algo.inner_lr"] for trial in found}) == 4
    assert len(list(tmp_path.glob("s/trial=*"))) == 4
