"""Tests of fewshot_cli/trackers/, each with the real library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import TINY, config, names

from fewshot_cli import trackers
from fewshot_cli.runs.directory import Metrics, RunDirectory
from fewshot_cli.settings.choices import function
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training.run import run
from fewshot_cli.training.setup import Setup

SETTING = ["model=mlp", *TINY]
MLFLOW = "the extra mlflow is not installed: `make extras` does it"


def tracked(tmp_path: Path, cache_dir: Path, *words: str) -> tuple[Config, pd.DataFrame]:
    """A tiny run with a tracker, and its metrics.csv."""
    asked = config(*SETTING, f"cache_dir={cache_dir}", *words)
    run(asked, RunDirectory(tmp_path / "run"))
    return asked, pd.read_csv(tmp_path / "run" / "metrics.csv")


class Ended(Exception):  # noqa: N818
    """Stands for whatever ends a run in its second meta-update."""


ENDS = [  # what ends it; what MLflow calls that; how status.json says it
    (None, "FINISHED", "completed"),
    (Ended("the loss is nan"), "FAILED", "failed: the loss is nan"),
    (KeyboardInterrupt(), "KILLED", "interrupted: interrupted from the keyboard"),
    (SystemExit(143), "KILLED", "interrupted: told to stop by a signal"),
]


def ended(
    run_directory: Path,
    cache_dir: Path,
    patch: pytest.MonkeyPatch,
    end: BaseException | None,
    *words: str,
) -> None:
    """A tiny run with a tracker, which `end` ends early."""
    plain, drawn = Setup.train_tasks, [0]

    def train_tasks(setup: Setup, generator: torch.Generator) -> object:
        drawn[0] += 1
        if end is not None and drawn[0] == 2:
            raise end
        return plain(setup, generator)

    patch.setattr(Setup, "train_tasks", train_tasks)
    directory = RunDirectory(run_directory)
    asked = config(*SETTING, f"cache_dir={cache_dir}", *words)
    with suppress(SystemExit, KeyboardInterrupt), directory.recorded():
        run(asked, directory)


@pytest.mark.parametrize(("end", "name", "said"), ENDS)
def test_tensorboard_hears_how_the_run_ended(
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException | None,
    name: str,
    said: str,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ended(tmp_path / "run", cache_dir, monkeypatch, end, "tracker=tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    (event,) = events.Tensors("status/text_summary")
    assert [text.decode() for text in event.tensor_proto.string_val] == [said]
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert said in (f"{status['status']}: {status['error']}", status["status"])


@pytest.mark.parametrize(("end", "name", "said"), ENDS)
def test_mlflow_hears_how_the_run_ended(
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException | None,
    name: str,
    said: str,
) -> None:
    mlflow = pytest.importorskip("mlflow", reason=MLFLOW)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = "tracker=mlflow", f"tracker.uri={uri}"
    ended(tmp_path / "run", cache_dir, monkeypatch, end, *words)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("fewshot").experiment_id])
    assert found.info.status == name
    assert found.data.tags.get("why") == (said.partition(": ")[2] or None)


def test_tensorboard_has_the_rows_of_the_csv(tmp_path: Path, cache_dir: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, table = tracked(tmp_path, cache_dir, "tracker=tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for split, x in (("train", "iteration"), ("valid", "iteration"), ("test", "adaptation_steps")):
        rows = table[table.split == split]
        for figure in ("loss", "accuracy"):
            found = [(event.step, event.value) for event in events.Scalars(f"{split}/{figure}")]
            assert [step for step, _ in found] == rows[x].tolist()
            assert [value for _, value in found] == pytest.approx(rows[figure].tolist(), rel=1e-6)


def test_mlflow_has_the_rows_and_the_settings(tmp_path: Path, cache_dir: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason=MLFLOW)
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    for place in ("one", "two"):  # the second finds the experiment there
        words = "tracker=mlflow", f"tracker.uri={uri}"
        _, table = tracked(tmp_path / place, cache_dir, *words)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("fewshot").experiment_id
    found = client.search_runs([experiment])
    assert len(found) == 2
    assert found[0].info.status == "FINISHED"
    assert found[0].data.params["algo.inner_lr"] == "0.4"
    history = client.get_metric_history(found[0].info.run_id, "valid/accuracy")
    rows = table[table.split == "valid"]
    assert [entry.step for entry in history] == rows.iteration.tolist()
    assert [entry.value for entry in history] == pytest.approx(rows.accuracy.tolist())


@pytest.mark.parametrize("name", sorted(set(names("tracker")) - {"none"}))
def test_a_tracker_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("torch.utils.tensorboard", "mlflow"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UserError, match=rf"tracker={name}: not installed; .*fewshot\[{name}\]"):
        function("trackers", name, "start")(config(f"tracker={name}"), tmp_path)


def test_a_tracker_that_fails_leaves_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def add(self, rows: Sequence[Metrics]) -> None:
            raise ConnectionError("no\nserver")

        def close(self, status: str, why: str | None) -> None:
            raise ConnectionError("still no server")

    monkeypatch.setattr("fewshot_cli.trackers.none.Nothing", Broken)
    directory = RunDirectory(tmp_path)
    directory.begin(config())
    row = Metrics(1, "valid", 1, 2, 0.5, 0.1, 0.7, 0.1, 1.0, 2.0)
    with trackers.following(config(), directory):
        directory.add([row])
        directory.add([row])
    assert len(pd.read_csv(directory.metrics)) == 2
    assert capsys.readouterr().err == "fewshot: tracker=none: no server; left out\n"


def test_a_tracker_that_fails_in_the_end_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def close(self, status: str, why: str | None) -> None:
            raise ConnectionError(f"{status}, {why}: no server")

    monkeypatch.setattr("fewshot_cli.trackers.none.Nothing", Broken)
    with pytest.raises(Ended), trackers.following(config(), RunDirectory(tmp_path)):
        raise Ended("the loss is nan")
    said = "fewshot: tracker=none: failed, the loss is nan: no server; left out\n"
    assert capsys.readouterr().err == said
