"""Rows by class or task: how many there are, where, and the split that a column says."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.data.tables.table import Array, Words
from fewshot_cli.settings.errors import UserError, nearest


class Groups:
    """The rows of each class or task; every row is of one.

    Attributes:
        sizes: the number of rows of each, by name.
    """

    def __init__(self, words: Words) -> None:
        self._order = np.argsort(words.codes, kind="stable")
        self._counts = np.bincount(words.codes, minlength=len(words.names))
        self._ends = self._counts.cumsum()
        self._places = {name: place for place, name in enumerate(words.names)}
        self.sizes = dict(zip(words.names, self._counts.tolist(), strict=True))

    def rows(self, names: Iterable[str]) -> Array:
        """The rows of some classes or tasks, int64 `[n]`, one after another."""
        spans = [
            self._order[self._ends[place] - self._counts[place] : self._ends[place]]
            for place in map(self._places.__getitem__, names)
        ]
        return np.concatenate([self._order[:0], *spans])


def told(
    words: Words, splits: Words, source: str, where: Callable[[int], str], column: str, what: str
) -> dict[str, list[str]]:
    """The classes or tasks of each split, as a column says of their rows.

    Args:
        source, where, column: how a user finds the table, a row and the column of splits.
        what: a "class" or a "task".

    Raises:
        UserError: a row has another word, or a class or task has two.
    """
    for place, word in enumerate(splits.names):
        if word not in SPLITS:
            row = int((splits.codes == place).argmax())
            raise UserError(
                f"{source}: {where(row)}, {column}: {word}; expected {nearest(word, SPLITS)}"
            )
    of = np.empty(len(words.names), np.int64)
    of[words.codes] = splits.codes
    wrong = np.flatnonzero(of[words.codes] != splits.codes)
    if len(wrong):
        row = int(wrong[0])
        code = words.codes[row]
        other = int(((words.codes == code) & (splits.codes == of[code])).argmax())
        raise UserError(
            f"{source}: {what} {words.names[code]} is in two splits, "
            f"{splits.names[splits.codes[row]]} in {where(row)} and "
            f"{splits.names[splits.codes[other]]} in {where(other)}; expected one"
        )
    return {
        split: [
            name
            for name, place in zip(words.names, of.tolist(), strict=True)
            if splits.names[place] == split
        ]
        for split in SPLITS
    }
