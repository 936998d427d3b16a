"""`fewshot data`: what is in a folder or list of images, before a run is made with it.

Raises UserError where the folder cannot be read or has no classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.data.images import listed, splits
from fewshot_cli.data.images.looks import (
    TINY,
    Look,
    across_classes,
    look_at,
    nearly_same,
    same,
    within_classes,
)
from fewshot_cli.data.images.tree import Tree, group, scan
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.errors import UserError

MOST = 10  # sizes, modes, sets of duplicates and other names that are shown
WAYS = (2, 5, 10, 20)
SIZES = (32, 84)  # pixels a side
WIDTH = 15


def data(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with a folder per class.", show_default=False),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A CSV with the columns file,label instead of folders."),
    ] = None,
) -> None:
    """Look at a folder of your own images: classes, faults, duplicates, and what runs it allows.

    fewshot data DIR

    fewshot data DIR --labels DIR/labels.csv

    fewshot train data=folder data.root=DIR
    """
    if labels is None:
        tree, divided = scan(folder, loose=True), None
    else:
        found = listed.read(labels, folder)
        tree, divided = Tree(folder, found.classes), found.splits
    loose = tree.classes.pop("", [])
    if not tree.classes:
        raise UserError(f"{loose[0]}: is in no class; expected {folder}/CLASS/{loose[0].name}")
    looks = look_at(tree.classes, folder)
    whole = [look for look in looks if not look.fault]
    broken = [look for look in looks if look.fault]
    tiny = [look for look in whole if min(look.size) < TINY]
    exact, near = same(whole), nearly_same(whole)
    counts = {name: len(files) for name, files in tree.classes.items()}
    small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    rows = {
        "groups": len({group(name) for name in counts}),
        "classes": len(counts),
        "images": len(looks),
        "smallest class": f"{counts[small]} images: {small}",
        "largest class": f"{counts[large]} images: {large}",
        "image sizes": _most(_size(look) for look in whole),
        "modes": _most(look.mode for look in whole),
        "broken files": len(broken),
        "duplicates": _where(exact),
        "near-duplicates": _where(near),
        "tiny images": len(tiny),
        "empty folders": len(tree.empty),
        "loose files": len(loose),
        "links left out": tree.links,
        **_runs(Counter(look.of_class for look in whole), divided),
    }
    for label, value in rows.items():
        print(f"{label:{WIDTH}}  {_line(value)}")
    _names("broken", [f"{look.name}: {look.fault}" for look in broken], len(broken))
    _names("the same in one class", map(_equal, within_classes(exact)))
    _names("the same in several classes", map(_equal, across_classes(exact)))
    _names("nearly the same in one class", map(_similar, within_classes(near)))
    _names("nearly the same in several classes", map(_similar, across_classes(near)))
    _names("tiny", [f"{look.name}: {_size(look)}" for look in tiny])
    _names("empty", [path.relative_to(folder).as_posix() for path in tree.empty])
    _names("in no class, which a run refuses", [path.name for path in loose])


def _runs(counts: Mapping[str, int], divided: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    """Which tasks the classes allow, as a run splits them, and how much it reads.

    Args:
        counts: the images of each class that can be decoded.
        divided: the classes of each split, where a list has them.
    """
    config = job_config(["data=folder"])
    assert config.data.fractions is not None
    shares, classes, most = astuple(config.data.fractions), len(counts), len(counts) // 2
    rows = {}
    if divided is not None:
        rows["splits"] = _classes(*(len(names) for names in divided.values()))
    for ways in sorted({*WAYS, most}) if divided is None else ():
        if 2 <= ways <= min(most, WAYS[-1]):
            rows[f"ways={ways}"] = _classes(*splits.sizes(classes, shares, ways))
    if not rows:
        rows["ways"] = "to train on 2 classes and to test on 2 others takes 4; see `fewshot adapt`"
    queries, fewest = config.eval.queries, min(counts.values(), default=0)
    needed = config.shots + queries
    small = sum(images < needed for images in counts.values())
    rows["shots"] = f"up to {fewest - queries} with eval.queries={queries}, by the smallest class"
    if fewest < needed:
        rows["shots"] = (
            f"shots={config.shots} and eval.queries={queries} take {needed} images of a class, and "
            f"{small} of {classes} have fewer; data.min_images={needed} leaves those out"
        )
    pixels = 3 * sum(counts.values()) / 1e6
    sizes = [f"{pixels * size**2:,.1f} MB at {size} pixels" for size in SIZES]
    return rows | {"decoded images": ", ".join(sizes)}


def _classes(train: int, valid: int, test: int) -> str:
    valid_too = f", {valid} for meta-validation" if valid else " and meta-validation"
    return f"{train} classes for meta-train{valid_too}, {test} for meta-test"


def _where(sets: Sequence[list[Look]]) -> str:
    """A set that is in several classes, and with several files in one of them, is both."""
    return f"{len(within_classes(sets))} within a class, {len(across_classes(sets))} across classes"


def _equal(looks: Iterable[Look]) -> str:
    return " = ".join(look.name for look in looks)


def _similar(looks: Iterable[Look]) -> str:
    return " ~ ".join(look.name for look in looks)


def _size(look: Look) -> str:
    return "{}x{}".format(*look.size)


def _names(what: str, lines: Iterable[str], most: int = MOST) -> None:
    """A line for each of the first ones, and the number of the others."""
    lines = list(lines)
    for line in lines[:most]:
        print(f"{what}: {_line(line)}")
    if len(lines) > most:
        print(f"{what}: {len(lines) - most} more")


def _most(values: Iterable[str]) -> str:
    """The most frequent values, each with its number of images."""
    counts = Counter(values)
    shown = [f"{value} ({count})" for value, count in counts.most_common(MOST)]
    more = len(counts) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown) or "none"


def _line(value: object) -> str:
    """One line of printable characters: a file may be called anything."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
