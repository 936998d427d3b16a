"""Several ways to do the same work, timed in turn in one process; medians, ratios and a CSV."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Sides = dict[str, Callable[[], object]]
Clock = Callable[[], float]

ROUNDS = 7
TURN = 0.3  # seconds


def contest(
    sides: Sides, rounds: int = ROUNDS, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """The median milliseconds of each side over `rounds` rounds, in which they take turns.

    A turn is as many calls as take some tenths of a second, so that each side finds its own data in
    the caches as it would in a long run.

    Args:
        clock: `time.process_time` on a machine that others use too.
    """
    calls = {}
    for name, side in sides.items():
        side()  # what is done once: caches, allocations
        calls[name] = max(1, round(TURN / _seconds(side, 1, clock)))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        order = list(sides)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            times[name].append(_seconds(sides[name], calls[name], clock))
    return {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}


def median_ms(call: Callable[[], object], calls: int) -> float:
    """Of a call, the first ones left out."""
    call()
    call()
    return 1e3 * statistics.median(_seconds(call, 1) for _ in range(calls))


def _seconds(side: Callable[[], object], calls: int, clock: Clock = time.perf_counter) -> float:
    start = clock()
    for _ in range(calls):
        side()
    return (clock() - start) / calls


def report(rows: list[dict[str, object]], title: str, file: Path) -> None:
    """Print the rows as a table and write them to a CSV."""
    table = pd.DataFrame(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    print(f"\n{title} ({file})")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"), flush=True)
