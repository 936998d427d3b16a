"""From a table to what a network reads, by what meta-train's rows alone say.

Numbers come first, then for each category a column of 0 and 1 for each of its words. Numbers are
less their mean, over their standard deviation; of arrays `[n, C, ...]` each channel C has its own
two. A word that meta-train does not have is no column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fewshot_cli.data.tables.table import BLOCK, Array, Table, Words
from fewshot_cli.progress import say
from fewshot_cli.settings.errors import UserError


@dataclass(frozen=True)
class Kept:
    """What a run keeps in data.json, to read other rows as it read its own.

    Attributes:
        shape: of `x` of a row, before categories.
        numbers: the columns of numbers; none for an array.
        categories: for each column of words, the words that are columns.
        median: that fills missing numbers; none where they are refused.
        mean, scale: of each number or channel; none where nothing is standardised.
        target_mean, target_scale: of each target, likewise.
        classes: that all tasks share.
    """

    shape: list[int]
    numbers: list[str]
    categories: dict[str, list[str]]
    median: list[float] | None
    mean: list[float] | None
    scale: list[float] | None
    target_mean: list[float] | None
    target_scale: list[float] | None
    classes: list[str] | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def learned(
    table: Table, train: Array, standardise: bool, fill: bool, labels: Words | None
) -> Kept:
    """What the rows `train` of a table say of it.

    Args:
        fill: missing numbers get the median; else they are refused before.
        labels: of the classes that all tasks share.
    """
    x = table.x
    median = _medians(x, train) if fill else None
    mean, scale = _moments(x, train, median) if standardise else (None, None)
    y_mean, y_scale = (
        _moments(table.targets, train) if standardise and table.targets.shape[1] else (None, None)
    )
    return Kept(
        list(x.shape[1:]),
        table.numbers,
        {name: _words_of(words, train) for name, words in table.words.items()},
        median,
        mean,
        scale,
        y_mean,
        y_scale,
        None if labels is None else _words_of(labels, train),
    )


def _words_of(words: Words, train: Array) -> list[str]:
    there = np.zeros(len(words.names) + 1, bool)  # the last is that of no word
    there[words.codes[train]] = True
    return [name for name, is_there in zip(words.names, there, strict=False) if is_there]


def _channels(x: Array) -> Array:
    """`[n, F]` as `[n, F, 1]`, `[n, C, ...]` as `[n, C, rest]`."""
    channels: Array = x.reshape(len(x), x.shape[1], math.prod(x.shape[2:]))
    return channels


def _moments(
    x: Array, train: Array, median: list[float] | None = None
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in float64; 1 where it is constant."""
    every = _channels(x)
    count = len(train) * every.shape[2]
    fill = None if median is None else np.asarray(median, np.float64)[:, None]

    def blocks(of: Callable[[Array], Array]) -> Array:
        total = np.zeros(every.shape[1])
        for at in range(0, len(train), BLOCK):
            block = every[train[at : at + BLOCK]].astype(np.float64)
            total += of(block if fill is None else np.where(np.isnan(block), fill, block))
        mean: Array = total / max(1, count)
        return mean

    mean = blocks(lambda block: block.sum((0, 2)))
    scale = np.sqrt(blocks(lambda block: np.square(block - mean[:, None]).sum((0, 2))))
    constant = scale <= 1e-6 * np.abs(mean)
    return mean.tolist(), np.where(constant, 1.0, scale).tolist()


def _medians(x: Array, train: Array) -> list[float]:
    """Of each channel, over the values that are there; 0 without any."""
    every = _channels(x)
    found = []
    for channel in range(every.shape[1]):
        values = every[train, channel]
        values = values[~np.isnan(values)]
        found.append(float(np.median(values)) if len(values) else 0.0)
    return found


def refuse_missing(table: Table, fills: bool) -> None:
    """Missing values cost a line, or say so in one.

    Raises:
        UserError: names every column with its count.
    """
    lost = _lost(table.x, table.numbers or ["x"])
    lost |= {
        name: count
        for name, words in table.words.items()
        if (count := int((words.codes < 0).sum()))
    }
    counts = ", ".join(f"{name} {count:,}" for name, count in lost.items())
    if lost and not fills:
        raise UserError(
            f"{table.path}: missing values by column: {counts}; expected none, or "
            "data.missing=median, which fills them"
        )
    if lost:
        say(f"Missing values are filled by meta-train's median (a category by none): {counts}")
    columns = [str(place) for place in range(table.targets.shape[1])]
    for column, count in _lost(table.targets, columns).items():
        row = int(np.isnan(table.targets[:, int(column)]).argmax())
        raise UserError(
            f"{table.path}: {count:,} rows have no target, the first in {table.where(row)}; "
            "expected a number in each"
        )


def _lost(x: Array, names: list[str]) -> dict[str, int]:
    """How many values are missing, by column, or for one name in all."""
    total = np.zeros(len(names), np.int64)
    for at in range(0, len(x), BLOCK):
        block = np.isnan(x[at : at + BLOCK])
        total += block.sum(0) if x.ndim == 2 and len(names) == x.shape[1] else block.sum()
    return {name: int(count) for name, count in zip(names, total, strict=True) if count}


def encode(table: Table, kept: Kept) -> tuple[Array, Array]:
    """float32 `x [n, ...]` and targets `[n, D]`, made in place where nothing is a category."""
    if list(table.x.shape[1:]) != kept.shape:
        raise UserError(
            f"{table.path}: a row has shape {list(table.x.shape[1:])}; expected "
            f"{kept.shape}, as the run was trained on"
        )
    _fill(table.x, kept.median)
    _standardise(table.x, kept.mean, kept.scale)
    _standardise(table.targets, kept.target_mean, kept.target_scale)
    wide = sum(map(len, kept.categories.values()))
    if not wide:
        return table.x, table.targets
    x = np.zeros((len(table.x), table.x.shape[1] + wide), np.float32)
    at = table.x.shape[1]
    x[:, :at] = table.x
    for name, words in kept.categories.items():
        column = table.words[name]
        places = np.array([*(_place(word, words) for word in column.names), -1], np.int64)
        of_rows = places[column.codes]
        known = np.flatnonzero(of_rows >= 0)
        x[known, at + of_rows[known]] = 1
        at += len(words)
    return x, table.targets


def _place(word: str, words: list[str]) -> int:
    return words.index(word) if word in words else -1


def _fill(x: Array, median: list[float] | None) -> None:
    if median is None:
        return
    every, by = _channels(x), np.asarray(median, np.float32)[:, None]
    for at in range(0, len(every), BLOCK):
        block = every[at : at + BLOCK]
        np.copyto(block, by, where=np.isnan(block))


def _standardise(x: Array, mean: list[float] | None, scale: list[float] | None) -> None:
    if mean is None or scale is None:
        return
    every = _channels(x)
    by, over = np.asarray(mean)[:, None], np.asarray(scale)[:, None]
    for at in range(0, len(every), BLOCK):
        block = every[at : at + BLOCK]
        block[...] = (block - by) / over
