"""hydra/launcher=ray: each job a task of a Ray cluster, which runs it where there is room."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import INTERRUPTED, RunDirectory
from fewshot_cli.runs.signals import put_off, terminable
from fewshot_cli.settings.errors import UserError, in_short
from fewshot_cli.sweeps.directory import folder_told

ROOM = {"num_cpus": "CPU", "num_gpus": "GPU", "mem_gb": "memory"}  # our words and Ray's
GB = 10**9
SECONDS_TO_ANSWER = 5
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_JOIN = 20
SECONDS_TO_STOP = 30  # of jobs that are told to; the last update may be a long one
SECONDS_TO_LET_GO = 120  # of a folder, by the process of a host that Ray believes dead
ATTEMPTS = 2  # of a job whose process or host died


@dataclass(frozen=True)
class Common:
    """What all jobs need on another host."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    singletons: dict[Any, Any]
    here: str


@dataclass(frozen=True)
class Ended:
    host: str
    value: Any
    interrupted: bool


class RayLauncher(Launcher):
    def __init__(
        self, address: str | None, num_cpus: float, num_gpus: float, mem_gb: float | None
    ) -> None:
        self.address = address
        self.room = {"num_cpus": num_cpus, "num_gpus": num_gpus, "mem_gb": mem_gb or 0}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """What each job returned; None for one that failed, or died twice.

        Raises:
            UserError: Ray is not at the address, has no room for a job, or cannot begin one.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        setup_globals()
        if not ray.is_initialized():
            self._check()
            _join(self.address)
            self._look_for_room()
        # Ray's own retries would know of no end where the memory of a host runs out.
        task = ray.remote(_job).options(
            num_cpus=self.room["num_cpus"],
            num_gpus=self.room["num_gpus"],
            memory=int(self.room["mem_gb"] * GB) or None,
            max_retries=0,
        )
        common = ray.put(
            Common(self.context, self.config, self.task, Singleton.get_state(), os.getcwd())
        )
        values: list[Any] = [None] * len(job_overrides)
        attempts, hosts = Counter[int](), Counter[str]()
        waiting: dict[ray.ObjectRef[Ended], int] = {}

        def submit(place: int) -> None:
            attempts[place] += 1
            number, words = initial_job_idx + place, list(job_overrides[place])
            waiting[task.remote(common, number, words, attempts[place] > 1)] = place

        # Ray makes an exception of its own of one that a signal's handler raises while it waits.
        with terminable(), put_off() as told:
            try:
                for place in range(len(job_overrides)):
                    submit(place)
                while waiting and not told.is_there():
                    ready, _ = ray.wait(list(waiting), timeout=SECONDS_BETWEEN_LOOKS)
                    for job in ready:
                        place = waiting.pop(job)
                        try:
                            ended = ray.get(job)
                        except RayTaskError as error:  # what a job does wrong itself is on the disk
                            raise UserError(
                                f"a job cannot begin: {in_short(error.cause)}"
                            ) from None
                        except RayError as error:
                            ended, why = None, f"lost its process ({type(error).__name__})"
                        else:
                            why = f"was stopped on {ended.host}"
                        if ended is not None and not ended.interrupted:
                            values[place] = ended.value
                            hosts[ended.host] += 1
                            continue
                        again = attempts[place] < ATTEMPTS
                        what = "it runs once more" if again else "it does not run again"
                        say(f"fewshot: {folder_told(job_overrides[place])} {why}; {what}")
                        if again:
                            submit(place)
            finally:
                _stop(list(waiting))
        if len(hosts) > 1:
            where = ", ".join(f"{count} on {host}" for host, count in sorted(hosts.items()))
            say(f"Jobs by host: {where}")
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=value) for value in values]

    def _check(self) -> None:
        for key, amount in self.room.items():
            if not isinstance(amount, int | float) or amount < 0:
                raise UserError(f"hydra.launcher.{key}={amount}: expected a number from 0")

    def _look_for_room(self) -> None:
        """Ray would wait for ever for a host that has it.

        Raises:
            UserError: no host is large enough.
        """
        import ray

        hosts = [
            {key: host["Resources"].get(name, 0) for key, name in ROOM.items()}
            for host in ray.nodes()
            if host["Alive"]
        ]
        for host in hosts:
            host["mem_gb"] /= GB
        if not any(all(host[key] >= self.room[key] for key in ROOM) for host in hosts):
            asked = " ".join(f"hydra.launcher.{key}={self.room[key]:g}" for key in ROOM)
            most = " ".join(f"{key}={max(host[key] for host in hosts):.4g}" for key in ROOM)
            raise UserError(f"{asked}: no host of the cluster has that; the most on one: {most}")


def _join(address: str | None) -> None:
    """Become a driver of the cluster, or of one that ends with this process.

    Raises:
        UserError: there is no cluster at the address, or this host has no part in it.
    """
    if address and address != "auto":
        _answers(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
    _hear_nothing_of_ray()
    import ray

    failed: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except Exception as error:
            failed.append(error)

    if address:
        # In a thread, since it waits for minutes where something else answers, deaf to signals.
        thread = threading.Thread(target=join, daemon=True)
        thread.start()
        thread.join(SECONDS_TO_JOIN)
        if thread.is_alive():
            failed.append(TimeoutError("what answers there is no Ray of this version"))
    else:
        join()  # its processes end with the thread that started them
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray put its own handler there
    if failed:
        where = f"hydra.launcher.address={address}" if address else "Ray cannot start here"
        raise UserError(f"{where}: {in_short(failed[0])}")


def _hear_nothing_of_ray() -> None:
    """Ray's C++ writes to stderr and its news to stdout, whatever it is told; `say` goes on."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    expected = "expected HOST:PORT of the head of a cluster"
    if not host or not port.isdecimal():
        raise UserError(f"hydra.launcher.address={address}: {expected}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:  # the latter of a port that is too large
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"hydra.launcher.address={address}: no Ray answers there ({why}); {expected}"
        ) from error


def _stop(waiting: list[Any]) -> None:
    """Have the jobs stop where they can go on from; those that wait for room do not begin."""
    import ray

    for each in waiting:
        ray.cancel(each)
    if waiting:
        ray.wait(waiting, num_returns=len(waiting), timeout=SECONDS_TO_STOP)


def _job(common: Common, number: int, words: list[str], again: bool) -> Ended:
    """What runs in a process of Ray's, on any host.

    Raises:
        UserError: the sweep's folder is not there.
    """
    host = socket.gethostname()
    with suppress(OSError):  # paths of the user's begin there, where this host has it
        os.chdir(common.here)
    setup_globals()
    Singleton.set_state(common.singletons)
    config = common.context.config_loader.load_sweep_config(common.config, words)
    with open_dict(config):
        config.hydra.job.id = f"{config.hydra.job.name}_{number}"
        config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    sweep = Path(config.hydra.sweep.dir)
    if not sweep.is_dir():
        raise UserError(f"{host} has no {sweep}; expected a sweep.dir that all hosts share")
    run = RunDirectory(sweep / config.hydra.sweep.subdir)
    if again:
        end = time.monotonic() + SECONDS_TO_LET_GO
        while run.is_written() and time.monotonic() < end:
            time.sleep(0.5)
    done = run_job(
        hydra_context=common.context,
        task_function=common.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    value = done.return_value if done.status is JobStatus.COMPLETED else None
    return Ended(host, value, run.state() == INTERRUPTED)
