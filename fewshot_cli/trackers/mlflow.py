"""MLflow: a run with its settings and numbers in the store at `tracker.uri` (mlflow.org/docs)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from fewshot_cli.runs.directory import COMPLETED, FAILED, INTERRUPTED, Metrics
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.trackers import measured

EXPERIMENT = "fewshot"
ENDED = {COMPLETED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}


class MLflow:
    """Curves over iterations; of the meta-test, over adaptation steps."""

    def __init__(self, config: Config, path: Path) -> None:
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        assert config.tracker.uri is not None
        if config.tracker.uri.startswith("sqlite:///"):
            Path(config.tracker.uri.removeprefix("sqlite:///")).parent.mkdir(
                parents=True, exist_ok=True
            )
        self.client = MlflowClient(tracking_uri=config.tracker.uri)
        known = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else self.client.create_experiment(EXPERIMENT)
        self.run = self.client.create_run(experiment, run_name=path.name).info.run_id
        for key, value in _flat(asdict(config)):
            self.client.log_param(self.run, key, value)

    def add(self, rows: Sequence[Metrics]) -> None:
        for row in rows:
            step = row.adaptation_steps if row.split == "test" else row.iteration
            for name, value in measured(row).items():
                self.client.log_metric(self.run, name, value, step=step)

    def close(self, status: str, why: str | None) -> None:
        if why is not None:
            self.client.set_tag(self.run, "why", why)
        self.client.set_terminated(self.run, ENDED[status])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value.value if isinstance(value, Enum) else value


def start(config: Config, path: Path) -> MLflow:
    try:
        return MLflow(config, path)
    except ImportError as error:
        raise UserError(
            "tracker=mlflow: not installed; expected pip install 'fewshot[mlflow]'"
        ) from error
    # A store that cannot be reached, in the words of its client.
    except Exception as error:
        raise UserError(
            f"tracker.uri={config.tracker.uri}: {' '.join(str(error).split())[:200]}"
        ) from error
