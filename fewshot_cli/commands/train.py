"""`fewshot train`: check the overrides, then run the job or the sweep."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from fewshot_cli import compose, hydra_private
from fewshot_cli.commands.sweep import sweep
from fewshot_cli.config import UserError, recorded
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
    if multirun:
        sweep(compose.jobs(overrides, config_dir, trusted), overrides, config_dir, dry_run)
        return
    with compose.explained(config_dir):
        where, overrides = place(overrides, "run")
    single = compose.single(overrides, config_dir, trusted)
    if cfg is not None:
        _show(single, cfg)
    elif dry_run:
        from fewshot_cli.training.run import dry_run as try_out

        print(try_out(single.config))
    else:
        look_at_needs([single.config])
        _reserve(where)
        with compose.initialize():
            hydra_private.run(job, single.composed)


def _show(single: compose.Single, cfg: str) -> None:
    """Print what a run records of its settings, or Hydra's own settings, or both."""
    ours = OmegaConf.create(recorded(single.config))
    theirs = OmegaConf.masked_copy(single.composed, "hydra")
    shown = {"job": [ours], "hydra": [theirs], "all": [theirs, ours]}[cfg]
    print("".join(map(OmegaConf.to_yaml, shown)), end="")


def _reserve(where: Path) -> None:
    """Make the folder, which must be empty: no run goes where another one is."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        if any(where.iterdir()):
            raise UserError(f"{where}: already holds something; expected a new or empty folder")
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{where}: {why}; expected a folder that can be made") from error
