"""Tests of fewshot_cli/trackers/, each with the real library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from helpers import TINY, config, names

from fewshot_cli import trackers
from fewshot_cli.config import Config, UserError
from fewshot_cli.kinds import call
from fewshot_cli.runs.directory import Metrics, RunDirectory
from fewshot_cli.training.run import run

SETTING = ["model=mlp", *TINY]


def tracked(tmp_path: Path, cache_dir: Path, *words: str) -> tuple[Config, pd.DataFrame]:
    """A tiny run with a tracker, and its metrics.csv."""
    asked = config(*SETTING, f"cache_dir={cache_dir}", *words)
    run(asked, RunDirectory(tmp_path / "run"))
    return asked, pd.read_csv(tmp_path / "run" / "metrics.csv")


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
    mlflow = pytest.importorskip(
        "mlflow", reason="the extra mlflow is not installed: `make extras` does it"
    )
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
        call("trackers", name, "start", config(f"tracker={name}"), tmp_path)


def test_a_tracker_that_fails_leaves_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def add(self, rows: Sequence[Metrics]) -> None:
            raise ConnectionError("no\nserver")

        def close(self) -> None: ...

    monkeypatch.setattr("fewshot_cli.trackers.none.Nothing", Broken)
    directory = RunDirectory(tmp_path)
    directory.begin(config())
    row = Metrics(1, "valid", 1, 2, 0.5, 0.1, 0.7, 0.1, 1.0, 2.0)
    with trackers.following(config(), directory):
        directory.add([row])
        directory.add([row])
    assert len(pd.read_csv(directory.metrics)) == 2
    assert capsys.readouterr().err == "fewshot: tracker=none: no server; left out\n"
