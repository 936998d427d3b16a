"""MLflow: a run with its settings and figures in the store at `tracker.uri` (mlflow.org/docs)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from fewshot_cli.runs.directory import COMPLETED, FAILED, INTERRUPTED, Metrics, RunDirectory
from fewshot_cli.settings.identity import flat
from fewshot_cli.settings.schema import Config
from fewshot_cli.trackers import axis, measured, settings

EXPERIMENT = "fewshot"
ENDED = {COMPLETED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
ID = "fewshot.id"  # the tag by which a run that goes on is found
PARAMS = 100  # that MLflow takes at once


class MLflow:
    """Curves over iterations; of the meta-test, over adaptation steps."""

    def __init__(self, config: Config, path: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        assert config.tracker.uri is not None
        artifacts: str | None = None  # where the server wants them
        if config.tracker.uri.startswith("sqlite:///"):
            store = Path(config.tracker.uri.removeprefix("sqlite:///"))
            store.parent.mkdir(parents=True, exist_ok=True)
            artifacts = str(store.parent.resolve() / "mlartifacts")
        self.client = MlflowClient(tracking_uri=config.tracker.uri)
        known = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = (
            known.experiment_id
            if known
            else self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        )
        name = RunDirectory(path).id()
        earlier = self.client.search_runs([experiment], f"tags.`{ID}` = '{name}'", max_results=1)
        if earlier:
            self.run = earlier[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
        else:
            tags = {ID: name, **_labels(config)}
            self.run = self.client.create_run(experiment, tags=tags, run_name=path.name).info.run_id
        self.goes_on, self.there = bool(earlier), dict[str, set[tuple[int, float]]]()
        # When it ended, if it does not go on but is shown something.
        self.ended: int | None = earlier[0].info.end_time if earlier else None
        # One that goes on keeps what it was told first, since MLflow changes no parameter.
        told = earlier[0].data.params if earlier else {}
        params = [Param(key, str(value)) for key, value in flat(settings(path)) if key not in told]
        for first in range(0, len(params), PARAMS):
            self.client.log_batch(self.run, params=params[first : first + PARAMS])

    def add(self, rows: Sequence[Metrics]) -> None:
        from mlflow.entities import Metric

        self.ended = None
        now = int(1000 * time.time())
        metrics = []
        for row in rows:
            _, step = axis(row)
            for name, value in measured(row).items():
                # A killed process may have told already what comes again.
                if (step, value) not in self._there(name):
                    metrics.append(Metric(name, value, now, step))
        self.client.log_batch(self.run, metrics)

    def show(self, name: str, file: Path) -> None:
        self.client.log_artifact(self.run, str(file))

    def close(self, status: str, why: str | None) -> None:
        self.client.set_tag(self.run, "status", status)
        if why is not None or self.goes_on:  # it may have said why it ended before
            self.client.set_tag(self.run, "why", why or "")
        self.client.set_terminated(self.run, ENDED[status], self.ended)

    def _there(self, name: str) -> set[tuple[int, float]]:
        """The steps and values of a metric when this process began."""
        if name not in self.there:
            earlier = self.client.get_metric_history(self.run, name) if self.goes_on else []
            self.there[name] = {(each.step, each.value) for each in earlier}
        return self.there[name]


def check(config: Config) -> None:
    import mlflow  # noqa: F401


def start(config: Config, path: Path) -> MLflow:
    return MLflow(config, path)


def _labels(config: Config) -> dict[str, str]:
    labels = {
        "tags": ", ".join(config.tags),
        "group": config.group,
        "mlflow.note.content": config.notes,  # what its pages show as the description
    }
    return {name: text for name, text in labels.items() if text}
