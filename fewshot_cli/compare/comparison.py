"""Runs that differ only in their seed are one setting; settings in a table, the best first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewshot_cli.compare import paired, runs_read
from fewshot_cli.compare.learning import Learning, learning
from fewshot_cli.compare.runs_read import DamagedError, Run, Values, where_it_is
from fewshot_cli.compare.settings import has, varied
from fewshot_cli.runs.directory import atomic
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import FINGERPRINT, ROOT, identity, tasks
from fewshot_cli.settings.measure import LOSS, Measure

WIDE = {"seeds and tasks": "over seeds and tasks", "tasks": "over the tasks of these runs"}
RESULTS = [
    *("test", "seeds", "steps", "tasks", "measure", "mean", "ci95_seeds", "ci95_tasks"),
    *("difference", "difference_ci95", "unpaired_ci95", "over", "p", "verdict"),
    *("seconds", "status", "error", "run", "rmse"),
    *("area", "reached", "until_iterations", "until_seconds"),
]


@dataclass
class Setting:
    """Completed runs that differ only in their seed."""

    settings: dict[str, Any]
    runs: list[Run]
    steps: int  # adaptation steps of the results
    values: Values  # [seeds, tasks], accuracy or loss
    test: str = ""  # a letter for each set of tasks
    against: paired.Difference | None = None  # the baseline of its test
    p: float = math.nan  # corrected for many comparisons
    verdict: str = ""
    learning: Learning | None = None  # where it is asked for

    @property
    def measure(self) -> Measure:
        return self.runs[0].measure

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def ci95_seeds(self) -> float:
        return paired.interval(self.values.mean(1))

    @property
    def ci95_tasks(self) -> float:
        return paired.interval(self.values.mean(0))

    @property
    def seconds(self) -> float:
        """Mean over the runs."""
        return float(np.mean([run.seconds for run in self.runs]))

    @property
    def rmse(self) -> float | None:
        """For regression, the mean of the tasks' root mean squared errors."""
        return float(np.sqrt(self.values).mean()) if self.measure is LOSS else None

    @property
    def badness(self) -> float:
        """To sort by, the best first; what is not finite comes last."""
        worse = -self.measure.goodness(self.mean)
        return worse if math.isfinite(worse) else math.inf


@dataclass
class Comparison:
    settings: list[Setting]  # the best first, within each test
    left: list[Run]  # not averaged in: damaged, failed, unfinished or repeated
    varied: list[str]  # the settings that differ, but for what follows from a name
    caption: str

    def learn(self, until: float | None) -> None:
        """Read the learning curves, for their area and the time until they are as good as that."""
        for setting in self.settings:
            setting.learning = learning(setting.runs, until)
        self.caption += " Area: the mean height of the meta-validations over iterations."
        if until is not None and self.settings:
            value = f"{until:{self.settings[0].measure.form}}"
            self.caption += (
                f" Reached: runs with a meta-validation as good as {value}; where all have one, "
                "the mean of the iterations and seconds until the first."
            )

    def table(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """A row for each setting, then one for each run of `left`: settings, then `RESULTS`.

        Args:
            keys: of the settings to show; none: those that differ.
        """
        keys = self.varied if keys is None else keys
        rows = [_row(setting, keys) for setting in self.settings]
        for run in self.left:
            error = {"status": run.status, "error": run.error, "run": where_it_is(run)}
            rows.append({key: run.settings.get(key) for key in keys} | error)
        return pd.DataFrame(rows, columns=[*keys, *RESULTS], dtype=object)


def compare(
    runs: Sequence[Run],
    steps: int | None = None,
    baseline: Mapping[str, str] | None = None,
) -> Comparison:
    """Group the runs, average, and compare within each set of meta-test tasks.

    Args:
        steps: adaptation steps of the results; none: the last of each run.
        baseline: settings of the one that all others are compared with; none: the best.

    Raises:
        UserError: no setting is the baseline, or several of one test.
    """
    runs = _with_fingerprints(runs)
    groups: dict[str, list[Run]] = {}
    left = [run for run in runs if run.status != "completed"]
    for run in runs:
        if run.status == "completed":
            same = repr(sorted(identity(run.settings, "compare").items()))
            groups.setdefault(same, []).append(run)
    settings = []
    for group in groups.values():
        setting, others = _setting(group, steps)
        settings += [setting] if setting else []
        left += others
    _name_tests(settings)
    settings.sort(key=lambda setting: (setting.test, setting.badness))
    for test in sorted({setting.test for setting in settings}):
        of_test = [setting for setting in settings if setting.test == test]
        _set_against(of_test, _baseline(of_test, baseline), chosen_before=bool(baseline))
    if baseline and not any(setting.verdict == "baseline" for setting in settings):
        wanted = ",".join(f"{key}={value}" for key, value in baseline.items())
        raise UserError(f"--baseline {wanted}: no setting has that; expected one of the table's")
    differ = varied([run.settings for run in runs if run.settings])
    return Comparison(settings, left, differ, _caption(settings, chosen_before=bool(baseline)))


def _with_fingerprints(runs: Sequence[Run]) -> list[Run]:
    """A run from before fingerprints were taken gets that of the other runs on its folder."""
    known: dict[Any, set[Any]] = {}
    for run in runs:
        known.setdefault(run.settings.get(ROOT), set()).add(run.settings.get(FINGERPRINT))
    filled = []
    for run in runs:
        of_folder = known[run.settings.get(ROOT)] - {None}
        if run.settings.get(ROOT) is not None and len(of_folder) == 1:
            run = replace(run, settings=run.settings | {FINGERPRINT: next(iter(of_folder))})
        filled.append(run)
    return filled


def write_csv(directories: Iterable[Path], path: Path) -> None:
    """Compare all runs of the directories and leave the table in a CSV file.

    Raises:
        UserError: a directory holds no run.
    """
    runs = [runs_read.read(found) for found in runs_read.find(directories)]
    with atomic(path) as file:
        compare(runs).table().to_csv(file, index=False, lineterminator="\n")


def _setting(group: list[Run], steps: int | None) -> tuple[Setting | None, list[Run]]:
    """The completed runs of a group as one setting, and those that cannot be counted."""
    kept: dict[Any, Run] = {}
    values, left = [], []
    for run in group:
        wanted = max(run.by_step) if steps is None else steps
        seed = run.settings.get("seed")
        if wanted not in run.by_step:
            there = ", ".join(map(str, run.by_step))
            error = f"has no results after {wanted} adaptation steps, " + (
                f"at most {max(run.by_step)}"
                if wanted > max(run.by_step)
                else f"only after {there}: test it with eval.score_steps=[{wanted}]"
            )
            left.append(replace(run, status="not counted", error=error))
        elif seed in kept:
            # The same numbers once more would pass for another seed.
            error = f"the same settings and seed as {where_it_is(kept[seed])}"
            left.append(replace(run, status="not counted", error=error))
        else:
            try:
                values.append(runs_read.by_task(run, wanted))
                kept[seed] = run
            except DamagedError as damage:
                error = f"{damage} is missing or damaged"
                left.append(replace(run, status="damaged", error=error))
    tasks = {len(each) for each in values}
    if len(tasks) > 1:
        error = "summary.json is missing or damaged"
        return None, left + [replace(run, status="damaged", error=error) for run in kept.values()]
    if not values:
        return None, left
    runs = list(kept.values())
    steps = max(runs[0].by_step) if steps is None else steps
    return Setting(runs[0].settings, runs, steps, np.stack(values)), left


def _name_tests(settings: Iterable[Setting]) -> None:
    """The same letter for those that met the same tasks."""
    letters: dict[str, str] = {}
    for setting in settings:
        met = repr((sorted(tasks(setting.settings).items()), setting.values.shape[1]))
        setting.test = letters.setdefault(met, _letter(len(letters)))


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def _baseline(settings: list[Setting], wanted: Mapping[str, str] | None) -> Setting | None:
    if not wanted:
        return settings[0]
    found = [setting for setting in settings if has(setting.settings, wanted)]
    if len(found) > 1:
        keys = ", ".join(varied([setting.settings for setting in found]))
        raise UserError(f"--baseline: {len(found)} settings have that; add one of {keys}")
    return found[0] if found else None


def _set_against(settings: list[Setting], base: Setting | None, chosen_before: bool) -> None:
    """Compare each setting of one test with its baseline.

    The best is chosen from the results that it is then compared by, so all pairs count as the
    family of comparisons; with a baseline that was chosen before, only those with it.
    """
    if base is None:
        return
    base.verdict = "baseline" if chosen_before else "best"
    others = [setting for setting in settings if setting is not base]
    for setting in others:
        with np.errstate(invalid="ignore"):
            setting.against = paired.difference(setting.values, base.values)
    family = len(others) if chosen_before else len(settings) * (len(settings) - 1) // 2
    known = [each for each in others if each.against and math.isfinite(each.against.p)]
    corrected = paired.holm([each.against.p for each in known if each.against], family)
    for setting in others:
        setting.verdict = "not known"
    for setting, p in zip(known, corrected, strict=True):
        better = setting.badness < base.badness
        setting.p = p
        setting.verdict = "not distinguishable" if p > 0.05 else "better" if better else "worse"


def _row(setting: Setting, keys: Sequence[str]) -> dict[str, Any]:
    named = ("test", "steps", "mean", "ci95_seeds", "ci95_tasks", "rmse")
    against = setting.against
    differences = (
        {}
        if against is None
        else {
            "difference": against.mean,
            "difference_ci95": against.ci95,
            "unpaired_ci95": against.unpaired_ci95,
            "over": against.over,
            "p": setting.p,
        }
    )
    return {
        **{key: setting.settings.get(key) for key in keys},
        **{name: getattr(setting, name) for name in (*named, "verdict", "seconds")},
        "measure": setting.measure.name,
        "seeds": len(setting.runs),
        "tasks": setting.values.shape[1],
        **differences,
        **({} if setting.learning is None else vars(setting.learning)),
        "status": "completed",
        "run": " ".join(map(where_it_is, setting.runs)),
    }


def _caption(settings: list[Setting], chosen_before: bool) -> str:
    """What the table's numbers mean, in sentences that are true of this table."""
    if not settings:
        return "No run is completed."
    sentences = [
        "Means over seeds; 95 % intervals, over the seeds and over the tasks of these runs."
    ]
    over = {setting.against.over for setting in settings if setting.against}
    if over:
        base, family = "best", "pairs, since the best was chosen among them"
        if chosen_before:
            base, family = "baseline", "comparisons with it"
        wide = " or, with a single seed, ".join(WIDE[each] for each in sorted(over))
        sentences.append(
            f"Differences from the {base}, task by task, with 95 % intervals {wide}; "
            f"worse or better where p <= 0.05 after Holm's correction for all {family}."
        )
    tests = sorted({setting.test for setting in settings})
    if len(tests) > 1:
        sentences.append(
            f"Tests {', '.join(tests)} had other tasks: nothing is compared between them."
        )
    return " ".join(sentences)
