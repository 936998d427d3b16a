"""A look at a table before anyone trains: its columns, its classes or tasks, and equal rows.

Nothing stops at what is wrong: all of it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_cli.data.tables import columns, npz, reading
from fewshot_cli.data.tables.columns import MOST_WORDS
from fewshot_cli.data.tables.table import BLOCK, Array, Words, WordsSoFar
from fewshot_cli.settings.errors import UserError

MOST_VALUES = 10_000  # different ones of a column that are counted


@dataclass
class Column:
    """What a column, or an array, has.

    Attributes:
        kind: numbers, a category, text, dates or an array's shape.
        values: the different ones; None: more than `MOST_VALUES`.
        faults: why it cannot be a feature, one line each.
    """

    name: str
    kind: str
    missing: int = 0
    values: set[Any] | None = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    @property
    def constant(self) -> bool:
        return self.values is not None and len(self.values) <= 1


@dataclass
class Look:
    """
    Attributes:
        keys: the columns of labels, tasks and splits that were asked for.
        same: a number for each row; rows with equal features and targets have equal ones.
        where: says how a user finds a row.
    """

    rows: int
    columns: list[Column]
    keys: dict[str, Words]
    same: Array
    where: Callable[[int], str]


def look_at(
    path: Path, keys: Mapping[str, str], targets: list[str], features: list[str], drop: list[str]
) -> Look:
    """Read a table once.

    Args:
        keys: columns of labels, tasks and splits, with the key of the config that names each.
        features: none: all others but those of `drop`.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    of_targets = dict.fromkeys(targets, "data.target")
    if path.suffix.lower() == ".npz":
        return _arrays(path, dict(keys), of_targets)
    file = reading.survey(path)
    read = columns.features_of(file.header, path, features, drop, {**keys, **of_targets})
    return _columns(file, [*keys], [*read, *targets])


def _columns(file: columns.File, keys: Sequence[str], read: list[str]) -> Look:
    texts = {name: WordsSoFar(file.lines - 1) for name in keys}
    found, same, at = dict[str, Column](), list[Array](), 0
    for part in file.frames([*read, *keys], [*keys]):
        if not found:
            found = {name: _kind(file, part.head(columns.FIRST), name) for name in read}
        for name in read:
            _add(file, found[name], part[name], at)
        for name, so_far in texts.items():
            so_far.put(at, part[name])
        same.append(_hashes(part[read], found))
        at += len(part)
    if not at:
        raise UserError(f"{file.path}: has a header and no rows; expected rows")
    for column in found.values():
        words = MOST_VALUES if column.values is None else len(column.values)
        if column.kind == "category" and words > MOST_WORDS:
            column.kind = "text"
            column.faults.append(columns.is_text(file, column.name, words, at))
    whole = {name: so_far.whole(at) for name, so_far in texts.items()}
    return Look(
        at,
        [*found.values()],
        whole,
        np.concatenate(same),
        lambda row: f"{file.path}: line {file.line(row)}",
    )


def _kind(file: columns.File, first: Any, name: str) -> Column:
    try:
        return Column(name, "category" if columns.is_words(file, first, name) else "numbers")
    except UserError as error:
        kind = "dates" if isinstance(error, columns.DatesError) else "text"
        return Column(name, kind, faults=[str(error)])


def _add(file: columns.File, column: Column, values: Any, at: int) -> None:
    """Take some rows of a column into account, from row `at` on."""
    import pandas as pd

    column.missing += int(values.isna().sum())
    there = values.dropna()
    if not pd.api.types.is_numeric_dtype(there):
        there = there.astype(str)
    if column.values is not None:
        column.values.update(there.unique().tolist())
        if len(column.values) > MOST_VALUES:
            column.values = None
    if column.kind == "numbers" and not column.faults:
        try:
            columns.floats(file, values, column.name, at)
        except UserError as error:  # the first that is wrong is told
            column.faults.append(str(error))


def _hashes(part: Any, found: dict[str, Column]) -> Array:
    """64 bits of each row: of ten million, two that differ are equal once in 370,000 tables."""
    import pandas as pd

    as_kinds = {
        name: pd.to_numeric(part[name], errors="coerce").astype(float) + 0.0
        if column.kind == "numbers"
        else part[name].astype(str)
        for name, column in found.items()
    }
    hashes: Array = pd.util.hash_pandas_object(pd.DataFrame(as_kinds), index=False).to_numpy()
    return hashes


def _arrays(path: Path, keys: dict[str, str], targets: dict[str, str]) -> Look:
    import pandas as pd

    table = npz.read(path, keys, targets)
    x = table.x.reshape(len(table.x), -1)
    same, missing = list[Array](), 0
    low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for first in range(0, len(x), BLOCK):
        block = x[first : first + BLOCK]
        missing += int(np.isnan(block).sum())
        low = np.fmin(low, np.fmin.reduce(block, 0))
        high = np.fmax(high, np.fmax.reduce(block, 0))
        hashes = pd.util.hash_pandas_object(pd.DataFrame(block + np.float32(0)), index=False)
        same.append(hashes.to_numpy())
    constant = int((low >= high).sum())
    kind = f"numbers of shape {list(table.x.shape[1:])} a row, {constant} of {x.shape[1]} constant"
    column = Column("x", kind, missing, None)
    return Look(
        len(x),
        [column],
        dict(table.keys),
        np.concatenate(same),
        lambda row: f"{path}: row {row}",
    )


def equal(look: Look, words: Words) -> int:
    """How many rows have an equal one that another word is at."""
    order = np.argsort(look.same, kind="stable")
    same, codes = look.same[order], words.codes[order]
    starts = np.flatnonzero(np.r_[True, same[1:] != same[:-1]])
    low, high = np.minimum.reduceat(codes, starts), np.maximum.reduceat(codes, starts)
    sizes = np.diff(np.r_[starts, len(same)])
    return int(sizes[low != high].sum())


def equal_rows(look: Look) -> int:
    """How many rows have an equal one."""
    _, counts = np.unique(look.same, return_counts=True)
    return int(counts[counts > 1].sum())
