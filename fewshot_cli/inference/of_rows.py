"""An adapted network with all that it needs to judge rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fewshot_cli.inference.model import judging_by, outputs_of, way_of
from fewshot_cli.inference.rows import Rows
from fewshot_cli.runs.directory import atomic
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class RowPredictions:
    """What a model says of B rows.

    Attributes:
        own: the columns of the query, as they stand in its file.
        outputs: `[B, N]`, the probabilities of the classes, or numbers in the target's own unit.
    """

    own: DataFrame
    outputs: Tensor
    classes: list[str]
    rows: Rows

    @property
    def table(self) -> DataFrame:
        """The query's own columns, then `predicted`.

        For classes, `probability` and a column for each class come after it. Several targets have
        `predicted NAME` each.
        """
        from pandas import DataFrame, concat

        numbers = self.outputs.numpy()
        said = DataFrame(numbers, columns=columns(self.classes, self.rows)[-numbers.shape[1] :])
        if self.classes:
            places = numbers.argmax(1)
            said.insert(0, "predicted", [self.classes[place] for place in places])
            said.insert(1, "probability", numbers.max(1))
        return concat([self.own, said], axis=1)

    @property
    def right(self) -> list[bool]:
        """Of the rows whose class the query has: whether each is taken for it."""
        if self.rows.label not in self.own:
            return []
        places = self.outputs.argmax(-1).tolist()
        truth = self.own[self.rows.label].astype(str)
        return [
            self.classes[place] == word
            for place, word in zip(places, truth, strict=True)
            if word in self.classes
        ]

    @property
    def errors(self) -> Tensor | None:
        """Squared errors in the target's own unit, of the rows that have targets; none: no row."""
        import pandas as pd

        if not self.rows.targets or not {*self.rows.targets} <= {*self.own}:
            return None
        truth = self.own[self.rows.targets].apply(pd.to_numeric, errors="coerce")
        squares = (self.outputs.double() - torch.tensor(truth.to_numpy(float))).square().mean(1)
        known = squares[squares.isfinite()]
        return known if len(known) else None

    def write(self, path: Path) -> None:
        """The table as a CSV."""
        with atomic(path) as file:
            self.table.to_csv(file, index=False, lineterminator="\n")


def columns(classes: list[str], rows: Rows) -> list[str]:
    """What predictions add to a query's own columns."""
    if classes:
        return ["predicted", "probability", *classes]
    several = len(rows.targets) > 1
    return [f"predicted {name}" if several else "predicted" for name in rows.targets]


@dataclass(frozen=True)
class RowModel:
    """What `adapt` and `load` give of a run on a table; the attributes are those of `Model`.

    Attributes:
        classes: the names of the N classes; none: numbers are predicted.
        rows: how a file of rows is read.
    """

    judge: Callable[[Tensor], Tensor]
    network: ModelConfig
    classes: list[str]
    rows: Rows
    transductive: bool
    device: torch.device
    apart: bool = False
    chosen: str | None = None

    def outputs(self, x: Tensor) -> Tensor:
        """Features, float32 `[B, ...]`, to probabilities, or numbers in own units, `[B, N]`."""
        found = outputs_of(self.judge, x.to(self.device), self.transductive or self.apart)
        kept = self.rows.kept
        if self.classes or kept.target_scale is None or kept.target_mean is None:
            return found
        scale, mean = (torch.tensor(of) for of in (kept.target_scale, kept.target_mean))
        return found.double() * scale + mean

    def predict(self, query: str | Path) -> RowPredictions:
        """Judge all rows of a table.

        Raises:
            UserError: the file cannot be used, or has a column that predictions have.
        """
        path = Path(query)
        own, x = self.rows.query_set(path)
        for name in columns(self.classes, self.rows):
            if name in own:
                raise UserError(
                    f"{path}: has a column {name}, as the predictions have; expected another name"
                )
        return RowPredictions(own, self.outputs(x), self.classes, self.rows)

    @property
    def way(self) -> str:
        """How the rows of a query are judged, in words."""
        return way_of(self.apart, self.transductive)

    def judging(self, transductive: bool) -> RowModel:
        """The same model, which judges rows all in one batch, or one by one.

        Raises:
            UserError: it is a program, made for one way.
        """
        if self.apart or transductive == self.transductive:
            return self
        judge = judging_by(self.judge, transductive, "rows")
        return replace(self, judge=judge, transductive=transductive)
