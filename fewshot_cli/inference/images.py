"""A user's folders as a network sees them: decoded as its training images were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.images.tree import decode, fault, scan, strict
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour

BATCH = 64  # images that are decoded at once


@dataclass(frozen=True)
class Form:
    """What the network takes: `shape` is `(C, S, S)`; `invert` makes ink on paper 1 on 0."""

    shape: tuple[int, int, int]
    invert: bool

    def read(self, files: Sequence[Path]) -> Decoded:
        """Decode in threads."""
        channels, size, _ = self.shape
        colour = Colour.grey if channels == 1 else Colour.rgb
        images = np.zeros((len(files), *self.shape), np.uint8)
        faults: dict[int, str] = {}

        def one(place: int) -> None:
            try:
                images[place] = decode(files[place], size, colour)
            except Exception as error:  # as many kinds as there are decoders
                faults[place] = fault(error)

        with strict(), ThreadPoolExecutor() as pool:
            list(pool.map(one, range(len(files))))
        kept = [place for place in range(len(files)) if place not in faults]
        table = torch.from_numpy(images[kept])
        return Decoded(
            [files[place] for place in kept],
            255 - table if self.invert else table,
            {files[place]: why for place, why in sorted(faults.items())},
        )


class Decoded(NamedTuple):
    """Files, their images, uint8 `[B, C, S, S]`, and why other files cannot be decoded."""

    files: list[Path]
    images: Tensor
    faults: dict[Path, str]


def batches(files: Sequence[Path], form: Form, label: str) -> Iterator[Decoded]:
    """Decode files, at most `BATCH` at once; a bar counts those that have been made use of."""
    with Progress(label, len(files), "images") as progress:
        for first in range(0, len(files), BATCH):
            batch = form.read(files[first : first + BATCH])
            yield batch
            progress.advance(len(batch.files) + len(batch.faults))


def joined(parts: Iterable[Decoded]) -> Decoded:
    """Batches as one."""
    files, images, faults = zip(*parts, strict=True)
    return Decoded(
        [file for part in files for file in part],
        torch.cat(images),
        {file: why for part in faults for file, why in part.items()},
    )


def support_set(root: Path, form: Form) -> tuple[list[str], Tensor, Tensor]:
    """One folder for each class, with one image or more each.

    Returns:
        The N classes by name, the images, uint8 `[B, C, S, S]`, and their labels, int64 `[B]`.

    Raises:
        UserError: there are no two classes, or an image cannot be decoded.
    """
    classes = scan(root).classes
    if len(classes) < 2:
        raise UserError(f"{root}: has 1 folder with images; expected one for each of 2 classes")
    _, images, faults = joined(batches(support_files(root), form, "Decoding the images"))
    for file, why in faults.items():
        raise UserError(f"{file}: expected an image ({why})")
    labels = torch.arange(len(classes))
    counts = torch.tensor([len(of_class) for of_class in classes.values()])
    return list(classes), images, labels.repeat_interleave(counts)


def support_files(root: Path) -> list[Path]:
    """The files of a support set, class after class."""
    return [file for of_class in scan(root).classes.values() for file in of_class]


def query_files(root: Path) -> list[Path]:
    """All image files below a folder, or the one that `root` is.

    Raises:
        UserError: there is none.
    """
    if root.is_file():
        return [root]
    return [file for folder in scan(root, loose=True).classes.values() for file in folder]
