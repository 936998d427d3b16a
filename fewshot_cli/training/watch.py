"""Whether the other ranks of a run are still there, and whether one was told to stop.

The first rank and each other one tell one another so twice a second, over a group of their own. A
connection that ends is a rank that is gone; one that says nothing for long is a rank that hangs.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist

BEAT = 0.5  # seconds
PATIENCE = 3.0  # seconds until work that does not look at `lost` is interrupted
INTERRUPT = signal.SIGURG  # which nothing else uses here
TOLD, DONE = 0, 1  # places in a message
GONE = "is gone"
BROKEN = RuntimeError, ValueError  # of a connection, or of a group that this rank has left itself


class Watch:
    """Begins at once; `end` comes after the last exchange.

    Attributes:
        lost: a line that says which rank is lost, and why; None while all answer.
        told: whether this rank was told to stop.

    Args:
        group: of gloo's, which nothing else uses.
        names: of the ranks, for that line.
        timeout: seconds until a rank that says nothing is lost.
        why: what is known besides of a rank that is gone.
    """

    def __init__(
        self,
        group: dist.ProcessGroup,
        names: list[str],
        timeout: float,
        why: Callable[[int], str | None],
    ) -> None:
        self.group, self.names, self.timeout, self.why = group, names, timeout, why
        self.told: Callable[[], bool] = lambda: False
        self.rank = dist.get_rank()
        others = range(1, len(names)) if self.rank == 0 else [0]
        self.lost: str | None = None
        self.clock = 0.0  # seconds in which this process was not stopped itself
        self.heard = dict.fromkeys(others, 0.0)
        self.stopping = dict.fromkeys(others, False)
        self.done = threading.Event()
        self.over = threading.Event()  # the work that the ranks share, however it ended
        work: list[Callable[[], None]] = [self._look]
        for other in others:
            work += [partial(self._listen, other), partial(self._speak, other)]
        self.threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in self.threads:
            thread.start()

    def told_to_stop(self) -> bool:
        """Whether another rank was told to stop."""
        return any(self.stopping.values())

    def end(self) -> None:
        """Wait until every rank has come here too."""
        self.done.set()
        for thread in self.threads:
            while self.lost is None and thread.is_alive():
                thread.join(BEAT)

    def _listen(self, other: int) -> None:
        message = torch.zeros(2)
        while not message[DONE]:
            try:
                work = dist.irecv(message, other, self.group)
                assert work is not None
                work.wait()
            except BROKEN:
                self._lose(other, GONE)
                return
            self.heard[other] = self.clock
            self.stopping[other] = bool(message[TOLD])
        del self.heard[other]

    def _speak(self, other: int) -> None:
        ended = False
        while not ended and self.lost is None:
            ended = self.done.wait(BEAT)
            told = self.told() or (self.rank == 0 and self.told_to_stop())
            try:  # until it listens
                dist.send(torch.tensor([float(told), float(ended)]), other, self.group)
            except BROKEN:
                self._lose(other, GONE)

    def _look(self) -> None:
        while self.heard and self.lost is None:
            before = time.monotonic()
            time.sleep(BEAT)
            # Who was stopped and goes on has not waited for the others in between.
            self.clock += min(time.monotonic() - before, 2 * BEAT)
            for other, heard in list(self.heard.items()):
                if self.clock - heard > self.timeout:
                    self._lose(other, f"has not answered for {self.timeout:g} s")
        if self.lost is not None and not self.over.wait(PATIENCE):
            _thread.interrupt_main(INTERRUPT)

    def _lose(self, other: int, how: str) -> None:
        if self.lost is None:
            why = self.why(other) if how == GONE else None
            self.lost = f"{self.names[other]} {why or how}"
