"""What the ranks of one run, its processes, tell one another, by torch.distributed.

A batch is cut into the same units whatever the number of ranks, each unit is computed by one rank,
and sums over units are made in the order of the units. So the bits do not depend on the ranks.
"""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

LOOK = 0.5  # seconds for which an exchange waits before it asks whether a rank is lost
LOOKS = 20  # at who is lost, once a connection has ended

T = TypeVar("T")


class RankLostError(Exception):
    """A rank of this run does not answer any more; says which and why."""


class Ranks:
    """A process by itself; `Together` has others beside it.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        local: its number among those of its host.
        share_cores: how many of them share the cores of this host.
    """

    rank, size, local, share_cores = 0, 1, 0, 1

    def takes(self, unit: int) -> bool:
        """Whether this rank computes a unit, counted from 0."""
        return unit % self.size == self.rank

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        return here

    def first(self, make: Callable[[], T]) -> T:
        """What `make` gives on the first rank, which alone calls it."""
        return make()

    def every(self, own: T) -> list[T]:
        """What each rank has."""
        return [own]

    def rows(self, own: Tensor, units: int) -> Tensor:
        """A row for each unit, `[units, W]`, from those that this rank computed, `[own, W]`."""
        return own

    def check(self) -> None:
        """For long work without an exchange.

        Raises:
            RankLostError: a rank is lost.
        """

    def tell(self, told: Callable[[], bool]) -> None:
        """Let the others know, from now on, whether this rank was told to stop."""

    def told_to_stop(self) -> bool:
        """Whether another rank was told to stop, as far as it is known here."""
        return False


ALONE = Ranks()


class Watching(Protocol):
    """Who knows how the other ranks are."""

    lost: str | None  # the line that says which rank is lost
    told: Callable[[], bool]

    def told_to_stop(self) -> bool: ...


class Together(Ranks):
    """One of several ranks, which all call the same methods in the same order.

    Every method raises RankLostError where a rank is lost while others wait for it.

    Args:
        device: where the tensors lie that are exchanged.
    """

    def __init__(self, device: torch.device, watch: Watching, local: int, share_cores: int) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local, self.share_cores = local, share_cores
        self.device, self.watch = device, watch

    def any(self, here: bool) -> bool:
        told = torch.tensor(int(here), device=self.device)
        self._wait(dist.all_reduce(told, dist.ReduceOp.MAX, async_op=True))
        return bool(told)

    def first(self, make: Callable[[], T]) -> T:
        content = _bytes(make()) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor(len(content), device=self.device)
        self._wait(dist.broadcast(length, 0, async_op=True))
        sent = content.to(self.device) if self.rank == 0 else self._blank(int(length))
        self._wait(dist.broadcast(sent, 0, async_op=True))
        value: T = pickle.loads(sent.cpu().numpy().tobytes())
        return value

    def every(self, own: T) -> list[T]:
        buffer = io.BytesIO()
        torch.save(own, buffer)
        content = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        length = torch.tensor([len(content)], device=self.device)
        lengths = [int(each) for each in self._gather(length)]
        padded = self._blank(max(lengths))
        padded[: len(content)] = content.to(self.device)
        parts = zip(self._gather(padded), lengths, strict=True)
        return [self._loaded(part[:length]) for part, length in parts]

    def rows(self, own: Tensor, units: int) -> Tensor:
        padded = own.new_zeros(-(-units // self.size), own.shape[1])
        padded[: len(own)] = own
        # Row i of rank r is that of the unit i * size + r.
        return torch.stack(self._gather(padded), 1).flatten(0, 1)[:units]

    def summed(self, own: Tensor, units: int, share: float) -> Tensor:
        """The rows of all units, `[W]`, added up in the order of the units, `share` times each."""
        # Each rank adds up a part of the columns, and so receives that part of the rows alone.
        most, width = -(-units // self.size), own.shape[1]
        part = -(-width // self.size)
        padded = own.new_zeros(most, self.size * part)
        padded[: len(own), :width] = own
        sent = padded.view(most, self.size, part).transpose(0, 1).contiguous()
        received = torch.empty_like(sent)  # from each rank the rows that it has, of my columns
        self._wait(dist.all_to_all_single(received, sent, async_op=True))
        total = own.new_zeros(part)
        for unit in range(units):
            total.add_(received[unit % self.size, unit // self.size], alpha=share)
        return torch.cat(self._gather(total))[:width]

    def check(self) -> None:
        if self.watch.lost is not None:
            raise RankLostError(self.watch.lost)

    def tell(self, told: Callable[[], bool]) -> None:
        self.watch.told = told

    def told_to_stop(self) -> bool:
        return self.watch.told_to_stop()

    def _loaded(self, content: Tensor) -> Any:
        # By ranks of this run alone, and to this rank's own device.
        file = io.BytesIO(content.cpu().numpy().tobytes())
        return torch.load(file, self.device, weights_only=False)

    def _blank(self, length: int) -> Tensor:
        return torch.zeros(length, dtype=torch.uint8, device=self.device)

    def _gather(self, own: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(own) for _ in range(self.size)]
        self._wait(dist.all_gather(parts, own, async_op=True))
        return parts

    def _wait(self, work: dist.Work | None) -> None:
        assert work is not None
        if self.device.type == "cuda":  # NCCL waits on the GPU, not here
            work.wait()
            return
        while True:
            try:
                work.wait(timedelta(seconds=LOOK))
                return
            except RuntimeError as error:
                if "timed out" in str(error):
                    self.check()
                    continue
                for _ in range(LOOKS):  # who is behind that connection is known in a moment
                    self.check()
                    time.sleep(LOOK / 2)
                raise


def _bytes(value: object) -> Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
