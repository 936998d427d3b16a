"""A real SLURM of two nodes on this machine, as root and without systemd.

Each node has a network, a host name and an /etc/hosts of its own; the disk is shared. The daemons
are children of this process and end with it. Several such clusters may run at once, also those
of other processes: each has a network of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from socket import gethostname

NODES = ("n1", "n2")
CPUS, MEMORY_MB = 4, 20_000  # what each node says it has
NEEDED = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "ip", "nsenter", "setpriv")
PATIENCE = 120.0  # seconds, for anything that should be there at once

# Small times: a dead node is noticed after 10 s, and what is queued again starts after some 10.
CONF = """
ClusterName=test
SlurmctldHost={host}({gateway})
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=30
SchedulerParameters=sched_interval=2,bf_interval=2
{accounting}
{nodes}
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""

ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={gateway}
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
"""

DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr={gateway}
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost={gateway}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


class ClusterError(Exception):
    """The cluster cannot be started here; says why in one line."""


class Slurm:
    """Two nodes `n1` and `n2` with the partition `main`.

    Args:
        folder: for all files of the daemons; `log/` has what they say.
        accounts: whether `sacct` answers.
    """

    def __init__(self, folder: Path, accounts: bool = True) -> None:
        self.folder, self.accounts = folder, accounts
        self.conf = folder / "slurm.conf"
        self.env: Mapping[str, str] = os.environ | {"SLURM_CONF": str(self.conf)}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.number = 0  # of the network, 10.77.NUMBER.0

    # What tests ask of it.

    def run(self, *command: str, timeout: float = PATIENCE) -> str:
        """What a client command of SLURM says. It would hang where a daemon is gone."""
        done = subprocess.run(
            command, env=self.env, timeout=timeout, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def queue(self) -> list[str]:
        """`ID STATE NODE` of each job that is there, those that end too."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %N").splitlines()

    def pids(self, node: str) -> list[int]:
        """The processes on a node: slurmd's, those of its steps, and what jobs started."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._namespace(node)], capture_output=True, text=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def kill_node(self, node: str) -> None:
        """As if somebody pulled its plug."""
        for pid in self.pids(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemons.pop(node).wait()

    def start_node(self, node: str) -> None:
        """Its slurmd, for the first time or after `kill_node`."""
        inside = f"hostname {node} && mount --bind {self.folder}/hosts /etc/hosts && exec "
        # Not `ip netns exec`: it mounts /sys anew, and slurmd wants /sys/fs/cgroup.
        self._start(
            *(node, "nsenter", f"--net=/run/netns/{self._namespace(node)}"),
            *("unshare", "--uts", "--mount", "sh", "-c"),
            f"{inside} slurmd -D -N {node} -f {self.conf}",
        )

    def wait_until_idle(self) -> None:
        """Until both nodes take jobs."""
        states = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"]
        self._until(lambda: self.run(*states).split() == [*NODES], "both nodes are idle")

    # How it starts and stops.

    def start(self) -> None:
        """Return when both nodes are idle.

        Raises:
            ClusterError: something is missing here, or a daemon does not come up.
        """
        if missing := [name for name in NEEDED if not shutil.which(name)]:
            raise ClusterError(f"{missing[0]} is not installed; `make cluster` installs it")
        for name in ("log", "state", "spool", "db"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._start_network()
        self._start_munge()
        if self.accounts:
            self._start_accounts()
        self._write_conf()
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))
        for node in NODES:
            self.start_node(node)
        self.wait_until_idle()

    def stop(self) -> None:
        """End everything that was started, jobs too."""
        for node in NODES:
            for pid in self.pids(node) if self.number else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in reversed(self.daemons.values()):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons.clear()
        if self.number:
            for node in NODES:
                subprocess.run(["ip", "netns", "del", self._namespace(node)], check=False)
            subprocess.run(["ip", "link", "del", f"fewshot{self.number}"], check=False)

    def _start_network(self) -> None:
        """A bridge on this host, and a namespace with an address for each node."""
        for number in range(1, 200):
            made = _ip(f"link add fewshot{number} type bridge")
            if not made:
                self.number = number
                break
            if "File exists" not in made:
                raise ClusterError(f"a network of its own cannot be made here: {made}")
        hosts = ["127.0.0.1 localhost", f"{self._address(0)} {gethostname()}"]
        commands = [f"addr add {self._address(0)}/24 dev fewshot{number}"]
        commands += [f"link set fewshot{number} up"]
        for place, node in enumerate(NODES, 1):
            name = self._namespace(node)
            hosts.append(f"{self._address(place)} {node}")
            commands += [
                f"netns add {name}",
                f"link add {name} type veth peer name eth0 netns {name}",
                f"link set {name} master fewshot{number} up",
                f"-n {name} addr add {self._address(place)}/24 dev eth0",
                f"-n {name} link set lo up",
                f"-n {name} link set eth0 up",
            ]
        for command in commands:
            if error := _ip(command):
                raise ClusterError(f"a network of its own cannot be made here: {error}")
        (self.folder / "hosts").write_text("\n".join(hosts) + "\n")

    def _address(self, place: int) -> str:
        """Of this host, 0, or a node, from 1."""
        return f"10.77.{self.number}.{10 * place + 1}"

    def _namespace(self, node: str) -> str:
        return f"fs{self.number}{node}"

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        names = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        paths = [f"--{option}={self.folder}/munge.{end}" for option, end in names.items()]
        # It refuses a folder that others may write into, as /tmp is.
        self._start("munged", "munged", "--foreground", "--force", *paths)
        self._until((self.folder / "munge.socket").exists, "munged answers")

    def _start_accounts(self) -> None:
        data, socket = self.folder / "db", self.folder / "db.socket"
        with (self.folder / "log" / "install-db").open("wb") as log:
            subprocess.run(
                [
                    *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"),
                    *("--auth-root-authentication-method=normal", "--skip-test-db"),
                ],
                **{"stdout": log, "stderr": log},
                check=True,
            )
        self._start(
            *("mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}"),
            *(f"--socket={socket}", f"--pid-file={self.folder}/db.pid", "--skip-log-bin"),
            *(f"--bind-address={self._address(0)}", "--innodb-buffer-pool-size=64M"),
            *("--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"),
        )
        user = "create user slurm@'%' identified by 'slurm'; grant all on slurm.* to slurm@'%'"
        sql = ["mariadb", "--no-defaults", "--user=root", f"--socket={socket}", "--execute"]
        self._until(lambda: self.run(*sql, user) == "", "the database answers")
        text = DATABASE.format(**self._values())
        database = self.folder / "slurmdbd.conf"
        database.touch(0o600)
        database.write_text(text)
        self.conf.write_text(CONF.format(**self._values(), nodes=""))
        self._start("slurmdbd", "slurmdbd", "-D")
        add = ["sacctmgr", "--immediate", "add", "cluster", "test"]
        self._until(lambda: "test" in self.run(*add), "slurmdbd answers")

    def _write_conf(self) -> None:
        nodes = "\n".join(
            f"NodeName={node} NodeAddr={self._address(place)} CPUs={CPUS} RealMemory={MEMORY_MB}"
            for place, node in enumerate(NODES, 1)
        )
        self.conf.write_text(CONF.format(**self._values(), nodes=nodes))

    def _values(self) -> dict[str, str]:
        found = {
            "folder": str(self.folder),
            "host": gethostname(),
            "gateway": self._address(0),
            # They take their ports on every address of this host.
            "controller_port": str(17000 + self.number),
            "port": str(17500 + self.number),
        }
        return found | {"accounting": ACCOUNTING.format(**found) if self.accounts else ""}

    def _start(self, name: str, *command: str) -> None:
        """A daemon in the foreground, which ends with this process."""
        with (self.folder / "log" / name).open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it.

        Raises:
            ClusterError: a daemon ended, or it takes too long.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for name, process in self.daemons.items():
                if process.poll() is not None:
                    said = (self.folder / "log" / name).read_text(errors="replace").splitlines()
                    raise ClusterError(f"{name} ended: {said[-1] if said else 'it said nothing'}")
            with suppress(subprocess.SubprocessError):
                if holds():
                    return
            time.sleep(0.1)
        raise ClusterError(f"waited {PATIENCE:.0f} s in vain until {what}; see {self.folder}/log")


def _ip(command: str) -> str:
    """Run it; the error, or nothing."""
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


if __name__ == "__main__":  # a cluster to try things on, until Enter
    cluster = Slurm(Path(sys.argv[1]).absolute(), accounts="--no-accounts" not in sys.argv)
    try:
        cluster.start()
        input(f"export SLURM_CONF={cluster.conf}\nEnter stops it\n")
    finally:
        cluster.stop()
