"""hydra/launcher=ray on a real Ray of two hosts: this one, and one in namespaces of its own.

The other host shares the network by a cable of its own, and of the files only the sweep's folder
and what is installed: where the sweep's command runs, the cache and Ray's files are not there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SINE = ["data=sinusoid", "model=mlp", "ways=1", "experiment=smoke", "eval.queries=5", "threads=1"]
MARK = "FEWSHOT_TEST_RAY"  # in the environment of every process that the cluster starts


class Cluster:
    def __init__(self, root: Path) -> None:
        self.root, self.other = root, f"fsr{os.getpid()}"
        self.net = f"10.79.{os.getpid() % 250}"
        self.here, self.shared = root / "here" / "work", root / "shared"
        for folder in (self.here, self.shared, root / "ray", root / "cache"):
            folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("", 0))
            self.address = f"{self.net}.1:{free.getsockname()[1]}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            MARK: self.other,
            "FEWSHOT_CACHE": str(root / "cache"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }

    def up(self) -> None:
        for line in (
            f"ip netns add {self.other}",
            f"ip link add {self.other} type veth peer name eth0 netns {self.other}",
            f"ip addr add {self.net}.1/24 dev {self.other}",
            f"ip link set {self.other} up",
            f"ip -n {self.other} addr add {self.net}.2/24 dev eth0",
            f"ip -n {self.other} link set lo up",
            f"ip -n {self.other} link set eth0 up",
        ):
            subprocess.run(line.split(), check=True)
        port = self.address.rpartition(":")[2]
        head = ["--head", f"--port={port}", f"--node-ip-address={self.net}.1"]
        self._node([*head, "--include-dashboard=false", f"--temp-dir={self.root / 'ray'}"])
        self.other_up()

    def other_up(self) -> None:
        unseen = [self.root / name for name in ("here", "ray", "cache")]
        separate = [f"hostname {self.other}", *(f"mount -t tmpfs none {path}" for path in unseen)]
        self._node(
            [f"--address={self.address}", f"--node-ip-address={self.net}.2"],
            [
                *("ip", "netns", "exec", self.other, "unshare", "--uts", "--mount"),
                *("sh", "-ec", f'{"; ".join(separate)}; exec "$@"', "sh"),
            ],
        )

    def _node(self, words: list[str], before: list[str] | None = None) -> None:
        common = ["--num-cpus=1", "--object-store-memory=100000000"]
        ray = str(Path(sys.executable).with_name("ray"))
        log = self.root / f"node{len(self.nodes)}.log"
        with log.open("wb") as file:
            command = [*(before or []), ray, "start", "--block", *common, *words]
            self.nodes.append(
                subprocess.Popen(command, env=self.environment, stdout=file, stderr=file, cwd="/")
            )
        end = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert self.nodes[-1].poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)

    def of_other(self) -> list[int]:
        """The ids of the processes of the other host."""
        command = ["ip", "netns", "pids", self.other]
        return [int(line) for line in subprocess.check_output(command).split()]

    def at_work(self, sweep: Path) -> set[str]:
        """The folders of the jobs that the other host holds now."""
        found = set()
        for process in self.of_other():
            for file in Path(f"/proc/{process}/fd").glob("*"):
                with suppress(OSError):
                    path = Path(os.readlink(file))
                    if path.name == ".lock" and path.parent.parent == sweep:
                        found.add(path.parent.name)
        return found

    def kill_other(self) -> None:
        """The other host dies, all at once and without a word."""
        while ids := self.of_other():
            for process in ids:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)

    def down(self) -> None:
        mark = f"{MARK}={self.other}".encode()
        for _ in range(2):  # what is started while the others end
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if mark in (process / "environ").read_bytes().split(b"\0"):
                        os.kill(int(process.name), signal.SIGKILL)
        for node in self.nodes:
            node.wait()
        subprocess.run(["ip", "link", "del", self.other], check=False)
        subprocess.run(["ip", "netns", "del", self.other], check=False)

    def sweep(self, *words: str) -> subprocess.Popen[str]:
        address = f"hydra.launcher.address={self.address}"
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "fewshot_cli", "train", "-m", *SINE, *words),
                *("hydra/launcher=ray", address, "sweep.dir=../../shared/s"),
            ],
            cwd=self.here,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Ray's sockets lie below, and their paths must be short.
    root = Path(tempfile.mkdtemp(prefix="fsr", dir="/tmp"))
    cluster = Cluster(root)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(root)


def states(sweep: Path) -> list[str]:
    found = sweep.glob("*/status.json")
    return sorted(json.loads(path.read_text())["status"] for path in found)


def test_20_jobs_on_two_hosts_of_which_one_dies(cluster: Cluster) -> None:
    sweep = cluster.sweep("seed=range(1,21)", "iterations=100")
    folder, held = cluster.shared / "s", set[str]()
    try:
        while len(held) < 3 and sweep.poll() is None:
            held |= cluster.at_work(folder)
            time.sleep(0.05)
        cluster.kill_other()
        out, err = sweep.communicate(timeout=600)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, err
    assert out.startswith("20 of 20 jobs completed: ../../shared/s\n"), out
    assert states(folder) == ["completed"] * 20
    again = re.findall(r"fewshot: (\S+) lost its process \(\w+\); it runs once more", err)
    assert len(again) == 1, err
    assert set(again) <= held
    where = re.search(r"^Jobs by host: (.*)$", err, re.MULTILINE)
    assert where is not None, err
    by_host = {host: int(count) for count, host in re.findall(r"(\d+) on ([^,]+)", where[1])}
    assert set(by_host) == {socket.gethostname(), cluster.other}
    assert sum(by_host.values()) == 20
    assert by_host[cluster.other] >= len(held) - 1
    assert not re.search(r"Warning|Traceback|raylet|\[2\d\d\d-", err), err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_jobs_on_both_hosts_and_the_same_command_goes_on(
    cluster: Cluster, number: int, status: int
) -> None:
    if not cluster.of_other():
        cluster.other_up()
    words = [f"seed={number}1,{number}2,{number}3", "iterations=300", "checkpoint.every=20"]
    folder = cluster.shared / "s"
    before = set(folder.glob("*"))
    sweep = cluster.sweep(*words)
    try:
        while sweep.poll() is None:
            begun = set(folder.glob("*/checkpoints/last.pt"))
            if len([path for path in begun if path.parents[1] not in before]) == 2:
                break
            time.sleep(0.05)
        sweep.send_signal(number)
        pressed = time.monotonic()
        out, err = sweep.communicate(timeout=100)
        assert time.monotonic() - pressed < 60
    finally:
        sweep.kill()
    assert sweep.returncode == status, err
    new = [path for path in folder.glob("*") if path.is_dir() and path not in before]
    assert [json.loads((path / "status.json").read_text()) for path in new] == [
        {"status": "interrupted", "error": "interrupted from the keyboard"}
    ] * 2, (out, err)
    assert not cluster.at_work(folder)
    sweep = cluster.sweep(*words)
    out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err
    assert out.startswith("3 of 3 jobs completed"), out
