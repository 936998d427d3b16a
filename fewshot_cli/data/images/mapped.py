"""Images that are too many for the memory: they lie in a file and are read by index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.images.cache import file_of, locked, writing_to, written
from fewshot_cli.data.images.tree import Picture

DIGEST = 16  # bytes
TOO_MANY = 2**29  # bytes of images that are not held in memory


def digest(image: Tensor) -> bytes:
    """Of the pixels of one image, uint8 `[C, H, W]`."""
    return hashlib.blake2b(image.contiguous().numpy().data, digest_size=DIGEST).digest()


class Mapped:
    """The images of one split, uint8 `[images, C, H, W]`, by their place in a larger file.

    Args:
        images: all of the file's.
        digests: `[images of the file, 16]`.
        rows: the places in the file of those of the split.
        invert: they are the wrong way round in the file.
    """

    def __init__(self, images: Tensor, digests: Tensor, rows: Tensor, invert: bool) -> None:
        self.all, self.all_digests, self.rows, self.invert = images, digests, rows, invert
        self.shape = torch.Size([len(rows), *images.shape[1:]])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Tensor) -> Tensor:
        images = self.all[self.rows[places]]
        return 255 - images if self.invert else images

    def digests(self) -> list[bytes]:
        """Of each image, as `digest` gives it before an inversion, with a mark for that."""
        mark = b"-" if self.invert else b""
        return [mark + bytes(row) for row in self.all_digests[self.rows].numpy()]


def mapped(
    folder: str,
    name: str,
    key: Mapping[str, object],
    shape: Sequence[int],
    images: Callable[[], Iterable[Picture]],
) -> tuple[Tensor, Tensor]:
    """Images that are put into a file, or those that a run with the same key put there.

    Args:
        key: everything that shapes the images.
        images: makes them, in their order.

    Returns:
        The images, uint8 of that shape, and their digests, uint8 `[images, 16]`.

    Raises:
        UserError: the folder cannot be written.
    """
    path = file_of(folder, name, key, ".npy")
    aside = path.with_suffix(".digests.npy")  # which come last: with them, the images are whole
    if not aside.exists():
        with locked(folder, path):
            if not aside.exists():
                _make(folder, path, aside, shape, images())
    with writing_to(folder):
        # Copy on write, since torch takes no array that it may not write to.
        return torch.from_numpy(np.load(path, mmap_mode="c")), torch.from_numpy(np.load(aside))


def _make(
    folder: str, path: Path, aside: Path, shape: Sequence[int], images: Iterable[Picture]
) -> None:
    digests = []
    with writing_to(folder), written(path) as whole, open(whole, "wb") as file:
        form = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, form)
        for image in images:  # one behind another, since a mapped file is written far slower
            file.write(np.ascontiguousarray(image).data)
            digests.append(np.frombuffer(digest(torch.from_numpy(image)), np.uint8))
    with writing_to(folder), written(aside) as whole, open(whole, "wb") as file:
        np.save(file, np.stack(digests))
