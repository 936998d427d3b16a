"""Columns of CSV, TSV or Parquet: which ones are asked for, of which kind each is, and the table.

A column is of numbers where most of the first rows' values are numbers; else of categories, where
it has few words; else it is text or dates, which no network here reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fewshot_cli.data.tables.table import Array, Table, WordsSoFar, refuse_without_memory
from fewshot_cli.settings.errors import UserError, nearest

FIRST = 10_000  # rows by which kinds are told
MOST_WORDS = 50  # of a category
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]|$)|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( |$)")


class DatesError(UserError):
    """A column has dates."""


class File(Protocol):
    """What can be read in parts; see text.py."""

    @property
    def path(self) -> Any: ...
    @property
    def header(self) -> list[str]: ...
    @property
    def lines(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def frames(
        self, columns: list[str], words: list[str], most: int | None = None
    ) -> Iterator[Any]: ...

    def line(self, row: int) -> int: ...


def features_of(
    header: Sequence[str], path: object, wanted: list[str], drop: list[str], taken: dict[str, str]
) -> list[str]:
    """The columns that are features.

    Args:
        wanted: those of data.features; none: all that nothing else takes.
        taken: the columns that mean something else, with the key that says so.

    Raises:
        UserError: a column is not there, or means two things.
    """
    asked = {
        **dict.fromkeys(wanted, "data.features"),
        **dict.fromkeys(drop, "data.drop"),
        **taken,
    }
    for name, key in asked.items():
        if name not in header:
            raise UserError(
                f"{key}={name}: {path} has no such column; expected {nearest(name, header)}"
            )
    for name in wanted:
        if name in taken:
            raise UserError(
                f"data.features={name}: is {taken[name]}={name}; expected other columns"
            )
    for name in drop:
        if name in taken or name in wanted:
            key = taken.get(name, "data.features")
            raise UserError(f"data.drop={name}: is {key}={name} too; expected one of the two")
    found = wanted or [name for name in header if name not in taken and name not in drop]
    if not found:
        raise UserError(f"data.drop: leaves {path} no features; expected one column or more")
    return found


def read(
    file: File,
    features: list[str],
    keys: list[str],
    targets: list[str],
    worded: list[str] | None = None,
) -> Table:
    """Every part of a file, each value once.

    Args:
        worded: the features that are of words, where that is known; none: the first rows say so.

    Raises:
        UserError: a column cannot be used; names it, and the line where that can be told.
    """
    columns = [*features, *targets, *keys]
    [first, *_] = [*file.frames(columns, keys, FIRST)] or [None]
    if first is None or not len(first):
        raise UserError(f"{file.path}: has a header and no rows; expected rows")
    told = worded is not None
    worded = worded or [name for name in features if not told and is_words(file, first, name)]
    for name in targets:
        if is_words(file, first, name, target=True):
            raise UserError(
                f"data.target={name}: {file.path} has words there; expected numbers, or "
                f"data.label={name} for classes"
            )
    numbers = [name for name in features if name not in worded]
    rows = file.lines - 1
    words = MOST_WORDS * len(worded)  # as many columns as they may become
    refuse_without_memory(
        file.path,
        4 * rows * (len(numbers) + words + len(targets) + 2 * (len(keys) + len(worded))),
        f"its {rows:,} rows",
    )
    x = np.empty((rows, len(numbers)), np.float32)
    y = np.empty((rows, len(targets)), np.float32)
    texts = {name: WordsSoFar(rows) for name in (*worded, *keys)}
    at = 0
    for part in file.frames(columns, [*worded, *keys]):
        here = slice(at, at + len(part))
        for names, into in ((numbers, x), (targets, y)):
            for place, name in enumerate(names):
                into[here, place] = floats(file, part[name], name, at)
        for name, so_far in texts.items():
            so_far.put(at, part[name])
            if name in worded and not told and len(so_far.places) > MOST_WORDS:
                raise UserError(is_text(file, name, len(so_far.places), at + len(part)))
        at += len(part)
    whole = {name: so_far.whole(at) for name, so_far in texts.items()}
    return Table(
        file.path,
        x[:at],
        numbers,
        {name: whole[name] for name in worded},
        {name: whole[name] for name in keys},
        y[:at],
        lambda row: f"line {file.line(row)}",
        file.fingerprint,
    )


def is_words(file: File, first: Any, name: str, target: bool = False) -> bool:
    """Of which kind a column is, by the frame of the first rows.

    Raises:
        UserError: it is a date, or a text.
    """
    import pandas as pd

    values = first[name]
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DatesError(_is_date(file, name))
    if pd.api.types.is_bool_dtype(values):
        return not target
    if pd.api.types.is_numeric_dtype(values):
        return False
    there = values.dropna().astype(str)
    numeric = pd.to_numeric(there, errors="coerce").notna()
    if 2 * int(numeric.sum()) >= len(there):
        return False  # the one that is none is named when it is read
    if bool(there.head(100).str.match(DATE).all()):
        raise DatesError(_is_date(file, name))
    if not target and there.nunique() > MOST_WORDS:
        raise UserError(is_text(file, name, there.nunique(), len(values)))
    return True


def _is_date(file: File, name: str) -> str:
    return (
        f"{file.path}: column {name} has dates; expected numbers such as days since a date, or "
        f"data.drop={name}"
    )


def is_text(file: File, name: str, words: int, rows: int) -> str:
    return (
        f"{file.path}: column {name} has {words} different words in {rows} rows, which is text; "
        f"expected numbers or at most {MOST_WORDS} categories, or data.drop={name}"
    )


def floats(file: File, values: Any, name: str, at: int) -> Array:
    """float32 `[rows]`, with NaN where there is none.

    Raises:
        UserError: one is no finite number.
    """
    import pandas as pd

    found = pd.to_numeric(values, errors="coerce")
    wrong = (found.isna() & values.notna()).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{file.path}: line {file.line(at + row)}, column {name}: {values.iloc[row]!s:.40} "
            "among numbers; expected a number"
        )
    with np.errstate(over="ignore"):
        numbers: Array = found.to_numpy(np.float32, na_value=np.nan)
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise UserError(
            f"{file.path}: line {file.line(at + row)}, column {name}: {values.iloc[row]} is "
            "infinite in float32; expected a finite number"
        )
    return numbers
