"""One run in several processes, its ranks: how they start, find one another and end.

Every rank runs the same code on the same tasks. The first one writes the run directory and speaks;
the others are silent. Without torchrun or srun the first one starts the others on its host.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import rendezvous

from fewshot_cli.progress import be_silent
from fewshot_cli.runs.directory import RunDirectory, Unwritten, ending
from fewshot_cli.runs.ranks import SLURM, Place, place
from fewshot_cli.runs.signals import terminable, warnable
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.ranks import RankLostError, Ranks, Together
from fewshot_cli.training.run import Judge, nobody, run
from fewshot_cli.training.setup import device_named
from fewshot_cli.training.watch import INTERRUPT, Watch

# It ends with the first rank from the start, not only once torch is imported.
CHILD = """
import signal, sys
from fewshot_cli.runs.signals import end_with_parent
end_with_parent(int(sys.argv[1]), signal.SIGKILL)
from fewshot_cli.training.ranks import child
child()
"""
FOREVER = timedelta(days=365)  # for an exchange: the watch knows better who is lost
COMING = timedelta(minutes=5)  # until all ranks are there
LAST_WORDS = 3.0  # seconds in which it becomes known how a rank ended
BETWEEN_LOOKS = 0.1
SIOCGIFADDR = 0x8915  # Linux's request for the address of a network interface
NO_LINE = "ended before it joined the others"


def train(config: Config, directory: RunDirectory, judge: Judge = nobody) -> None:
    """`run`, by as many ranks as the config or torchrun or srun says; this is the first one.

    Raises:
        UserError: as `run` and `place` say.
        RankLostError: a rank is gone or does not answer.
    """
    with warnable(config.requeue or config.ranks == SLURM, config.requeue):
        here = place(config.ranks)
        size = int(config.ranks or 1) if here is None else here.size
        if size == 1:
            run(config, directory, judge=judge)
        elif here is not None:
            with joined(here, _store_of(here), config, _last_words) as ranks:
                run(config, directory, ranks, judge)
        else:
            with (
                _children(config, size) as (store, how),
                joined(Place(0, size, 0, size, "fewshot"), store, config, how) as ranks,
            ):
                run(config, directory, ranks, judge)


def follow(config: Config, here: Place) -> None:
    """What a rank does that is not the first one, where torchrun or srun started it.

    Raises:
        SystemExit: 1 where the run failed, 143 where it was told to stop.
    """
    with warnable(here.starter == "srun", requeue=False):
        _follow(config, here, _store_of(here))


def child() -> None:
    """What a rank does that the first one started; its work comes by standard input."""
    config, here, path = pickle.load(sys.stdin.buffer)
    store = FileStore(path, here.size)
    store.set(_here(here.rank), "")
    _follow(config, here, store)


def _here(rank: int) -> str:
    """The key that says that a rank has come so far."""
    return f"here/{rank}"


def _follow(config: Config, here: Place, store: Store) -> None:
    be_silent()
    terminal = os.dup(2)
    if here.starter != "fewshot":  # else a file is there for it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    key = f"why/{here.rank}"
    with terminable():
        try:
            with joined(here, store, config, _last_words) as ranks:
                run(config, Unwritten(Path()), ranks)
        except RankLostError as error:
            if here.rank == 1 and here.starter != "fewshot" and str(error).startswith("rank 0 "):
                os.write(terminal, f"fewshot: the run failed: {error}\n".encode())
            sys.exit(1)
        except (KeyboardInterrupt, SystemExit) as end:
            store.set(key, f"was {ending(end)[1]}")
            raise
        except Exception as error:
            store.set(key, f"failed: {ending(error)[1]}")
            sys.exit(1)


def _last_words(rank: int, store: Store) -> str | None:
    """What a rank that is gone has left to say."""
    key = f"why/{rank}"
    try:
        return store.get(key).decode() if store.check([key]) else None
    except RuntimeError:  # the store went away with it
        return None


@contextmanager
def joined(
    here: Place,
    store: Store,
    config: Config,
    why: Callable[[int, Store], str | None],
) -> Iterator[Ranks]:
    """All ranks of the run, once they are there."""
    device = device_named(config.device, here.local)
    address = "127.0.0.1" if here.starter == "fewshot" else _address(here)
    interface = _interface(address)
    if interface is not None:  # gloo itself would ask for this host's name
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    ours = here.starter == "fewshot"  # then all have come already
    store.set_timeout(timedelta(seconds=config.rank_timeout) if ours else COMING)
    try:
        try:
            group, names = _met(here, store, "nccl" if device.type == "cuda" else "gloo")
        except RuntimeError as error:
            raise RankLostError(_who_is_missing(here, store, why, error)) from error
        watch = Watch(group, names, config.rank_timeout, lambda rank: why(rank, store))
        with _interrupted_by(watch):
            yield Together(device, watch, here.local, here.beside if _divides(here) else 1)
        watch.end()
    except RankLostError:
        if not ours:  # the exchange that waits for it would never end
            atexit.register(_leave)
        raise
    else:
        dist.destroy_process_group()


@contextmanager
def _interrupted_by(watch: Watch) -> Iterator[None]:
    """Raise RankLostError in work that exchanges nothing for long, such as reading the data."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        assert watch.lost is not None
        raise RankLostError(watch.lost)

    earlier = signal.signal(INTERRUPT, end)
    try:
        yield
    finally:
        watch.over.set()
        signal.signal(INTERRUPT, earlier)


def _met(here: Place, store: Store, backend: str) -> tuple[dist.ProcessGroup, list[str]]:
    """A group for the watch, beside the one for exchanges, and what to call each rank.

    Raises:
        RuntimeError: a rank did not come.
    """
    dist.init_process_group(
        backend, store=store, rank=here.rank, world_size=here.size, timeout=FOREVER
    )
    group = dist.new_group(backend="gloo", timeout=FOREVER)
    assert isinstance(group, dist.ProcessGroup)
    store.set(f"name/{here.rank}", f"process {os.getpid()} on {socket.gethostname()}")
    names = [f"rank {rank} ({store.get(f'name/{rank}').decode()})" for rank in range(here.size)]
    return group, names


def _who_is_missing(
    here: Place, store: Store, why: Callable[[int, Store], str | None], error: RuntimeError
) -> str:
    """The rank whose end is known, else what the library says."""
    ends = ((rank, why(rank, store)) for rank in range(here.size) if rank != here.rank)
    known = (f"rank {rank} {end}" for rank, end in ends if end)
    return next(known, f"a rank did not join the others: {' '.join(str(error).split())}")


def _divides(here: Place) -> bool:
    """Whether the ranks of a host must share its cores by themselves."""
    return "OMP_NUM_THREADS" not in os.environ or here.starter == "fewshot"


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def _children(
    config: Config, size: int
) -> Iterator[tuple[Store, Callable[[int, Store], str | None]]]:
    """Start the other ranks on this host; they end with this one."""
    folder = Path(tempfile.mkdtemp(prefix="fewshot-ranks-"))
    path = str(folder / "store")
    children = dict[int, subprocess.Popen[bytes]]()

    def how(rank: int, store: Store) -> str | None:
        told = time.monotonic() + LAST_WORDS
        while children[rank].poll() is None and time.monotonic() < told:
            time.sleep(BETWEEN_LOOKS)
        code = children[rank].returncode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return _last_words(rank, store)

    with ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        ends.callback(_leave_group)
        for rank in range(1, size):
            with open(folder / f"{rank}.stderr", "wb") as said:
                children[rank] = subprocess.Popen(
                    [sys.executable, "-c", CHILD, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                )
            ends.push(partial(_end, children[rank]))
        for rank, process in children.items():
            assert process.stdin is not None
            with process.stdin:
                pickle.dump((config, Place(rank, size, rank, size, "fewshot"), path), process.stdin)
        store = FileStore(path, size)
        coming = {*children}
        while coming:  # else an exchange would wait for minutes for one that died
            for rank, process in children.items():
                if process.poll() is not None:
                    raise RankLostError(f"rank {rank} {how(rank, store) or NO_LINE}")
                if store.check([_here(rank)]):
                    coming.discard(rank)
            time.sleep(BETWEEN_LOOKS)
        yield store, how


def _end(process: subprocess.Popen[bytes], kind: type[BaseException] | None, *_: object) -> None:
    """It ends by itself when the run is done, unless it hangs."""
    try:
        process.wait(LAST_WORDS if kind is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _leave_group() -> None:
    """After a run that failed: its exchanges end once the others have ended."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _store_of(here: Place) -> Store:
    """Where ranks that torchrun or srun started find one another."""
    if here.address is None:
        store: Store
        store, _, _ = next(rendezvous("env://", timeout=COMING))
        # The agent may keep its store, with what the ranks of an earlier start left in it.
        return PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    host, port = here.address
    return TCPStore(host, port, here.size, is_master=here.rank == 0, timeout=COMING)


def _address(here: Place) -> str:
    """Of this host, as the first rank's sees it."""
    host = here.address[0] if here.address else os.environ["MASTER_ADDR"]
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # nothing is sent
            found: str = probe.getsockname()[0]
            return found
    except OSError:
        return ""


def _interface(address: str) -> str | None:
    """The network interface that has an address; None where that cannot be told."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            asked = struct.pack("256s", name.encode()[:15])
            try:
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, asked)[20:24]
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(found) == address:
                return name
    return None
