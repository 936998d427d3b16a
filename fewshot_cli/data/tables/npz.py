"""Arrays in `.npz`: `x [n, ...]` and those that the keys name, of n entries each.

`x` is read block by block into the float32 array that stays, so that it is in memory once.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from fewshot_cli.data.tables.table import (
    BLOCK,
    Array,
    Table,
    Words,
    refuse_without_memory,
)
from fewshot_cli.settings.errors import UserError, in_short, nearest

FLOATS = 2**22  # at once


def read(path: Path, keys: dict[str, str], targets: dict[str, str]) -> Table:
    """The arrays of a file.

    Args:
        keys: the arrays of labels, tasks and splits, with the key of the config that names each.
        targets: those of numbers.

    Raises:
        UserError: an array is missing or cannot be used.
    """
    try:
        with path.open("rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            for name, key in {"x": "x", **keys, **targets}.items():
                if name not in names:
                    asked = "" if key == name else f"{key}={name}: "
                    raise UserError(
                        f"{asked}{path} has no array {name}; it has {', '.join(names)}; expected "
                        f"{nearest(name, names)}"
                    )
            with archive.open("x.npy") as member:
                x = _floats(path, "x", member)
            words = {name: _words(path, name, archive, len(x)) for name in keys}
            columns = [_targets(path, name, archive, len(x)) for name in targets]
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise UserError(f"data.root={path}: {in_short(error)}; expected a whole .npz") from error
    y = np.concatenate(columns, 1) if columns else np.empty((len(x), 0), np.float32)
    return Table(path, x, [], {}, words, y, lambda row: f"row {row}", fingerprint)


def _floats(path: Path, name: str, member: IO[bytes]) -> Array:
    """float32 of the array's own shape."""
    shape, fortran, dtype = _head(path, name, member)
    if dtype.kind not in "fiub" or not shape or not shape[0]:
        raise UserError(
            f"{path}: {name} is {dtype} of shape {list(shape)}; expected numbers of shape [n, ...]"
        )
    if name == "x" and (len(shape) < 2 or 0 in shape):
        raise UserError(f"{path}: x has shape {list(shape)}; expected [n, ...], n rows of features")
    numbers = math.prod(shape)
    refuse_without_memory(path, 4 * numbers * (2 if fortran else 1), f"{name} {list(shape)}")
    found = np.empty(shape[::-1] if fortran else shape, np.float32)
    flat, at = found.reshape(-1), 0
    while at < numbers:
        count = min(FLOATS, numbers - at)
        block = member.read(count * dtype.itemsize)
        if len(block) < count * dtype.itemsize:
            raise EOFError(f"{name} ends before its {numbers:,} numbers")
        with np.errstate(over="ignore"):
            flat[at : at + count] = np.frombuffer(block, dtype)
        at += count
    found = np.ascontiguousarray(found.T) if fortran else found
    for first in range(0, len(found), BLOCK):
        wrong = np.isinf(found[first : first + BLOCK]).reshape(-1, math.prod(shape[1:]) or 1).any(1)
        if wrong.any():
            raise UserError(
                f"{path}: row {first + int(wrong.argmax())} of {name} is infinite in float32; "
                "expected finite numbers"
            )
    return found


def names(path: Path) -> list[str]:
    """Of the arrays of a file. Raises UserError: it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {in_short(error)}; expected a whole .npz") from error


def flat(path: Path, rows: int) -> dict[str, Array]:
    """The arrays with one number or word for each of so many rows, as they are."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in names(path):
            with archive.open(f"{name}.npy") as member:
                shape, _, _ = _head(path, name, member)
            if shape == (rows,):
                found[name] = _one(path, name, archive, rows)
    return found


def _head(path: Path, name: str, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(member)
        heads = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = heads[version](member)
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: {name}: {in_short(error)}; expected an array of NumPy") from error
    if dtype.hasobject:
        raise UserError(f"{path}: {name} has Python objects, which can run code; expected numbers")
    return shape, fortran, dtype


def _one(path: Path, name: str, archive: zipfile.ZipFile, rows: int) -> Array:
    with archive.open(f"{name}.npy") as member:
        shape, _, _ = _head(path, name, member)
    if not shape or shape[0] != rows:
        raise UserError(
            f"{path}: {name} has shape {list(shape)}, and x has {rows} rows; expected as many"
        )
    with archive.open(f"{name}.npy") as member:
        found: Array = npy.read_array(member, allow_pickle=False)
    return found


def _words(path: Path, name: str, archive: zipfile.ZipFile, rows: int) -> Words:
    """Labels, tasks or splits: whole numbers or words."""
    found = _one(path, name, archive, rows)
    if found.ndim != 1 or found.dtype.kind not in "iubSU":
        hint = f", or data.target={name} for numbers" if found.dtype.kind == "f" else ""
        raise UserError(
            f"{path}: {name} is {found.dtype} of shape {list(found.shape)}; expected whole numbers "
            f"or words [n]{hint}"
        )
    import pandas as pd

    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8", "replace")
    codes, values = pd.factorize(found)  # numbers in the order of numbers, words in that of words
    order = np.argsort(values, kind="stable")
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return Words(places[codes], [str(values[place]) for place in order])


def _targets(path: Path, name: str, archive: zipfile.ZipFile, rows: int) -> Array:
    """`[n, D]`, float32."""
    with archive.open(f"{name}.npy") as member:
        shape, _, dtype = _head(path, name, member)
    if dtype.kind not in "fiub":
        raise UserError(
            f"data.target={name}: {path} has {dtype} there; expected numbers, or "
            f"data.label={name} for classes"
        )
    if not shape or shape[0] != rows or len(shape) > 2 or 0 in shape:
        raise UserError(
            f"{path}: {name} has shape {list(shape)}, and x has {rows} rows; expected [n] or "
            "[n, outputs]"
        )
    with archive.open(f"{name}.npy") as member:
        return _floats(path, name, member).reshape(rows, -1)
