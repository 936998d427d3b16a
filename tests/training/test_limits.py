"""Each limit ends meta-training in order; past it a run goes on as though it had not been there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Command
from helpers import TINY, config, outcome

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import identity
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training import checkpoints, evaluation, limits, state
from fewshot_cli.training.run import run
from fewshot_cli.training.setup import Setup

HOURS = 1e5  # more than the limits of these tests, in seconds
LENGTH = ["iterations=12", "log_every=3", "eval.every=4"]


def small(*overrides: str) -> Config:
    return config("model=mlp", "data=sinusoid", *TINY, "ways=1", *LENGTH, *overrides)


def recorded(chosen: Config, path: Path) -> Path:
    directory = RunDirectory(path)
    with directory.recorded():
        run(chosen, directory)
    return path


def left(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / f"{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(small(), tmp_path_factory.mktemp("untouched") / "run")


class Clock:
    """Gives the time of a run, and jumps ahead by hours when told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead, self.patch = 0.0, patch
        fake = SimpleNamespace(monotonic=lambda: time.monotonic() + self.ahead)
        patch.setattr(state, "time", fake)

    def jump_in_update(self, iteration: int) -> None:
        plain, drawn = Setup.train_tasks, [0]

        def train_tasks(setup: Setup, generator: torch.Generator) -> object:
            drawn[0] += 1
            self.ahead += HOURS * (drawn[0] == iteration)
            return plain(setup, generator)

        self.patch.setattr(Setup, "train_tasks", train_tasks)

    def jump_in_validation(self, which: int) -> None:
        plain, begun = evaluation.generator, [0]

        def generator(seed: int, purpose: str) -> torch.Generator:
            begun[0] += purpose == "valid tasks"
            self.ahead += HOURS * (purpose == "valid tasks" and begun[0] == which)
            return plain(seed, purpose)

        self.patch.setattr(evaluation, "generator", generator)


@pytest.mark.parametrize(
    ("where", "ends", "tested"),
    [
        (("update", 2), 2, 2),  # before the first meta-validation
        (("update", 4), 4, 4),  # the meta-validation is still to be made
        (("update", 6), 6, 4),
        (("validation", 1), 4, 4),
        (("validation", 3), 12, None),
    ],
)
def test_the_time_is_over(
    tmp_path: Path,
    untouched: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[str, int],
    ends: int,
    tested: int | None,
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "run"
    {"update": clock.jump_in_update, "validation": clock.jump_in_validation}[where[0]](where[1])
    recorded(small("limits.seconds=50000"), path)
    monkeypatch.undo()
    summary, status = left(path, "summary"), left(path, "status")
    assert status == {"status": "completed", "error": None, "stopped": "limits.seconds=50000"}
    assert (summary["iterations"], summary["stopped"]) == (ends, "limits.seconds=50000")
    assert summary["test"]["iteration"] in ((tested,) if tested else (4, 8))
    assert (pd.read_csv(path / "metrics.csv").split == "test").any()
    assert outcome(recorded(small("limits.seconds=1000000"), path)) == outcome(untouched)
    assert "stopped" not in left(path, "status")


@pytest.mark.parametrize("which", ["patience", "target"])
def test_meta_validations_end_it(tmp_path: Path, which: str) -> None:
    """Where the rows of a run without the limit say so."""
    rough = ["eval.every=1", "algo.meta_lr=0.05", "algo.meta_schedule=constant"]
    plain = recorded(small(*rough), tmp_path / "plain")
    valid = pd.read_csv(plain / "metrics.csv").query("split == 'valid'")
    losses = valid.loss.tolist()
    best = [loss == min(losses[: place + 1]) for place, loss in enumerate(losses)]
    if which == "patience":
        ends = next(i + 1 for i in range(2, 12) if not any(best[i - 1 : i + 1]))
        limit = "limits.patience=2"
    else:
        first, second, *_ = [place for place, is_best in enumerate(best) if is_best]
        ends = second + 1
        limit = f"limits.target={(losses[first] + losses[second]) / 2:g}"
    assert ends < 12  # else nothing is tried here
    path = recorded(small(*rough, limit), tmp_path / "run")
    summary = left(path, "summary")
    assert (summary["iterations"], summary["stopped"]) == (ends, limit)
    assert left(path, "status")["stopped"] == limit
    assert summary["test"]["iteration"] == 1 + losses.index(min(losses[:ends]))
    # As it stands it is over; without the limit it goes on.
    again = outcome(path)
    assert outcome(recorded(small(*rough, limit), path)) == again
    assert outcome(recorded(small(*rough), path)) == outcome(plain)


def test_a_limit_is_that_of_the_measure() -> None:
    curves, letters = small("limits.target=0.5"), config("limits.target=0.5")
    assert limits.reached(curves, 0.0, -0.6, 0) is None  # a squared error of 0.6
    assert limits.reached(curves, 0.0, -0.4, 0) == "limits.target=0.5"
    assert limits.reached(letters, 0.0, 0.4, 0) is None
    assert limits.reached(letters, 0.0, 0.5, 0) == "limits.target=0.5"
    assert limits.reached(letters, 0.0, None, 0) is None


def test_a_limit_is_part_of_what_a_run_is_as_its_length_is() -> None:
    plain, limited = small(), small("limits.patience=3")
    assert identity.of(plain, "job").keys() ^ identity.of(limited, "job").keys() == {
        "limits.patience"
    }
    assert identity.of(plain, "compare") != identity.of(limited, "compare")
    assert identity.of(plain, "resume") == identity.of(limited, "resume")
    assert {f"limits.{name}" for name in ("seconds", "patience", "target")} <= identity.may_change(
        "resume"
    )


def test_a_checkpoint_that_counts_no_meta_validations_goes_on(
    tmp_path: Path, untouched: Path
) -> None:
    path = recorded(small("limits.seconds=1e-9"), tmp_path / "run")
    last = path / "checkpoints" / "last.pt"
    content = checkpoints.read(last)
    del content["training"]["worse"], content["format"]
    checkpoints.write(last, content)
    assert outcome(recorded(small(), path)) == outcome(untouched)


def test_no_accuracy_is_above_1() -> None:
    with pytest.raises(UserError, match=r"limits.target=95: expected an accuracy, above 0 to 1"):
        config("limits.target=95")


@pytest.mark.slow
def test_a_run_under_a_time_limit_leaves_tested_figures(fewshot: Command, tmp_path: Path) -> None:
    """And goes on from there, as a job would in the next hours that it gets."""
    words = ["data=sinusoid", "model=mlp", *TINY, "ways=1", "iterations=1000000"]
    words = [*words, "eval.every=50", "algo.meta_schedule=constant", "threads=1"]
    done = fewshot("train", *words, "limits.seconds=2", "run.dir=run")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    summary = left(run, "summary")
    made = summary["iterations"]
    assert 0 < made < 1000000
    assert summary["test"]["steps"]
    assert f"Meta-training ends at iteration {made} of 1000000: limits.seconds=2" in done.stderr
    assert f"Meta-training ended at iteration {made}: limits.seconds=2" in done.stdout
    more = fewshot("resume", "run", "limits.seconds=3")
    assert more.returncode == 0, more.stderr
    assert left(run, "summary")["iterations"] > made
    assert left(run, "summary")["seconds"] < 60
    # A best checkpoint that is damaged costs a line, and the run stays what it was.
    (run / "checkpoints" / "best.pt").write_bytes(b"damaged")
    done = fewshot("resume", "run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert left(run, "status")["status"] == "completed"
