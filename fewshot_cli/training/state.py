"""Where meta-training stands between two meta-updates: what a run needs to go on unchanged.

The algorithm's own state apart, which a checkpoint holds beside this.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fewshot_cli.data.task import Scores
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import identity
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training import checkpoints, limits
from fewshot_cli.training.checkpoints import State
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup


@dataclass
class TrainingState:
    start: float  # of the whole run, on this process's monotonic clock
    draws: torch.Generator  # the meta-train tasks
    inner: torch.Generator  # the mini-batches of inner steps
    iteration: int = 0  # meta-updates done
    best: float | None = None  # by meta-validation
    worse: int = 0  # meta-validations since the best one
    since: list[Scores] = field(default_factory=list)  # since the last row of metrics.csv
    since_seconds: float = 0.0
    to_validate: bool = False  # the meta-validation of this iteration is still to be made

    def limit(self, config: Config) -> str | None:
        """The limit of the config that is reached."""
        return limits.reached(config, time.monotonic() - self.start, self.best, self.worse)

    @staticmethod
    def new(config: Config, start: float) -> TrainingState:
        return TrainingState(
            start, generator(config.seed, "train tasks"), generator(config.seed, "inner batches")
        )


@dataclass(frozen=True)
class Earlier:
    """A checkpoint of an earlier process."""

    path: Path
    content: State
    settings: dict[str, Any]  # by dotted key, those that count on a resume

    @property
    def metrics(self) -> str:
        text: str = self.content["training"]["metrics"]
        return text

    def refuse_others(self, config: Config) -> None:
        """Check that a config is of the same run.

        Raises:
            UserError: names the first setting that is another, or the data's folder.
        """
        wanted, had = identity.of(config, "resume"), self.settings
        for name in sorted((had.keys() | wanted.keys()) - {identity.FINGERPRINT}):
            if had.get(name) != wanted.get(name):
                raise UserError(
                    f"{self.path}: is of a run with other settings, {name}={had.get(name)} and not "
                    f"{wanted.get(name)}; expected an empty folder"
                )
        content = {each.get(identity.FINGERPRINT) for each in (had, wanted)} - {None}
        if len(content) == 2:  # known of both, and not the same
            raise UserError(
                f"data.root={config.data.root}: holds other images than when the run began; "
                "expected the same"
            )

    def trained(self, config: Config) -> bool:
        """Whether only the meta-test is left."""
        done: int = self.content["iteration"]
        at = self.content["training"]
        limit = limits.reached(config, at["seconds"], at["best"], at.get("worse", 0))
        whole = done >= config.iterations and not at.get("to_validate", False)
        return whole or limit is not None


def earlier_in(directory: RunDirectory, config: Config) -> Earlier | None:
    """The checkpoint to go on from, if there is one.

    Raises:
        UserError: none is whole, or they are of a run with other settings.
    """
    found = checkpoints.newest(directory.last, directory.previous)
    if found is None:
        return None
    path, state = found
    if not state["training"]:  # it was kept to be tested, not to go on from
        raise UserError(f"{path}: is no state of training; expected an empty folder")
    earlier = Earlier(path, state, _settings(state["training"], directory))
    earlier.refuse_others(config)
    if state["iteration"] > config.iterations:
        raise UserError(
            f"iterations={config.iterations}: {path} has made {state['iteration']}; "
            "expected as many or more"
        )
    return earlier


def _settings(training: State, directory: RunDirectory) -> dict[str, Any]:
    """The settings that a checkpoint was made with; in the first releases it held none."""
    settings = training.get("settings")
    if settings is None:
        settings = identity.saved(directory.config)
    return identity.identity(settings, "resume") if settings else {}


def restored(earlier: Earlier, setup: Setup, start: float) -> TrainingState:
    """Put the algorithm where the checkpoint was, and the outer loop beside it.

    Raises:
        UserError: the checkpoint is of another network or algorithm.
    """
    iteration = checkpoints.fill(earlier.path, setup.algorithm, earlier.content)
    training = earlier.content["training"]
    at = TrainingState.new(setup.config, start - training["seconds"])
    at.draws.set_state(training["draws"])
    at.inner.set_state(training["inner"])
    at.iteration, at.best = iteration, training["best"]
    at.worse = training.get("worse", 0)  # earlier checkpoints did not count them
    at.since = [Scores(loss, accuracy) for loss, accuracy in training["since"]]
    at.since_seconds = training["since_seconds"]
    at.to_validate = training.get("to_validate", False)  # earlier checkpoints come after it
    return at


class Saver:
    """Writes the checkpoints of one run."""

    def __init__(self, setup: Setup, directory: RunDirectory, state: TrainingState) -> None:
        self.setup, self.directory, self.state = setup, directory, state
        self.settings = identity.of(setup.config, "resume")
        self.saved_at = time.monotonic()

    def is_due(self) -> bool:
        """By the intervals in iterations and in minutes."""
        often = self.setup.config.checkpoint
        by_count = often.every is not None and self.state.iteration % often.every == 0
        return by_count or time.monotonic() - self.saved_at >= 60 * often.minutes

    def last(self) -> None:
        self.saved_at = time.monotonic()
        if not self.directory.writes:
            return
        at = self.state
        training = {
            "settings": self.settings,
            "draws": at.draws.get_state(),
            "inner": at.inner.get_state(),
            "best": at.best,
            "worse": at.worse,
            "since": [(scores.loss, scores.accuracy) for scores in at.since],
            "since_seconds": at.since_seconds,
            "to_validate": at.to_validate,
            "seconds": time.monotonic() - at.start,
            # The rows themselves: whatever happens to the file, they are not lost.
            "metrics": self.directory.metrics.read_text(encoding="utf-8"),
        }
        algorithm, files = self.setup.algorithm, self.directory
        checkpoints.save(files.last, algorithm, at.iteration, training, files.previous)

    def best(self) -> None:
        if self.directory.writes:
            checkpoints.save(self.directory.best, self.setup.algorithm, self.state.iteration)
