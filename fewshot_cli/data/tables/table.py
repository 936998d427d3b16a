"""A table as it was read, before anything is made of it: numbers, words, and where a row stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_cli.settings.errors import UserError

Array = np.ndarray[Any, Any]
BLOCK = 2**16  # rows that are looked at together


@dataclass(frozen=True)
class Words:
    """A column of words: `names[codes]`; -1 where a row has none."""

    codes: Array
    names: list[str]


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        x: the numbers among the features, float32 `[n, ...]`, which are held once.
        numbers: their names where they are columns; none for an array.
        words: the other features, by name.
        keys: what says of which class, task or split a row is, by name.
        targets: float32 `[n, D]`, `D` the number of columns; without any, D is 0.
        where: says how a user finds a row.
        fingerprint: a digest of the file.
    """

    path: Path
    x: Array
    numbers: list[str]
    words: Mapping[str, Words]
    keys: Mapping[str, Words]
    targets: Array
    where: Callable[[int], str]
    fingerprint: str


class WordsSoFar:
    """A column of words that comes in parts."""

    def __init__(self, rows: int) -> None:
        self.codes = np.full(rows, -1, np.int32)
        self.places: dict[str, int] = {}

    def put(self, at: int, values: Any) -> None:
        """Take a part, a pandas Series of text, for the rows from `at` on."""
        import pandas as pd

        codes, found = pd.factorize(values)
        places = [self.places.setdefault(str(word), len(self.places)) for word in found]
        known = np.array([*places, -1], np.int32)  # the last is that of -1, no word
        self.codes[at : at + len(codes)] = known[codes]

    def whole(self, rows: int) -> Words:
        """All of it, its names in order, so that it matters not which row came first."""
        names = sorted(self.places)
        order = np.empty(len(names) + 1, np.int32)
        for place, name in enumerate(names):
            order[self.places[name]] = place
        order[-1] = -1
        return Words(order[self.codes[:rows]], names)


def refuse_without_memory(path: Path, bytes_needed: int, what: str) -> None:
    """Say so before a table is read that has no room.

    Raises:
        UserError: gives both sizes.
    """
    free = _free_memory()
    if free is not None and bytes_needed > free:
        raise UserError(
            f"data.root={path}: {what} take {bytes_needed / 2**30:,.1f} GiB of memory, of which "
            f"{free / 2**30:,.1f} GiB are free; expected fewer rows or data.features=..."
        )


def _free_memory() -> int | None:
    """Bytes; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    found = sizes.get("MemAvailable")
    return None if found is None else 1024 * found
