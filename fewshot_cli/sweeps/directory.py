"""The sweep directory: a folder for each job, found again by what the job's config says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import identity
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config, recorded

DIGITS = 8  # of the digest in a job's name
NAME = re.compile(rf"(^|_)[0-9a-f]{{{DIGITS}}}$")
LONGEST = 100  # letters of what stands before it; a file name may have 255 bytes
SUBDIR = "hydra.sweep.subdir="  # the word that sends a job to its folder
COMPARISON = "comparison.csv"  # `fewshot compare` writes it anew where it is
OPTUNA = "optuna.db"  # what hydra/sweeper=optuna leaves there, its journal and copy included
BESIDE_JOBS = (COMPARISON, "optimization_results.yaml")


def job_name(swept: str, config: Config) -> str:
    """The folder of a job: in what it differs from the others, and a digest of its config."""
    return job_folder(swept, digest(config))


def job_folder(swept: str, digest: str) -> str:
    """What a job varies, in letters that every file system has, and a digest."""
    return f"{re.sub(r'[^A-Za-z0-9.,=+-]+', '_', swept)[:LONGEST]}_{digest}".lstrip("_")


def folder_word(name: str) -> str:
    """The override that sends a job to the folder of this name."""
    return f"{SUBDIR}'{name}'"


def folder_told(words: Iterable[str]) -> str:
    """The folder that such an override names; empty where a sweeper leaves it to Hydra."""
    found = (word.removeprefix(SUBDIR).strip("'") for word in words if word.startswith(SUBDIR))
    return next(found, "")


def what_varies(name: str) -> str:
    """A job's folder without the digest; empty where nothing varies."""
    return NAME.sub("", name)


def digest(config: Config) -> str:
    """The same for two configs that ask for the same run."""
    return _digest(identity.of(config, "job"))


def _digest(settings: dict[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class SweepDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path

    def reserve(self) -> None:
        """Make the folder, or take one that holds jobs of a sweep and nothing else.

        Raises:
            UserError: it holds something else, or cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for entry in self.path.iterdir():
                beside = entry.name in BESIDE_JOBS or entry.name.startswith(OPTUNA)
                known = entry.name.startswith(".") or beside
                # A job that was killed early may have left no more than its folder.
                job = (entry / ".hydra").is_dir() or NAME.search(entry.name)
                if not known and not job:
                    raise UserError(
                        f"{self.path}: holds {entry.name}, which is no job of a sweep; "
                        "expected a new or empty folder, or that of a sweep to go on with"
                    )
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{self.path}: {why}; expected a folder that can be made") from error

    def jobs(self) -> list[RunDirectory]:
        """The jobs that left something there."""
        found = self.path.glob("*/.hydra") if self.path.is_dir() else []
        return [RunDirectory(path.parent) for path in sorted(found)]

    def folders(
        self, wanted: Sequence[tuple[str, Config]], fingerprint: Callable[[Config], str | None]
    ) -> list[RunDirectory]:
        """The folder of each job, given by its `job_name` and config, old or new.

        A job that is there is known by the digest in its folder's name. Where an earlier release
        made that digest of other settings, or where the data lay elsewhere, it is known by what
        its config.yaml says.

        Args:
            fingerprint: of the data that a config names; asked where only that can tell.
        """
        digests = {name[-DIGITS:] for name, _ in wanted}
        there = {run.path.name[-DIGITS:]: run for run in self.jobs()}
        others = [run for name, run in there.items() if name not in digests]
        by_content: dict[str, RunDirectory] = {}
        for run in others if digests - {*there} else []:
            saved = identity.saved(run.config)
            by_content[_digest(identity.identity(saved, "job"))] = run
            if saved.get(identity.FINGERPRINT):
                by_content[_moved(saved, saved[identity.FINGERPRINT])] = run
        found = []
        for name, config in wanted:
            known = there.get(name[-DIGITS:]) or by_content.get(name[-DIGITS:])
            if known is None and by_content and config.data.root is not None:
                settings = dict(identity.flat(recorded(config)))
                known = by_content.get(_moved(settings, fingerprint(config)))
            found.append(known or RunDirectory(self.path / name))
        return found


def _moved(settings: dict[str, Any], fingerprint: str | None) -> str:
    """The digest of a job wherever its data is."""
    counted = identity.identity(settings, "job")
    nowhere = dict.fromkeys(identity.PLACES)
    return _digest(counted | nowhere | {identity.FINGERPRINT: fingerprint})
