from __future__ import annotations

import json
import shutil
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
from conftest import Command
from filelock import FileLock
from helpers import TINY, config

from fewshot_cli.plots.destination import Destination
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.run import run
from fewshot_cli.verbs import described


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """A folder of two runs that TensorBoard followed."""
    folder = tmp_path_factory.mktemp("followed")
    for seed in (1, 2):
        words = ["model=mlp", *TINY, f"seed={seed}", "tracker=tensorboard"]
        directory = RunDirectory(folder / "sweep" / f"seed={seed}")
        with directory.recorded():
            run(config(*words, f"cache_dir={cache_dir}"), directory)
    return folder


def shown(path: Path) -> tuple[set[str], set[str]]:
    """The names of the pictures and the texts that TensorBoard has of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    return set(tags["images"]), {name.removesuffix("/text_summary") for name in tags["tensors"]}


def test_a_picture_goes_to_the_tracker_of_the_run_that_it_is_of(
    fewshot: Command, runs: Path
) -> None:
    done = fewshot("plot", "confusion", "sweep/seed=1", "--track", cwd=runs)
    assert (done.returncode, done.stdout) == (0, "Picture: confusion.png\n"), done.stderr
    assert done.stderr.splitlines()[-1] == "Shown in tensorboard: confusion of sweep/seed=1"
    assert shown(runs / "sweep" / "seed=1")[0] == {"confusion"}
    assert not shown(runs / "sweep" / "seed=2")[0]


def test_what_several_runs_share_is_shown_in_a_run_of_their_folder(
    fewshot: Command, runs: Path
) -> None:
    drawn = fewshot("plot", "curves", "sweep", "--out", "both.svg", "--track", cwd=runs)
    assert drawn.returncode == 0, drawn.stderr
    compared = fewshot("compare", "sweep", "--track", cwd=runs)
    assert compared.returncode == 0, compared.stderr
    pictures, texts = shown(runs / "sweep")
    assert pictures == {"both", "accuracy", "learning", "steps", "cost"}
    assert texts == {"comparison", "status"}


@pytest.mark.parametrize("picture", sorted(described("plots")))
def test_every_picture_takes_the_option(picture: str) -> None:
    module = import_module(f"fewshot_cli.plots.{picture}")
    assert "track" in signature(getattr(module, picture)).parameters


def test_what_cannot_be_tracked_costs_a_line(runs: Path, tmp_path: Path) -> None:
    tracked, picture = runs / "sweep" / "seed=2", tmp_path / "p.png"
    untracked, busy = tmp_path / "untracked", tmp_path / "busy"
    for copy in (untracked, busy):
        shutil.copytree(tracked, copy)
    text = (untracked / "config.yaml").read_text()
    (untracked / "config.yaml").write_text(text.replace("tensorboard", "none"))
    with pytest.raises(UserError, match="untracked has no tracker; expected a run that was trai"):
        Destination(picture, [untracked], track=True)
    (busy / "status.json").write_text(json.dumps({"status": "running"}))
    with FileLock(busy / ".lock"), pytest.raises(UserError, match="busy still runs; expected"):
        Destination(picture, [busy], track=True)
    with pytest.raises(UserError, match=r"no run in it; expected folders with a status\.json"):
        Destination(picture, [tmp_path / "busy" / "checkpoints"], track=True)
    Destination(picture, [untracked], track=False)
