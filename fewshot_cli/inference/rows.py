"""A user's own rows as a network sees them: read as its run read its table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.tables import encoding, npz, parquet, reading, text
from fewshot_cli.data.tables.encoding import Kept
from fewshot_cli.data.tables.table import Table
from fewshot_cli.inference.images import query_files
from fewshot_cli.settings.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Rows:
    """What a run asked of its table.

    Attributes:
        kept: what the run left of how it read it.
        label: the column of classes; none: numbers are predicted.
        targets: the columns of numbers; none: classes are.
        task: the column whose values are tasks; none: tasks are made of classes.
        of: the task that the model is adapted to, where its rows say so.
    """

    kept: Kept
    label: str | None
    targets: list[str]
    task: str | None = None
    of: str | None = None

    def support_set(self, path: Path) -> tuple[Rows, list[str], Tensor, Tensor]:
        """The rows of one task, whose classes are the user's own or those that all tasks share.

        Returns:
            These rows of that task, the names of the N classes (none for numbers), the features,
            float32 `[B, ...]`, and labels, int64 `[B]` and class after class, or targets, float32
            `[B]` or `[B, D]`, standardised as the run's.

        Raises:
            UserError: the file cannot be used, has one class, or the rows of two tasks.
        """
        keys = {} if self.label is None else {self.label: "data.label"}
        table = self._read(path, keys, self.targets)
        rows = self._of_one_task(table)
        x, y = self._encoded(table, self.kept)
        if self.label is None:
            return rows, [], x, y if y.shape[1] > 1 else y[:, 0]
        words = table.keys[self.label]
        classes = self.kept.classes or words.names
        for name in words.names:
            if name not in classes:
                row = int((words.codes == words.names.index(name)).argmax())
                raise UserError(
                    f"{path}: {table.where(row)}, column {self.label}: class {name} is in no task "
                    "of meta-train; expected classes that all tasks share"
                )
        if len(classes) < 2:
            raise UserError(f"{path}: column {self.label} has 1 class; expected 2 or more")
        places = torch.tensor([classes.index(name) for name in words.names])
        labels = places[torch.from_numpy(words.codes).long()]
        order = labels.argsort(stable=True)
        return rows, classes, x[order], labels[order]

    def query_set(self, path: Path) -> tuple[DataFrame, Tensor]:
        """The file's own columns as they stand there, and the features, float32 `[B, ...]`.

        Of an `.npz`, the columns are `row` and the arrays with one value a row.

        Raises:
            UserError: the file cannot be used, or has rows of another task.
        """
        import pandas as pd

        table = self._read(path, {}, [])
        self._of_one_task(table)
        ending = path.suffix.lower()
        if ending == ".npz":
            own = pd.DataFrame(npz.flat(path, len(table.x)))
            own.insert(0, "row", np.arange(len(own)), allow_duplicates=True)
        elif ending == ".parquet":
            own = parquet.whole(path)
        else:
            separator = text.SEPARATORS[ending]
            own = pd.read_csv(
                path, sep=separator, dtype="str", keep_default_na=False, encoding="utf-8-sig"
            )
        nothing = replace(self.kept, target_mean=None, target_scale=None)
        return own, self._encoded(table, nothing)[0]

    def _read(self, path: Path, keys: dict[str, str], targets: list[str]) -> Table:
        if self.task is not None and self.task in reading.names_in(path):
            keys = {**keys, self.task: "data.task"}
        table = reading.again(path, self.kept, keys, targets)
        reading.refuse_empty(table)
        return table

    def _encoded(self, table: Table, kept: Kept) -> tuple[Tensor, Tensor]:
        encoding.refuse_missing(table, kept.median is not None)
        x, y = encoding.encode(table, kept)
        return torch.from_numpy(x), torch.from_numpy(y)

    def _of_one_task(self, table: Table) -> Rows:
        words = None if self.task is None else table.keys.get(self.task)
        if words is None:
            return self
        expected = words.names[words.codes[0]] if self.of is None else self.of
        other = np.array([name != expected for name in words.names])[words.codes]
        if other.any():
            row = int(other.argmax())
            raise UserError(
                f"{table.path}: {table.where(row)}, column {self.task}: "
                f"{words.names[words.codes[row]]}; expected rows of one task, {expected}"
            )
        return replace(self, of=expected)


def check_query(path: Path) -> None:
    """Refuse a file, or a folder of images, that cannot be judged, before anything is computed.

    Raises:
        UserError: it is no table, and has no images.
    """
    if path.suffix.lower() in reading.ENDINGS:
        reading.names_in(path)
    else:
        query_files(path)
