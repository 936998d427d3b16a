"""A user's folders as a network sees them: decoded as its training images were."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.images.tree import decode, fault, scan, strict
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour


@dataclass(frozen=True)
class Form:
    """What the network takes: `shape` is `(C, S, S)`; `invert` makes ink on paper 1 on 0."""

    shape: tuple[int, int, int]
    invert: bool

    def read(self, files: Sequence[Path]) -> tuple[Tensor, dict[int, str]]:
        """Decode in threads.

        Returns:
            The images, uint8 `[B, C, S, S]`, and for the place of each file that cannot be
            decoded the reason; there the image is blank.
        """
        channels, size, _ = self.shape
        colour = Colour.grey if channels == 1 else Colour.rgb
        images = np.zeros((len(files), *self.shape), np.uint8)
        faults: dict[int, str] = {}

        def one(place: int) -> None:
            try:
                images[place] = decode(files[place], size, colour)
            except Exception as error:  # as many kinds as there are decoders
                faults[place] = fault(error)

        with (
            Progress("Decoding the images", len(files), "images") as progress,
            strict(),
            ThreadPoolExecutor() as pool,
        ):
            for _ in pool.map(one, range(len(files))):
                progress.advance()
        table = torch.from_numpy(images)
        return (255 - table if self.invert else table), faults


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
    files = [file for of_class in classes.values() for file in of_class]
    images, faults = form.read(files)
    if faults:
        place, why = min(faults.items())
        raise UserError(f"{files[place]}: expected an image ({why})")
    labels = torch.arange(len(classes))
    counts = torch.tensor([len(of_class) for of_class in classes.values()])
    return list(classes), images, labels.repeat_interleave(counts)


def query_files(root: Path) -> list[Path]:
    """All image files below a folder, or the one that `root` is.

    Raises:
        UserError: there is none.
    """
    if root.is_file():
        return [root]
    return [file for folder in scan(root, loose=True).classes.values() for file in folder]


def query_set(root: Path, form: Form) -> tuple[list[str], Tensor, dict[str, str]]:
    """All images below a folder, or one image file.

    Returns:
        The paths below `root`, the images, uint8 `[B, C, S, S]`, and the files that could not be
        decoded with the reason; they are left out.

    Raises:
        UserError: there is no image.
    """
    files = query_files(root)
    images, faults = form.read(files)
    below = root.parent if root.is_file() else root
    names = [file.relative_to(below).as_posix() for file in files]
    kept = [place for place in range(len(files)) if place not in faults]
    if not kept:
        raise UserError(f"{files[0]}: expected an image ({faults[0]})")
    left_out = {names[place]: why for place, why in sorted(faults.items())}
    return [names[place] for place in kept], images[kept], left_out
