"""One run as Hydra starts it: in this process, or where a launcher sends it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fewshot_cli.progress import speaking
from fewshot_cli.runs.directory import COMPLETED, BusyError, RunDirectory
from fewshot_cli.runs.signals import end_in_peace, end_with_parent
from fewshot_cli.settings import compose, hydra_private
from fewshot_cli.sweeps import study
from fewshot_cli.sweeps.directory import what_varies

FAILED = 1


def job(composed: DictConfig) -> float | None:
    """One run in the folder that Hydra made for it, which may hold its beginning.

    Returns:
        The best meta-validation's accuracy, or for regression minus its loss. None if the job of a
        sweep failed: the others go on, and its status.json says why. None too if another command
        has done it, or is at work on it.

    Raises:
        SystemExit: the run failed or was interrupted.
    """
    hydra_config = HydraConfig.get()
    directory = RunDirectory(Path(hydra_config.runtime.output_dir))
    sweep = hydra_config.mode is RunMode.MULTIRUN
    if sweep:
        end_with_parent(os.getppid())
        if "SUBMITIT_EXECUTOR" in os.environ:
            heed_signals()
    try:
        speaker = what_varies(directory.path.name) if sweep else ""
        with speaking(speaker), directory.recorded(aloud=not sweep):
            if sweep and directory.state() == COMPLETED:
                return None
            if hydra_config.output_subdir is None:
                hydra_private.record(composed)
            from fewshot_cli.training.ranks import train

            config = compose.to_config(
                composed,
                compose.searched(hydra_config.searchpath),
                told=hydra_config.overrides.task,
            )
            if sweep and config.group is None:
                config.group = directory.path.parent.name
            told = hydra_config.sweeper if sweep else {}
            train(config, directory, study.judge(told, directory.path.name))
    except BusyError:
        if not sweep:
            raise
        return None
    except SystemExit as end:
        if not sweep or end.code != FAILED:
            raise
        return None
    return directory.best_validation()


def heed_signals() -> None:
    """Stop at SIGTERM, which submitit's handler ignores, and say what becomes of its USR2."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    queue_again = signal.getsignal(signal.SIGUSR2)
    if not callable(queue_again):  # it may use another signal
        return

    def at_time_limit(number: int, frame: FrameType | None) -> NoReturn:
        end_in_peace()
        try:
            queue_again(number, frame)
        except SystemExit:
            sys.exit("its time limit came, and it was queued again")
        except Exception:  # with the limit `hydra.launcher.max_num_timeout`
            sys.exit("its time limit came once more than hydra.launcher.max_num_timeout allows")
        sys.exit(128 + number)

    signal.signal(signal.SIGUSR2, at_time_limit)
