"""`fewshot data`: what is in a folder of images, before a run is made with it.

Raises UserError where the folder cannot be read or holds no images.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.data.images.tree import Tree, decode, fault, group, opened, scan, strict
from fewshot_cli.progress import Progress
from fewshot_cli.settings.schema import Colour

MOST = 10  # sizes, modes and sets of duplicates that are shown


@dataclass(frozen=True)
class Look:
    """One file; `size` is `WIDTHxHEIGHT`, and a `fault` is why it cannot be decoded."""

    path: Path
    digest: str = ""
    size: str = ""
    mode: str = ""
    fault: str = ""


def data(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with a folder per class.", show_default=False),
    ],
) -> None:
    """Look at a folder of your own images: classes, sizes, broken files, duplicates.

    fewshot data DIR

    fewshot train data=folder data.root=DIR
    """
    tree = scan(folder)
    files = list(chain.from_iterable(tree.classes.values()))
    with (
        Progress("Looking at the images", len(files), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        looks = []
        for look in pool.map(_look, files):
            looks.append(look)
            progress.advance()
    _show(tree, looks)


def _look(path: Path) -> Look:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with opened(path) as image:
            width, height, mode = *image.size, image.mode
        decode(path, 8, Colour.rgb)  # as a run will, but small
    except Exception as error:  # as many kinds as there are decoders
        return Look(path, fault=fault(error))
    return Look(path, digest, f"{width}x{height}", mode)


def _show(tree: Tree, looks: list[Look]) -> None:
    counts = {name: len(files) for name, files in tree.classes.items()}
    small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    whole = [look for look in looks if not look.fault]
    broken = [look for look in looks if look.fault]
    within, across = _duplicates(tree.root, whole)
    rows = {
        "groups": len({group(name) for name in counts}),
        "classes": len(counts),
        "images": len(looks),
        "smallest class": f"{counts[small]} images: {small}",
        "largest class": f"{counts[large]} images: {large}",
        "image sizes": _most(look.size for look in whole),
        "modes": _most(look.mode for look in whole),
        "broken files": len(broken),
        "duplicates": f"{len(within)} within a class, {len(across)} across classes",
        "links left out": tree.links,
    }
    for label, value in rows.items():
        print(f"{label:14}  {_line(value)}")
    for look in broken:
        print(f"broken: {_line(look.path.relative_to(tree.root))}: {_line(look.fault)}")
    for what, found in (("in one class", within), ("in several classes", across)):
        for names in found[:MOST]:
            print(f"the same {what}: {_line(' = '.join(names))}")
        if len(found) > MOST:
            print(f"the same {what}: {len(found) - MOST} more")


def _duplicates(root: Path, looks: list[Look]) -> tuple[list[list[str]], list[list[str]]]:
    """Sets of files with the same bytes: those within one class, and those of several."""
    same = defaultdict(list)
    for look in looks:
        same[look.digest].append(look.path.relative_to(root).as_posix())
    sets = [names for names in same.values() if len(names) > 1]
    alone = [len({group(name) for name in names}) == 1 for names in sets]
    return (
        [names for names, one in zip(sets, alone, strict=True) if one],
        [names for names, one in zip(sets, alone, strict=True) if not one],
    )


def _most(values: Iterable[str]) -> str:
    """The most frequent values, each with its number of images."""
    counts = Counter(values)
    shown = [f"{value} ({count})" for value, count in counts.most_common(MOST)]
    more = len(counts) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown) or "none"


def _line(value: object) -> str:
    """One line of printable characters: a file may be called anything."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
