"""What a look at image files shows: sizes, faults, and which are the same or nearly so. No torch.

Near-duplicates are found by a perceptual hash of 256 bits: the signs of the lowest frequencies of
the grey picture, 64 pixels a side (imagehash.phash). docs/images.md has what it finds, measured.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fewshot_cli.data.images.tree import decode, fault, opened, strict
from fewshot_cli.progress import Progress
from fewshot_cli.settings.schema import Colour

TINY = 32  # pixels a side: below, little is to be seen
PLAIN = 2.0  # standard deviation in 0..255: the hash of a plain surface would be noise
FREQUENCIES = 16  # in each direction
BITS = FREQUENCIES**2
NEAR = 32  # bits of two hashes that may differ
ROWS = 1024  # hashes that are compared with all others at once

Hash = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Look:
    """One file; a `fault` is why it cannot be decoded, and `hash` is None for a plain surface."""

    path: Path
    name: str  # below the root
    of_class: str
    digest: str = ""
    size: tuple[int, int] = (0, 0)  # width and height in pixels
    mode: str = ""
    hash: Hash | None = None
    fault: str = ""


def look_at(classes: Mapping[str, Sequence[Path]], root: Path) -> list[Look]:
    """Decode the files of all classes, in threads."""
    files = [(path, name) for name, paths in classes.items() for path in paths]

    def look(file: tuple[Path, str]) -> Look:
        return _look(file[0], file[0].relative_to(root).as_posix(), file[1])

    with (
        Progress("Looking at the images", len(files), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        looks = []
        for found in pool.map(look, files):
            looks.append(found)
            progress.advance()
    return looks


def _look(path: Path, name: str, of_class: str) -> Look:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with opened(path) as image:
            size, mode = image.size, image.mode
        grey = decode(path, 4 * FREQUENCIES, Colour.grey)[0]  # as a run will, but small
    except Exception as error:  # as many kinds as there are decoders
        return Look(path, name, of_class, fault=fault(error))
    plain = grey.std() < PLAIN
    bits = None if plain else imagehash.phash(Image.fromarray(grey), FREQUENCIES).hash.ravel()
    return Look(path, name, of_class, digest, size, mode, bits)


def same(looks: Iterable[Look]) -> list[list[Look]]:
    """Sets of files with the same bytes."""
    found = defaultdict(list)
    for look in looks:
        found[look.digest].append(look)
    return [alike for alike in found.values() if len(alike) > 1]


def nearly_same(looks: Iterable[Look]) -> list[list[Look]]:
    """Sets of files with other bytes and nearly the same picture, or that others connect so.

    Of files in one class with the same bytes, a set has the first.
    """
    hashed = [(look, look.hash) for look in looks if look.hash is not None]
    if not hashed:
        return []
    table, which = np.unique(np.stack([bits for _, bits in hashed]), axis=0, return_inverse=True)
    signs = np.where(table, 1, -1).astype(np.float32)
    pairs = []
    for first in range(0, len(signs), ROWS):
        agree = signs[first : first + ROWS] @ signs[first:].T  # BITS less twice what differs
        pairs.append(np.stack(np.nonzero(agree >= BITS - 2 * NEAR)) + first)
    rows, columns = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), (len(signs), len(signs)))
    sets = connected_components(graph, directed=False)[1][which.ravel()]
    found: defaultdict[int, dict[tuple[str, str], Look]] = defaultdict(dict)
    for number, (look, _) in zip(sets.tolist(), hashed, strict=True):
        found[number].setdefault((look.of_class, look.digest), look)
    return [
        list(alike.values()) for alike in found.values() if len({digest for _, digest in alike}) > 1
    ]


def within_classes(sets: Iterable[list[Look]]) -> list[list[Look]]:
    """The parts of the sets that are in one class."""
    found = []
    for alike in sets:
        classes = defaultdict(list)
        for look in alike:
            classes[look.of_class].append(look)
        found += [part for part in classes.values() if len(part) > 1]
    return found


def across_classes(sets: Iterable[list[Look]]) -> list[list[Look]]:
    """The sets that are in several classes."""
    return [alike for alike in sets if len({look.of_class for look in alike}) > 1]
