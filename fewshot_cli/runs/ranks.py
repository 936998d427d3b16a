"""Where this process stands among the ranks of its run: started by torchrun, by srun, or alone.

torchrun says so in the environment (https://docs.pytorch.org/docs/stable/elastic/run.html). SLURM's
variables are in the environment of whatever runs inside an allocation, an sbatch script, a job of a
sweep and an interactive shell included, so srun is only looked for with `ranks=slurm`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from fewshot_cli.settings.errors import UserError

SLURM = "slurm"
MOST_A_CORE = 16  # ranks; more is a slip of the finger
FIRST_PORT, PORTS = 20000, 10000  # where the ranks of a step of SLURM's find one another


@dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
        rank: its number, from 0; the first one writes the run directory.
        size: how many processes the run has.
        local: its number on its host.
        beside: how many there are on its host.
        starter: who started it: "torchrun", "srun", or "fewshot" for those of one host.
        again: the run was started before, and its starter starts it once more.
        address: of the first rank's host, and a port; torchrun's is in the environment.
    """

    rank: int
    size: int
    local: int
    beside: int
    starter: str
    again: bool = False
    address: tuple[str, int] | None = None


def place(ranks: str | None) -> Place | None:
    """Where this process stands; None where nobody but `fewshot` itself starts ranks.

    Args:
        ranks: what the config says.

    Raises:
        UserError: it is not what started this process.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        size = int(told["WORLD_SIZE"])
        if ranks not in (None, str(size)):
            raise UserError(
                f"ranks={ranks}: torchrun started {size}; expected no ranks= beside torchrun"
            )
        return Place(
            int(told["RANK"]),
            size,
            int(told["LOCAL_RANK"]),
            int(told["LOCAL_WORLD_SIZE"]),
            "torchrun",
            again=int(told.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0,
        )
    if ranks != SLURM:
        cores = os.cpu_count() or 1
        if int(ranks or 1) > MOST_A_CORE * cores:
            raise UserError(
                f"ranks={ranks}: this host has {cores} {'core' if cores == 1 else 'cores'}; "
                f"expected at most {MOST_A_CORE * cores}"
            )
        return None
    # srun alone sets these; sbatch and salloc do not.
    if "SLURM_STEP_NUM_TASKS" not in told or "SLURM_PROCID" not in told:
        raise UserError("ranks=slurm: srun did not start this; expected `srun fewshot train ...`")
    size = int(told["SLURM_STEP_NUM_TASKS"])
    return Place(
        int(told["SLURM_PROCID"]),
        size,
        int(told["SLURM_LOCALID"]),
        _beside(told["SLURM_STEP_TASKS_PER_NODE"], int(told["SLURM_NODEID"])),
        "srun",
        again=int(told.get("SLURM_RESTART_COUNT", 0)) > 0,
        address=(_first_host(), _port()) if size > 1 else None,
    )


def _beside(tasks_per_node: str, node: int) -> int:
    """How many tasks a node has, by SLURM's "2(x3),1": three nodes of two and one of one."""
    counts = list[int]()
    for part in tasks_per_node.split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[node]


def _first_host() -> str:
    """MASTER_ADDR, or the first node of the step."""
    given = os.environ.get("MASTER_ADDR")
    if given:
        return given
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return found.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise UserError(
            "ranks=slurm: `scontrol show hostnames` does not say which host is the first; "
            "expected MASTER_ADDR in the environment"
        ) from error


def _port() -> int:
    """MASTER_PORT, or one that no other step of the job has."""
    given = os.environ.get("MASTER_PORT")
    if given:
        return int(given)
    step = os.environ["SLURM_STEP_ID"]
    number = int(os.environ["SLURM_JOB_ID"]) * 7 + (int(step) if step.isdigit() else 0)
    return FIRST_PORT + number % PORTS
