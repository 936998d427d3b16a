"""Several ways to do the same work, timed in turn in one process; medians, ratios and a CSV."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Sides = dict[str, Callable[[], object]]

ROUNDS = 10


def contest(sides: Sides, rounds: int = ROUNDS) -> dict[str, float]:
    """The median milliseconds of each side over `rounds` rounds, in which they take turns."""
    for side in sides.values():  # what is done once: caches, allocations
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        order = list(sides)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            start = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}


def report(rows: list[dict[str, object]], title: str, file: Path) -> None:
    """Print the rows as a table and write them to a CSV."""
    table = pd.DataFrame(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    print(f"\n{title} ({file})")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"), flush=True)
