"""`fewshot train -m`: the jobs that are missing in the sweep's folder, and how they ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import yaml

from fewshot_cli.progress import say
from fewshot_cli.runs import result
from fewshot_cli.runs.directory import COMPLETED, RUNNING, RunDirectory, shown
from fewshot_cli.runs.place import place
from fewshot_cli.settings import compose
from fewshot_cli.settings.choices import shipped
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.sweeps import study
from fewshot_cli.sweeps.directory import COMPARISON, DIGITS, SweepDirectory, job_name
from fewshot_cli.sweeps.launch import RAY, SLURM, WRONG, Sweep, Task, launch

# Jobs may run on other machines, which have other devices and load the data themselves.
ELSEWHERE = SLURM, RAY


def sweep(
    jobs: list[compose.Job],
    overrides: list[str],
    config_dir: Path | None,
    dry_run: bool,
    leave: bool,
) -> None:
    """Run the jobs that are not complete in the sweep's folder; with `dry_run` list them.

    Args:
        leave: told to stop, leave the jobs that are in SLURM's queue.

    Raises:
        UserError: the folder holds something else, or a plugin is not installed.
        SystemExit: always; 1 if a job failed, 130 or 143 if the sweep was interrupted.
    """
    where, overrides = place(overrides, "sweep")
    ours = [word for word in overrides if word.startswith("hydra")]
    # A job on another host has another working directory.
    there = f"hydra.sweep.dir={compose.quoted(os.path.abspath(where))}"
    words = [*_presets(ours), *ours, there, *compose.search_path(config_dir)]
    searches = any(word.startswith("hydra/sweeper=") for word in ours)
    study.check(ours)
    directory = SweepDirectory(where)
    named = [(job_name(job.swept, job.config), job) for job in jobs]
    known = {name[-DIGITS:]: (name, job) for name, job in named}  # jobs that are the same run once
    opening = []
    if len(known) < len(jobs) and not searches:
        runs = "1 run" if len(known) == 1 else f"{len(known)} runs"
        opening = [
            f"{len(jobs)} combinations ask for {runs}: "
            "what says only how a run is computed or recorded makes no other"
        ]
    folders = directory.folders([(name, job.config) for name, job in known.values()], _fingerprint)
    missing = [
        Task(job.overrides, run)
        for (_, job), run in zip(known.values(), folders, strict=True)
        if run.state() != COMPLETED
    ]
    found = directory.jobs if searches else lambda: folders
    tell = _Teller(directory.path, found, 0 if searches else len(known))
    if tell.told:
        jobs_are = "1 job is" if len(tell.told) == 1 else f"{len(tell.told)} jobs are"
        opening.append(f"{jobs_are} complete already")
    if dry_run or not missing:
        for line in opening:
            say(line)
    if dry_run:
        for task in missing:
            print(task.run.path.name)
        print(f"{len(missing)} of {len(known)} jobs would run")
        return
    searched = [word for word in overrides if word not in ours] if searches else []
    # A job writes its .hydra/ itself, once its folder is in no other command's hands.
    words.append("hydra.output_subdir=null")
    here = not any(word in ELSEWHERE for word in ours)
    needs = [job.config for job in jobs] if here else []
    shared = Sweep(directory, words, searched, needs, opening, leave)
    status = launch(shared, missing, tell.completed) if missing else 0
    if status != WRONG:
        tell.rest()
    sys.exit(status or tell.status)


def _fingerprint(config: Config) -> str | None:
    from fewshot_cli.training.setup import device_and_data

    device_and_data(config)
    return config.data.fingerprint


class _Teller:
    """Says how jobs ended, from what they left on the disk.

    Args:
        folder: of the sweep; one listing of it spares a look into each job that nobody began.
        runs: gives the jobs.
        expected: how many there will be; 0 if nobody knows.
    """

    def __init__(self, folder: Path, runs: Callable[[], list[RunDirectory]], expected: int) -> None:
        self.folder, self.runs, self.expected, self.status = folder, runs, expected, 0
        self.told = {run.path for run in runs() if run.state() == COMPLETED}

    def completed(self) -> None:
        """A line for each job that is complete since the last look."""
        begun = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        for run in self.runs():
            new = run.path not in self.told and run.path.name in begun
            if new and run.state() == COMPLETED:
                self.told.add(run.path)
                of = f"/{self.expected}" if self.expected else ""
                say(f"[{len(self.told)}{of}] {result.line(run)}")

    def rest(self) -> None:
        """A line for each of the others, and the sum; `status` is 1 if there is any."""
        runs = self.runs()
        if not self.expected:  # the jobs of a study that another command is at work on are its own
            runs = [run for run in runs if run.state() != RUNNING]
        for run in runs:
            state, error = run.ending()
            if state is not None and state != COMPLETED:
                why = error or "another command is at work on it"
                say(f"fewshot: {shown(run.path)} {state}: {why}")
        self.status = int(len(self.told) < len(runs))
        if self.status and self.expected:
            say(f"The same with sweep.dir={shown(self.folder)} goes on with what is missing")
        print(f"{len(self.told)} of {len(runs)} jobs completed: {shown(self.folder)}")
        if self.told:
            _write_comparison(self.folder, runs)
            print(f"Next:  fewshot compare {shown(self.folder)}")


def _write_comparison(sweep: Path, runs: list[RunDirectory]) -> None:
    """Compare the jobs beside them, unless that was done since the last one ended."""
    comparison = sweep / COMPARISON
    ends = [run.status.stat().st_mtime for run in runs if run.status.exists()]
    if not comparison.exists() or max(ends) >= comparison.stat().st_mtime:
        from fewshot_cli.compare.comparison import write_csv

        write_csv([sweep], comparison)


def _presets(words: list[str]) -> list[str]:
    """Overrides for the chosen launcher and sweeper: what suits jobs of this kind, conf/hydra/.

    Raises:
        UserError: a plugin is not installed.
    """
    presets = []
    for word in words:
        group, _, choice = word.partition("=")
        path = shipped() / "hydra" / f"{choice}.yaml"
        if group in ("hydra/launcher", "hydra/sweeper") and path.is_file():
            preset = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not _installed(preset["plugin"]):
                expected = f"pip install 'fewshot[{preset['extra']}]'"
                raise UserError(f"{word}: its plugin is not installed; expected {expected}")
            presets += [f"{key}={value}" for key, value in preset["settings"].items()]
    return presets


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # there is no plugin at all
        return False
