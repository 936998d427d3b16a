"""`fewshot train`: check the overrides, then let Hydra run the job or the sweep."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fewshot_cli import compose
from fewshot_cli.config import Config, UserError
from fewshot_cli.kinds import nearest
from fewshot_cli.progress import say
from fewshot_cli.reports import result
from fewshot_cli.runs.directory import RunDirectory, new_name, shown

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
    if cfg is not None and cfg not in CFG:
        raise UserError(f"--cfg {cfg}: expected {nearest(cfg, CFG)}")
    if cfg is not None and multirun:
        raise UserError("--cfg: shows the config of one run; expected no --multirun beside it")
    configs = compose.sweep_configs(overrides, config_dir, multirun, trusted)
    if dry_run:
        from fewshot_cli.training.run import dry_run as try_out

        for config in configs:
            print(try_out(config))
        return
    if cfg is None:
        _look_at_needs(configs)
        where, overrides = _place(overrides, multirun)
        _reserve(where)
    _hand_to_hydra(overrides, multirun, config_dir, cfg)
    if multirun and cfg is None:
        _report_sweep(where, len(configs))


def _look_at_needs(configs: list[Config]) -> None:
    """Load what the jobs will load, so that what is wrong with it costs no run directory."""
    from fewshot_cli.training.setup import device_and_data

    seen: list[object] = []
    for config in configs:
        asked = (config.data, config.cache_dir, config.device, config.compile)
        if asked not in seen:
            seen.append(asked)
            device_and_data(config)


def _place(overrides: list[str], multirun: bool) -> tuple[Path, list[str]]:
    """Where the run or sweep goes, and the overrides that send it there."""
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.key_or_group == key:
            return Path(str(override.value())), overrides
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
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:  # of the launcher: jobs keep theirs
        raise UserError(" ".join(str(error).split())) from error


@hydra.main(config_path=f"pkg://{compose.CONF}", config_name="config", version_base=compose.VERSION)
def job(composed: DictConfig) -> None:
    """One run in the folder that Hydra made for it. A launcher may call it in another process.

    Raises:
        SystemExit: 1 if it failed. In a sweep the other jobs go on; status.json says why this one
            did not.
    """
    hydra_config = HydraConfig.get()
    directory = RunDirectory(Path(hydra_config.runtime.output_dir))
    try:
        with directory.recorded():
            from fewshot_cli.training.run import run

            run(compose.to_config(composed), directory)
    except SystemExit as end:
        if hydra_config.mode is RunMode.RUN or end.code != 1:  # a signal ends the whole sweep
            raise
        return
    result.show(directory, directory)


def _report_sweep(where: Path, expected: int) -> None:
    """Say how the jobs of a sweep ended, from what they left on the disk."""
    jobs = [RunDirectory(path.parent) for path in sorted(where.glob("*/status.json"))]
    failed = [job for job in jobs if job.read(job.status)["status"] != "completed"]
    for run in failed:
        status = run.read(run.status)
        say(f"fewshot: {shown(run.path)} {status['status']}: {status['error']}")
    completed = len(jobs) - len(failed)
    print(f"{completed} of {expected} jobs completed: {shown(where)}")
    if completed < expected:
        sys.exit(1)
