"""What a model says of images, as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fewshot_cli.runs.directory import atomic

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Predictions:
    """B images, each taken for one of N classes.

    Attributes:
        files: paths below the query folder.
        thumbnails: of the images that a contact sheet shows, by their place in `files`, as they are
            in the files: uint8 `[C, S, S]` (see least_sure.py).
        probabilities: `[B, N]`.
        left_out: files that could not be decoded, and why.
        distances: `[B]`, from the nearest class: above 1 is unlike every class. None: not known.
    """

    files: list[str]
    thumbnails: dict[int, Tensor]
    probabilities: Tensor
    classes: list[str]
    left_out: dict[str, str]
    distances: Tensor | None = None

    @property
    def predicted(self) -> list[int]:
        """The class of each image, by its place in `classes`."""
        places: list[int] = self.probabilities.argmax(-1).tolist()
        return places

    @property
    def right(self) -> list[bool | None]:
        """Whether each image is taken for what its folder says; None in another folder."""
        folders = [file.rpartition("/")[0] for file in self.files]
        return [
            self.classes[place] == folder if folder in self.classes else None
            for place, folder in zip(self.predicted, folders, strict=True)
        ]

    @property
    def columns(self) -> list[str]:
        last = [] if self.distances is None else ["distance"]
        return ["file", "predicted", "probability", *self.classes, *last]

    @property
    def unlike(self) -> dict[str, float]:
        """The files that are unlike every class, the farthest first, with their distances."""
        if self.distances is None:
            return {}
        far = [(own, file) for own, file in zip(self.distances.tolist(), self.files, strict=True)]
        return {file: own for own, file in sorted(far, reverse=True) if own > 1}

    @property
    def rows(self) -> Iterator[list[str | float]]:
        numbers = self.probabilities
        if self.distances is not None:
            numbers = torch.cat([numbers, self.distances[:, None]], 1)
        for file, place, said in zip(self.files, self.predicted, numbers, strict=True):
            own = said.tolist()
            yield [file, self.classes[place], own[place], *own]

    @property
    def table(self) -> DataFrame:
        """`file, predicted, probability`, a column for each class and, if known, `distance`."""
        from pandas import DataFrame

        return DataFrame(self.rows, columns=self.columns)

    def write(self, path: Path) -> None:
        """The same table as a CSV."""
        with atomic(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self.rows)
