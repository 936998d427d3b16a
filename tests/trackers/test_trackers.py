"""Tests of fewshot_cli/trackers/, each with the real library."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import wandb_files
import yaml
from helpers import TINY, checked, config, names
from PIL import Image

from fewshot_cli import trackers
from fewshot_cli.runs.directory import Metrics, RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training.run import run
from fewshot_cli.training.setup import Setup

SETTING = ["model=mlp", *TINY]
WANDB = ["tracker=wandb", "tracker.mode=offline"]


def tracked(tmp_path: Path, cache_dir: Path, *words: str) -> tuple[Config, pd.DataFrame]:
    """A tiny run with a tracker, and its metrics.csv."""
    asked = config(*SETTING, f"cache_dir={cache_dir}", *words)
    directory = RunDirectory(tmp_path / "run")
    with directory.recorded():
        run(asked, directory)
    return asked, pd.read_csv(directory.metrics)


@pytest.fixture
def wandb_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's client, which writes nowhere else."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with MLflow's empty tables, which take it seconds to make."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path: Path, mlflow_store: Path) -> str:
    return f"sqlite:///{shutil.copy(mlflow_store, tmp_path / 'mlflow.db')}"


@pytest.fixture
def several(uri: str) -> list[str]:
    """The overrides for all trackers."""
    return ["tracker=[tensorboard,mlflow,wandb]", f"tracker.uri={uri}", *WANDB[1:]]


def in_mlflow(words: list[str]) -> tuple[Any, Any]:
    """Its client and the one run in its store."""
    (uri,) = (word.partition("=")[2] for word in words if word.startswith("tracker.uri="))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("fewshot").experiment_id])
    return client, found


Series = dict[str, list[tuple[int, float]]]


def series_of(table: pd.DataFrame) -> Series:
    """metrics.csv as trackers have it: `split/figure`, its steps and values."""
    found: Series = {}
    for split, x in (("train", "iteration"), ("valid", "iteration"), ("test", "adaptation_steps")):
        rows = table[table.split == split]
        for figure in ("loss", "loss_ci95", "accuracy", "accuracy_ci95"):
            found[f"{split}/{figure}"] = [*zip(rows[x], rows[figure], strict=True)]
    return found


def approximately(series: Series) -> Any:
    """float32 in TensorBoard's files."""
    return {
        name: [(x, pytest.approx(y, rel=1e-6)) for x, y in points]
        for name, points in series.items()
    }


def events_of(path: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    return events


def tensorboard_series(path: Path) -> Series:
    events = events_of(path)
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def mlflow_series(client: Any, run: Any) -> Series:
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


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


@pytest.mark.slow
@pytest.mark.parametrize(("end", "name", "said"), ENDS)
def test_mlflow_hears_how_the_run_ended(
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException | None,
    name: str,
    said: str,
    uri: str,
) -> None:
    from mlflow import MlflowClient

    words = "tracker=mlflow", f"tracker.uri={uri}"
    ended(tmp_path / "run", cache_dir, monkeypatch, end, *words)
    client = MlflowClient(tracking_uri=uri)
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


@pytest.mark.slow
def test_mlflow_has_the_rows_and_the_settings(tmp_path: Path, cache_dir: Path, uri: str) -> None:
    from mlflow import MlflowClient

    for place in ("one", "two"):  # the second finds the experiment there
        words = "tracker=mlflow", f"tracker.uri={uri}"
        _, table = tracked(tmp_path / place, cache_dir, *words)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("fewshot").experiment_id
    found = client.search_runs([experiment])
    assert len(found) == 2
    assert found[0].info.status == "FINISHED"
    assert found[0].data.params["algo.inner_lr"] == "0.4"
    history = client.get_metric_history(found[0].info.run_id, "valid/accuracy")
    rows = table[table.split == "valid"]
    assert [entry.step for entry in history] == rows.iteration.tolist()
    assert [entry.value for entry in history] == pytest.approx(rows.accuracy.tolist())


@pytest.mark.slow
def test_wandb_hears_how_the_run_ended(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, wandb_here: None
) -> None:
    end, _, said = ENDS[1]
    ended(tmp_path / "run", cache_dir, monkeypatch, end, *WANDB)
    (run,) = wandb_files.read(tmp_path / "run" / "wandb")
    status, _, why = said.partition(": ")
    assert (run.summary["status"], run.summary["why"]) == (status, why)
    assert run.exit_code == 1


@pytest.fixture
def drawn(tmp_path: Path) -> dict[str, Path]:
    """A picture of a grey and a red half, and a table."""
    files = {"halves": tmp_path / "halves.png", "rates": tmp_path / "rates.csv"}
    pixels = np.full((4, 6, 3), 128, np.uint8)
    pixels[:, 3:] = 255, 0, 0
    Image.fromarray(pixels).save(files["halves"])
    files["rates"].write_text("rate,name\n0.1,one\n,two\n")
    return files


LABELS = ["tags=['a, b','it\\'s']", "notes='two\nlines'", "group=ablation"]


@pytest.mark.slow
def test_several_trackers_have_the_same_figures_config_and_labels(
    tmp_path: Path,
    cache_dir: Path,
    wandb_here: None,
    several: list[str],
    drawn: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked, table = tracked(tmp_path, cache_dir, *several, "tracker.log_model=true", *LABELS)
    assert "wandb" not in "".join(capfd.readouterr()).lower()
    path = tmp_path / "run"
    truth = series_of(table)
    assert len(truth) == 3 * 4  # splits; loss, accuracy and their intervals

    assert tensorboard_series(path) == approximately(truth)
    (run,) = wandb_files.read(path / "wandb")
    assert run.series() == approximately(truth)

    saved = yaml.safe_load((path / "config.yaml").read_text())
    assert saved["tracker"]["kind"] == several[0].removeprefix("tracker=").strip("[]")
    told = events_of(path).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    here = yaml.safe_load(told.removeprefix("```yaml\n").removesuffix("```"))
    for config_there in (run.config, here):  # as far as a run knows it when it begins
        assert config_there["algo"] == saved["algo"]
        assert config_there["tags"] == ["a, b", "it's"]
    assert run.notes == "two\nlines"
    assert (run.tags, run.group, run.job_type) == (["a, b", "it's"], "ablation", "train")
    assert (run.project, run.name) == ("fewshot", "run")
    assert run.axes == {
        "train/*": "iteration",
        "valid/*": "iteration",
        "test/*": "adaptation_steps",
    }
    assert run.artifacts == {f"model-{run.id}": ["best.pt"]}
    assert run.exit_code == 0
    assert run.summary["status"] == "completed"
    there = in_mlflow(several)
    assert mlflow_series(*there) == approximately(truth)
    told_mlflow = there[1].data
    assert told_mlflow.params["algo.inner_lr"] == "0.4"
    labels = {"tags": "a, b, it's", "group": "ablation", "mlflow.note.content": "two\nlines"}
    assert told_mlflow.tags.items() >= (labels | {"status": "completed"}).items()

    # What is drawn later comes to the same run in each, and changes nothing else there.
    trackers.show(asked, path, drawn)
    events = events_of(path)
    (picture,) = events.Images("halves")
    shown = Image.open(io.BytesIO(picture.encoded_image_string))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(drawn["halves"])))
    (text,) = events.Tensors("rates/text_summary")
    lines = "| rate | name |\n| --- | --- |\n| 0.1 | one |\n|  | two |"
    assert text.tensor_proto.string_val[0].decode() == lines
    client, again = in_mlflow(several)
    kept = tmp_path / "mlartifacts" / again.info.run_id / "artifacts"
    assert {each.path for each in client.list_artifacts(again.info.run_id)} == {
        file.name for file in drawn.values()
    }
    for file in drawn.values():
        assert (kept / file.name).read_bytes() == file.read_bytes()
    assert (again.info.status, again.info.end_time) == ("FINISHED", there[1].info.end_time)
    assert mlflow_series(client, again) == approximately(truth)
    _, late = wandb_files.read(path / "wandb")
    assert (late.id, late.exit_code, late.rows) == (run.id, 0, {})
    told_wandb = late.summary["halves"]
    assert (told_wandb["_type"], told_wandb["width"]) == ("image-file", 6)
    (media,) = (path / "wandb").glob(f"offline-run-*/files/{told_wandb['path']}")
    assert media.read_bytes() == drawn["halves"].read_bytes()
    (media,) = (path / "wandb").glob(f"offline-run-*/files/{late.summary['rates']['path']}")
    assert json.loads(media.read_text())["data"] == [[0.1, "one"], [None, "two"]]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from fewshot_cli import trackers
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.compose import job_config
from fewshot_cli.training.run import run
from fewshot_cli.training.setup import Setup
plain, at_work, drawn = Setup.train_tasks, [], []
begin = trackers._AtWork.__init__
def remembered(self, *words):
    at_work.append(self)
    begin(self, *words)
def killed(setup, generator):
    drawn.append(1)
    if len(drawn) == 4:
        while not all(each.work.empty() for each in at_work):
            time.sleep(0.1)
        time.sleep(3)  # until W&B's process has them on the disk
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(setup, generator)
trackers._AtWork.__init__, Setup.train_tasks = remembered, killed
run(job_config(sys.argv[2:]), RunDirectory(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_one_run_in_each(
    tmp_path: Path, cache_dir: Path, wandb_here: None, several: list[str]
) -> None:
    path = tmp_path / "run"
    # After the second iteration there is a checkpoint. The row of the third is told twice.
    words = [*SETTING, f"cache_dir={cache_dir}", "log_every=1", *several]
    command = [sys.executable, "-c", KILLED, str(path), *words]
    assert subprocess.run(command, timeout=200).returncode == -signal.SIGKILL
    assert pd.read_csv(path / "metrics.csv").iteration.max() == 3
    for iterations in (4, 6):  # it is killed and goes on; it has ended and goes on for longer
        directory = RunDirectory(path)
        with directory.recorded():
            run(config(*words, f"iterations={iterations}"), directory)
        truth = series_of(pd.read_csv(path / "metrics.csv"))

    of_training = {name for name in truth if not name.startswith("test/")}
    tensorboard = tensorboard_series(path)
    assert {name: tensorboard[name] for name in of_training} == approximately(
        {name: truth[name] for name in of_training}
    )
    there = in_mlflow(several)
    assert there[1].info.status == "FINISHED"
    by_client = mlflow_series(*there)
    assert {name: by_client[name] for name in of_training} == approximately(
        {name: truth[name] for name in of_training}
    )
    starts = wandb_files.read(path / "wandb")
    assert len(starts) == 3
    assert len({start.id for start in starts}) == 1
    steps = [{*start.rows} for start in starts]
    assert steps[0] & steps[1]  # what the killed process told already
    assert not (steps[0] | steps[1]) & steps[2]
    rows = starts[0].rows
    for start in starts[1:]:
        assert all(start.rows[step] == rows[step] for step in start.rows if step in rows)
        rows = rows | start.rows
    assert wandb_files.series(rows | starts[-1].rows, of_training) == approximately(
        {name: truth[name] for name in of_training}
    )
    last = {
        name: [point for point in points if name not in of_training or point[0] > 4]
        for name, points in truth.items()
    }
    assert starts[-1].series() == approximately(last)


@pytest.mark.parametrize("name", sorted(set(names("tracker")) - {"none"}))
def test_a_tracker_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("torch.utils.tensorboard", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"tracker={name}: not installed; .*fewshot\[{name}\]"):
        trackers.check(config(f"tracker={name}"))


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


def test_a_tracker_that_hangs_costs_a_line_and_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hangs:
        def add(self, rows: Sequence[Metrics]) -> None:
            time.sleep(60)

    monkeypatch.setattr("fewshot_cli.trackers.none.Nothing", Hangs)
    directory = RunDirectory(tmp_path)
    directory.begin(config())
    asked = config()
    asked.tracker.timeout = 0.2
    began = time.monotonic()
    with trackers.following(asked, directory):
        directory.add([Metrics(1, "valid", 1, 2, 0.5, 0.1, 0.7, 0.1, 1.0, 2.0)])
    assert time.monotonic() - began < 10
    assert capsys.readouterr().err == "fewshot: tracker=none: no answer for 0.2 s; left out\n"


def test_a_store_that_cannot_be_reached_costs_a_line(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracked(tmp_path, cache_dir, "tracker=mlflow", "tracker.uri=nowhere://store")
    lines = [line for line in capsys.readouterr().err.splitlines() if "tracker=" in line]
    assert len(lines) == 1
    assert lines[0].startswith("fewshot: tracker=mlflow: ")
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.slow
def test_a_server_of_wandb_that_is_not_there_costs_a_line(
    tmp_path: Path,
    cache_dir: Path,
    wandb_here: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()  # which has read them, as of a new process
    tracked(tmp_path, cache_dir, "tracker=wandb", "tracker.mode=online", "tracker.timeout=3")
    lines = [line for line in capsys.readouterr().err.splitlines() if "wandb" in line]
    assert len(lines) == 1
    assert lines[0].startswith("fewshot: tracker=wandb: ")
    assert (tmp_path / "run" / "summary.json").is_file()
    wandb.teardown()


def test_wandb_without_an_account_is_one_line(
    monkeypatch: pytest.MonkeyPatch, wandb_here: None, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"tracker\.mode=online: .*or tracker\.mode=offline"):
        trackers.check(config("tracker=wandb", "tracker.mode=online"))
    with pytest.raises(UserError, match=r"tracker\.mode=ofline: expected offline"):
        config("tracker=wandb", "tracker.mode=ofline")


def test_wandb_s_own_variables_hold_where_nothing_else_is_said(
    tmp_path: Path, cache_dir: Path, wandb_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    said = {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "birds",
        "WANDB_ENTITY": "team",
        "WANDB_RUN_GROUP": "night",
        "WANDB_TAGS": "one,two",
        "WANDB_NOTES": "theirs",
        "WANDB_NAME": "a name",
        "WANDB_DIR": str(tmp_path),
        "WANDB_JOB_TYPE": "trial",
    }
    for name, text in said.items():
        monkeypatch.setenv(name, text)
    wandb.teardown()  # which has read them, as of a new process
    checked.cache_clear()
    tracked(tmp_path, cache_dir, "tracker=wandb", "notes=ours")
    checked.cache_clear()
    (run,) = wandb_files.read(tmp_path / "wandb")
    assert (run.project, run.entity, run.group) == ("birds", "team", "night")
    assert (run.tags, run.name, run.job_type) == (["one", "two"], "a name", "trial")
    assert run.notes == "ours"
