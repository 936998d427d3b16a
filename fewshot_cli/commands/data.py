"""`fewshot data`: what is in a folder or list of images, or in a table, before a run uses it.

Raises UserError where it cannot be read, or the folder has no classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fewshot_cli.arguments import Overrides
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
from fewshot_cli.data.tables import groups, looks, reading
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config

MOST = 10  # sizes, modes, sets of duplicates and other names that are shown
WAYS = (2, 5, 10, 20)
SIZES = (32, 84)  # pixels a side
WIDTH = 15
MOST_COLUMNS = 50  # that are shown
PLURAL = {"class": "classes", "task": "tasks"}


def data(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE",
            help="A folder with a folder per class; or a table.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A CSV with the columns file,label instead of folders."),
    ] = None,
) -> None:
    """Look at images or a table of your own: classes, faults, duplicates, what runs it allows.

    fewshot data DIR

    fewshot data DIR --labels DIR/labels.csv

    fewshot train data=folder data.root=DIR

    Of a table, the words are those of the run that you have in mind.

    fewshot data FILE data.task=patient data.target=dose shots=5

    fewshot train data=table data.root=FILE data.task=patient data.target=dose shots=5 ...
    """
    if folder.is_file():
        if labels is not None:
            raise UserError(f"--labels {labels}: is for a folder of images; expected none")
        _table(folder, overrides or [])
        return
    if overrides:
        raise UserError(f"{overrides[0]}: goes with a table; expected none with a folder")
    _images(folder, labels)


def _table(path: Path, overrides: list[str]) -> None:
    if path.suffix.lower() not in reading.ENDINGS:
        raise UserError(f"{path}: expected a folder of images, or {', '.join(reading.ENDINGS)}")
    of_tasks = any(word.lstrip("+").startswith("data.task=") for word in overrides)
    words = ["data=table", "model=mlp", *(["ways=1"] if of_tasks else []), *overrides]
    config = job_config(words)
    asked: Any = config.data
    label = asked.label
    if path.suffix.lower() == ".npz" and label is None and asked.target is None:
        label = "y" if "y" in reading.names_in(path) else None
    split = None if asked.split in ("random", "test") else asked.split
    keys = {"data.label": label, "data.task": asked.task, "data.split": split}
    named = {name: key for key, name in keys.items() if name is not None}
    targets = reading.names_of(asked.target)
    features, drop = (reading.names_of(value) for value in (asked.features, asked.drop))
    look = looks.look_at(path, named, targets, features, drop)
    faults = [fault for column in look.columns for fault in column.faults]
    kinds = Counter(column.kind for column in look.columns)
    lost = [f"{column.name} {column.missing:,}" for column in look.columns if column.missing]
    constant = [column.name for column in look.columns if column.constant]
    rows: dict[str, object] = {
        "rows": f"{look.rows:,}",
        "columns": ", ".join(f"{count} of {kind}" for kind, count in kinds.items()),
        "missing values": ", ".join(lost) or "none",
        "constant": ", ".join(constant) or "none",
    }
    if lost:
        faults.append("missing values; expected none, or data.missing=median, which fills them")
    by = asked.task or label
    if by is None:
        rows["duplicates"] = f"{looks.equal_rows(look)} rows are like another"
        rows["tasks"] = "expected data.label=COLUMN, or data.task=COLUMN data.target=COLUMN"
    else:
        rows |= _groups(look, by, split, config, faults)
    for key, value in rows.items():
        print(f"{key:{WIDTH}}  {_line(value)}")
    _names("column", map(_of_column, look.columns), MOST_COLUMNS)
    _names("cannot be used", faults)


def _groups(
    look: looks.Look, by: str, split: str | None, config: Config, faults: list[str]
) -> dict[str, object]:
    """The classes or tasks of a table, and what they allow; `faults` gets what cannot be used."""
    words, what = look.keys[by], _what(config)
    for name, column in look.keys.items():
        if empty := int((column.codes < 0).sum()):
            faults.append(f"column {name}: is empty in {empty:,} rows; expected a word in each")
    there = words.codes >= 0
    counts = Counter(dict(enumerate(np.bincount(words.codes[there]).tolist())))
    sizes = {words.names[place]: count for place, count in counts.items()}
    divided, across = None, f"{looks.equal(look, words)} across {PLURAL[what]}"
    if split is not None:
        across += f", {looks.equal(look, look.keys[split])} across splits"
        try:
            divided = groups.told(
                words, look.keys[split], f"column {by}", look.where, f"column {split}", what
            )
        except UserError as error:
            faults.append(str(error))
            divided = {}
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    return {
        PLURAL[what]: len(sizes),
        f"smallest {what}": f"{sizes[small]} rows: {small}",
        f"largest {what}": f"{sizes[large]} rows: {large}",
        "duplicates": f"{looks.equal_rows(look)} rows are like another, {across}",
        **_runs(sizes, divided, config),
    }


def _what(config: Config) -> str:
    return "class" if getattr(config.data, "task", None) is None else "task"


def _of_column(column: looks.Column) -> str:
    if column.values is None:
        return f"{column.name}: {column.kind}"
    return f"{column.name}: {column.kind}, {len(column.values):,} different values"


def _images(folder: Path, labels: Path | None) -> None:
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
        **_runs(Counter(look.of_class for look in whole), divided, job_config(["data=folder"])),
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


def _runs(
    counts: Mapping[str, int], divided: Mapping[str, Sequence[str]] | None, config: Config
) -> dict[str, object]:
    """Which tasks the classes allow, as a run splits them, and how much it reads.

    Args:
        counts: the images that can be decoded, or the rows, of each class or task.
        divided: the classes or tasks of each split, where a list or a column has them; empty where
            the column is wrong.
        config: of the run.
    """
    of, data = "images" if config.data.images else "rows", config.data
    assert data.fractions is not None
    shares, classes, most = astuple(data.fractions), len(counts), len(counts) // 2
    what = _what(config)
    rows: dict[str, object] = {}
    if divided is not None:
        sizes = [len(names) for names in divided.values()]
        rows["splits"] = _split(what, *sizes) if sizes else f"data.split={data.split} is wrong"
    elif what == "task":
        rows["splits"] = _split(what, *splits.sizes(classes, shares, 1))
    for ways in sorted({*WAYS, most}) if not rows else ():
        if 2 <= ways <= min(most, WAYS[-1]):
            rows[f"ways={ways}"] = _split(what, *splits.sizes(classes, shares, ways))
    if not rows:
        rows["ways"] = "to train on 2 classes and to test on 2 others takes 4; see `fewshot adapt`"
    queries, fewest = config.eval.queries, min(counts.values(), default=0)
    needed = config.shots + queries
    small = sum(images < needed for images in counts.values())
    rows["shots"] = f"up to {fewest - queries} with eval.queries={queries}, by the smallest {what}"
    if fewest < needed:
        rows["shots"] = (
            f"shots={config.shots} and eval.queries={queries} take {needed} {of} of a {what}, and "
            f"{small} of {classes} have fewer; data.min_{of}={needed} leaves those out"
        )
    if not data.images:
        return rows
    pixels = 3 * sum(counts.values()) / 1e6
    read = [f"{pixels * size**2:,.1f} MB at {size} pixels" for size in SIZES]
    return rows | {"decoded images": ", ".join(read)}


def _split(what: str, train: int, valid: int, test: int) -> str:
    valid_too = f", {valid} for meta-validation" if valid else " and meta-validation"
    return f"{train} {PLURAL[what]} for meta-train{valid_too}, {test} for meta-test"


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
