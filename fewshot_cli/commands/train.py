"""`fewshot train`: check the overrides, then let Hydra run the job or the sweep."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fewshot_cli import compose
from fewshot_cli.config import UserError
from fewshot_cli.kinds import nearest
from fewshot_cli.progress import say
from fewshot_cli.reports import result
from fewshot_cli.runs.directory import RunDirectory, atomic, new_name, shown

CFG = ("job", "hydra", "all")


def train(
    overrides: list[str], multirun: bool, config_dir: Path | None, cfg: str | None, dry_run: bool
) -> None:
    """Run, sweep, print the config, or try it out.

    Raises:
        UserError: an override, the data or the device is wrong; no run was begun.
        SystemExit: 1 if a job failed.
    """
    if cfg is not None and cfg not in CFG:
        raise UserError(f"--cfg {cfg}: expected {nearest(cfg, CFG)}")
    if cfg is not None and multirun:
        raise UserError("--cfg: shows the config of one run; expected no --multirun beside it")
    configs = compose.sweep_configs(overrides, config_dir, multirun)
    if dry_run:
        from fewshot_cli.training.run import dry_run as try_out

        for config in configs:
            print(try_out(config))
        return
    where, overrides = _place(overrides, multirun)
    if cfg is None:
        _reserve(where)
    _hand_to_hydra(overrides, multirun, config_dir, cfg)
    if multirun:
        _report_sweep(where)


def _place(overrides: list[str], multirun: bool) -> tuple[Path, list[str]]:
    """Where the run or sweep goes, and the overrides that send it there."""
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    for override in overrides:
        if override.startswith(f"{key}="):
            return Path(override.partition("=")[2]), overrides
    where = Path("outputs") / ("sweeps" if multirun else "runs") / new_name()
    return where, [*overrides, f"{key}={where}"]


def _reserve(where: Path) -> None:
    """Make the folder, which must be empty: no run goes where another one is."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        if any(where.iterdir()):
            raise UserError(f"{where}: already holds something; expected a new or empty folder")
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{where}: {why}; expected a folder that can be made") from error


def _hand_to_hydra(
    overrides: list[str], multirun: bool, config_dir: Path | None, cfg: str | None
) -> None:
    """Hydra reads its own command line, and wants flags first."""
    flags = ["--multirun"] if multirun else []
    flags += ["--cfg", cfg] if cfg else []
    sys.argv = ["fewshot", *flags, *overrides, *compose.search_path(config_dir)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through instead of printing them
    with compose.explained(config_dir):
        job()


@hydra.main(config_path=f"pkg://{compose.CONF}", config_name="config", version_base=compose.VERSION)
def job(composed: DictConfig) -> None:
    """One run in the folder that Hydra made for it. A launcher may call it in another process.

    Raises:
        SystemExit: a run of its own failed (1), or never began, since the user's input is wrong
            (2). In a sweep the other jobs go on; status.json says why this one did not.
    """
    from fewshot_cli.training.run import run

    hydra_config = HydraConfig.get()
    alone = hydra_config.mode is RunMode.RUN
    directory = RunDirectory(Path(hydra_config.runtime.output_dir))
    try:
        run(compose.to_config(composed), directory)
    except KeyboardInterrupt:
        directory.mark("interrupted", "interrupted from the keyboard")
        say(f"fewshot: interrupted; what was written is in {shown(directory.path)}")
        raise
    except UserError as error:
        if not alone or directory.config.exists():
            _fail(directory, error, alone)
            return
        _leave_nothing(directory.path)
        say(f"fewshot: {error}")
        sys.exit(2)
    except Exception as error:
        _fail(directory, error, alone)
    else:
        result.show(directory, directory)


def _fail(directory: RunDirectory, error: Exception, alone: bool) -> None:
    line = " ".join(str(error).split()) or type(error).__name__
    directory.mark("failed", line)
    with atomic(directory.path / "traceback.txt") as file:
        traceback.print_exception(error, file=file)
    say(f"fewshot: the run failed: {line}; see {shown(directory.path)}")
    if alone:
        sys.exit(1)


def _leave_nothing(path: Path) -> None:
    """Take away the folder of a run that never began: Hydra made it, and .hydra/ in it."""
    shutil.rmtree(path / ".hydra")
    if not any(path.iterdir()):
        path.rmdir()


def _report_sweep(where: Path) -> None:
    """Say how the jobs of a sweep ended, from what they left on the disk."""
    jobs = [RunDirectory(path.parent) for path in sorted(where.glob("*/status.json"))]
    failed = [job for job in jobs if job.read(job.status)["status"] != "completed"]
    for run in failed:
        status = run.read(run.status)
        say(f"fewshot: {shown(run.path)} {status['status']}: {status['error']}")
    print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs completed: {shown(where)}")
    if failed:
        sys.exit(1)
