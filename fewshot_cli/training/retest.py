"""Meta-tests of a trained run with other settings: one, or one for each cell of a grid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fewshot_cli.data import folder
from fewshot_cli.progress import Progress, say, speaking
from fewshot_cli.runs.directory import COMPLETED, RunDirectory, new_name
from fewshot_cli.runs.grid import Grid
from fewshot_cli.settings import compose, identity
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config, DataConfig, Split
from fewshot_cli.training import checkpoints
from fewshot_cli.training.met import classes_met
from fewshot_cli.training.run import meta_test, summary
from fewshot_cli.training.setup import Setup, prepare


class Retest:
    """A run whose checkpoints are tested again."""

    def __init__(self, run: Path) -> None:
        self.trained = RunDirectory(run)
        self.evaluations = run / "evaluations"
        self.before = compose.changed_config(self.trained.config, [], ())

    @cached_property
    def met(self) -> set[str] | None:
        """The classes that the run has met; None where that cannot be told."""
        return classes_met(self.trained, self.before)

    def prepare(self, config: Config) -> tuple[Setup, int]:
        """What a test with this config needs, and the iteration of its checkpoint.

        Raises:
            UserError: the data is of another kind or cannot be read, or the checkpoint cannot.
        """
        data, own = config.data, self.before.data
        if data.regression != own.regression:
            raise UserError(f"data={data.name}: expected data of the kind of {own.name}")
        config.compile = False  # there is no meta-gradient in a test
        if self.trained.data.is_file():
            data.kept_in = str(self.trained.data)
        path, state = checkpoints.tested(self.trained, config.eval.checkpoint)
        if tests_every_class(data) and self.met is not None:
            _leave_out(data, self.met)
        setup = prepare(config, ["test"])
        return setup, checkpoints.fill(path, setup.algorithm, state, any_ways=True)

    def test(self, setup: Setup, iteration: int, again: str) -> RunDirectory:
        """Meta-test, and leave the results in a new folder of `evaluations/`.

        Args:
            again: what to type where it was interrupted.

        Raises:
            SystemExit: as `RunDirectory.recorded`.
        """
        start, config = time.monotonic(), setup.config
        every_class, left_out = tests_every_class(config.data), self._left_out(config.data)
        if every_class:
            say(_what_is_left_out(left_out, config.data.grouped))
        directory = RunDirectory(self.evaluations / new_name())
        directory.begin(config)
        with directory.recorded(again=again):
            tested = meta_test(setup, directory, iteration, start)
            found = summary(setup, tested, iteration, time.monotonic() - start)
            if every_class:
                found["test"]["left_out"] = left_out
            directory.write_summary(found)
        return directory

    def _left_out(self, data: DataConfig) -> int | None:
        return None if self.met is None else len(data.left_out)

    def earlier(self, config: Config, iteration: int) -> RunDirectory | None:
        """A complete test with these settings of the same checkpoint, if there is one."""
        wanted = identity.of(config, "compare")
        written = (self.trained.checkpoints / f"{config.eval.checkpoint.value}.pt").stat().st_mtime
        for path in sorted(self.evaluations.glob("*/summary.json"), reverse=True):
            there = RunDirectory(path.parent)
            if path.stat().st_mtime < written or there.state() != COMPLETED:
                continue
            settings = identity.saved(there.config)
            same = identity.identity(settings, "compare") == wanted
            if same and there.read(path)["test"]["iteration"] == iteration:
                return there
        return None

    def grid(self, configs: Sequence[Config], keys: Sequence[str], again: str) -> Grid:
        """Meta-test each cell that no earlier test has, those of one data set after one another.

        Args:
            keys: in which the cells differ.

        Raises:
            UserError: of a cell, as `prepare`, before any is tested.
        """
        # The data that was read last stays in memory.
        order = sorted(range(len(configs)), key=lambda cell: repr(configs[cell].data))
        for cell in reversed(order):
            self.prepare(configs[cell])
        grid = Grid(self.trained, configs, keys)
        with Progress("Grid", len(configs), "cells") as progress:
            for cell in order:
                setup, iteration = self.prepare(configs[cell])
                directory = self.earlier(setup.config, iteration)
                if directory is None:
                    with speaking(grid.label(cell)):
                        directory = self.test(setup, iteration, again)
                grid.add(cell, directory)
                progress.advance()
        return grid


def tests_every_class(data: DataConfig) -> bool:
    """Whether all classes are for the test, but for those that the run has met."""
    return data.counted and data.split == Split.test and data.split_file is None


def _leave_out(data: Any, met: set[str]) -> None:
    """Have a test on all classes leave out those that the run has met."""
    if met and data.root is not None:
        there = folder.images(data).classes.keys() if data.images else met
        data.left_out = sorted(met & there)
        data.reads |= {"left_out"}


def _what_is_left_out(count: int | None, grouped: bool) -> str:
    one, many = ("task", "tasks") if grouped else ("class", "classes")
    if count is None:
        return (
            f"Nothing is left out: which {many} the run was trained on cannot be told, since it "
            "has no splits.csv and its data is gone or is not what it was"
        )
    return (
        f"Left out {count} {one if count == 1 else many} that the run was trained or validated on"
    )
