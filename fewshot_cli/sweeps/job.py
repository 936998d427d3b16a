"""One run as Hydra starts it: in this process, or where a launcher sends it."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fewshot_cli.progress import speaking
from fewshot_cli.runs import result
from fewshot_cli.runs.directory import COMPLETED, BusyError, RunDirectory
from fewshot_cli.runs.signals import end_with_parent
from fewshot_cli.settings import compose, hydra_private
from fewshot_cli.sweeps.directory import what_varies

FAILED = 1


def job(composed: DictConfig) -> float | None:
    """One run in the folder that Hydra made for it, which may hold its beginning.

    Returns:
        What a sweeper maximises: the best meta-validation's accuracy, or for regression minus its
        loss. None if the job of a sweep failed: the others go on, and its status.json says why.
        None too if another command has done it, or is at work on it.

    Raises:
        SystemExit: the run failed or was interrupted.
    """
    hydra_config = HydraConfig.get()
    directory = RunDirectory(Path(hydra_config.runtime.output_dir))
    sweep = hydra_config.mode is RunMode.MULTIRUN
    if sweep:
        end_with_parent()
    try:
        speaker = what_varies(directory.path.name) if sweep else ""
        with speaking(speaker), directory.recorded(aloud=not sweep):
            if sweep and directory.state() == COMPLETED:
                return None
            if hydra_config.output_subdir is None:
                hydra_private.record(composed)
            from fewshot_cli.training.ranks import train

            train(compose.to_config(composed, compose.searched(hydra_config.searchpath)), directory)
    except BusyError:
        if not sweep:
            raise
        return None
    except SystemExit as end:
        if not sweep or end.code != FAILED:
            raise
        return None
    if not sweep:
        result.show(directory)
    return directory.best_validation()
