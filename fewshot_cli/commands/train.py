"""`fewshot train`: check the overrides, then let Hydra run the job or the sweep."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fewshot_cli import compose
from fewshot_cli.commands.sweep import sweep
from fewshot_cli.config import UserError
from fewshot_cli.job import job
from fewshot_cli.kinds import nearest
from fewshot_cli.launch import look_at_needs
from fewshot_cli.runs.place import place, spelled_out

CFG = ("job", "hydra", "all")


def train(
    overrides: list[str],
    multirun: bool,
    config_dir: Path | None,
    cfg: str | None,
    dry_run: bool,
    trusted: bool = False,
) -> None:
    """Run, sweep, print the config, or try it out.

    Raises:
        UserError: an override, the data or the device is wrong; no run was begun.
        SystemExit: 1 if a job failed.
    """
    overrides = spelled_out(overrides)
    if cfg is not None and cfg not in CFG:
        raise UserError(f"--cfg {cfg}: expected {nearest(cfg, CFG)}")
    if cfg is not None and multirun:
        raise UserError("--cfg: shows the config of one run; expected no --multirun beside it")
    jobs = compose.jobs(overrides, config_dir, multirun, trusted)
    if multirun:
        sweep(jobs, overrides, config_dir, dry_run)
    elif dry_run:
        from fewshot_cli.training.run import dry_run as try_out

        print(try_out(jobs[0].config))
    else:
        if cfg is None:
            look_at_needs([jobs[0].config])
            where, overrides = place(overrides, "run")
            _reserve(where)
        _hand_to_hydra(overrides, config_dir, cfg)


def _reserve(where: Path) -> None:
    """Make the folder, which must be empty: no run goes where another one is."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        if any(where.iterdir()):
            raise UserError(f"{where}: already holds something; expected a new or empty folder")
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{where}: {why}; expected a folder that can be made") from error


def _hand_to_hydra(overrides: list[str], config_dir: Path | None, cfg: str | None) -> None:
    """Hydra reads its own command line, and wants flags first."""
    flags = ["--cfg", cfg] if cfg else []
    sys.argv = ["fewshot", *flags, *overrides, *compose.search_path(config_dir)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through instead of printing them
    job()
