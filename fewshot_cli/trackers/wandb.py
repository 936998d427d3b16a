"""Weights & Biases: a run in its project, online or as files for `wandb sync` (docs.wandb.ai).

What its environment variables say holds wherever the command line says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fewshot_cli.runs.directory import COMPLETED, Metrics, RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config, Role, TrackerConfig, WandbMode, key
from fewshot_cli.trackers import axis, goes_on_after, measured, settings

# What the figures of a split are drawn over.
SPLITS = {"train": "iteration", "valid": "iteration", "test": "adaptation_steps"}


@dataclass
class WandbConfig(TrackerConfig):
    mode: str = key(
        "online", role=Role.place, words=WandbMode, help="online, or offline: files to sync later"
    )
    entity: str | None = key(None, role=Role.place, help="a team or user; null: yours")
    project: str = key("fewshot", role=Role.place, help="where the run is shown")
    job_type: str = key("train", role=Role.label, help="what kind of job the run is")
    log_model: bool = key(False, role=Role.habit, help="keep the best checkpoint as an artifact")


class WeightsAndBiases:
    """Curves over iterations; of the meta-test, over adaptation steps.

    W&B has steps of its own beside, which may only rise. A row's follows from what the row is: then
    what a killed process told already comes with the same steps again, and what is new with later
    ones.
    """

    def __init__(self, config: Config, path: Path) -> None:
        import wandb

        tracker = cast(WandbConfig, config.tracker)
        directory = RunDirectory(path)
        # An argument of theirs would win over their variable.
        told: Callable[..., Any] = os.environ.get
        mode: Any = tracker.mode
        of_sweep = config.group == path.parent.name
        group = told("WANDB_RUN_GROUP", config.group) if of_sweep else config.group
        self.run = wandb.init(
            id=told("WANDB_RUN_ID") or directory.id(),
            resume="allow",
            reinit="create_new",  # the jobs of a sweep may share a process
            mode=mode,
            entity=tracker.entity,
            project=tracker.project,
            job_type=tracker.job_type if directory.config.is_file() else "compare",
            name=told("WANDB_NAME", path.name),
            dir=told("WANDB_DIR", str(path)),
            group=group,
            tags=config.tags or None,
            notes=config.notes,
            config=settings(path),
            settings=wandb.Settings(
                silent=True,
                console=told("WANDB_CONSOLE", "off"),
                init_timeout=tracker.timeout,
                finish_timeout=tracker.timeout,
                x_transaction_log_flush_interval=1.0,  # what it holds longer, a kill would take
            ),
        )
        for name in ("iteration", "adaptation_steps"):
            self.run.define_metric(name, hidden=True)
        for split, name in SPLITS.items():
            self.run.define_metric(f"{split}/*", step_metric=name)
        self.model = directory.best if tracker.log_model else None
        self.iteration = goes_on_after(path) or 0
        self.stride = len(SPLITS) + config.algo.eval_steps

    def add(self, rows: Sequence[Metrics]) -> None:
        for row in rows:
            name, x = axis(row)
            if row.split != "test":  # whose iteration is that of the checkpoint
                self.iteration = row.iteration
            of_row = [*SPLITS].index(row.split) + (x if row.split == "test" else 0)
            step = self.iteration * self.stride + of_row
            # Else the client keeps the row until the next one comes.
            self.run.log({name: x, **measured(row)}, step=step, commit=True)

    def show(self, name: str, file: Path) -> None:
        import pandas as pd
        import wandb

        shown: Any
        if file.suffix == ".csv":
            table = pd.read_csv(file).astype(object)
            table = table.where(table.notna(), None)  # NaN is no JSON
            shown = wandb.Table(dataframe=table, allow_mixed_types=True)
        else:
            shown = wandb.Image(str(file))
        # In the summary, since a step here would forbid earlier steps to a run that goes on.
        self.run.summary[name] = shown

    def close(self, status: str, why: str | None) -> None:
        import wandb

        if self.model is not None and self.model.is_file():
            artifact = wandb.Artifact(f"model-{self.run.id}", type="model")
            artifact.add_file(str(self.model))
            self.run.log_artifact(artifact, aliases=["latest", "best"])
        self.run.summary.update({"status": status, "why": why})
        self.run.finish(exit_code=int(status != COMPLETED))


def check(config: Config) -> None:
    """Raises UserError where the client knows no account to write to."""
    import wandb

    tracker = cast(WandbConfig, config.tracker)
    if tracker.mode in (WandbMode.online, WandbMode.shared):
        wandb.setup(wandb.Settings(silent=True))
        if not wandb.login(prompt=False, verify=False):
            raise UserError(
                f"tracker.mode={tracker.mode}: W&B knows no account here; expected `wandb login`, "
                "WANDB_API_KEY, or tracker.mode=offline"
            )


def start(config: Config, path: Path) -> WeightsAndBiases:
    return WeightsAndBiases(config, path)
