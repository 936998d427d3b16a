"""A list of images: a CSV that gives the class of each, as Meta-Album has it. Needs no torch."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.settings.errors import UserError, in_short

WANTED = "expected a CSV in UTF-8 with the columns file,label and perhaps group,split"
META_ALBUM = {"FILE_NAME": "file", "CATEGORY": "label", "SUPER_CATEGORY": "group"}
NO_GROUP = ("", "NAN", "nan")
IMAGES = "images"  # the folder below the root in which Meta-Album's files are


@dataclass(frozen=True)
class Listed:
    """The files of each class, and the classes of each split where there is a column for it."""

    classes: dict[str, list[Path]]
    splits: dict[str, list[str]] | None = None


def read(labels: Path, root: Path) -> Listed:
    """The images of a list. The order of its rows means nothing.

    A file is a path below `root`, or below its folder `images`. A class is `label`, or
    `group/label` where there is a group.

    Raises:
        UserError: the list cannot be read, or names the row that is wrong.
    """
    classes: dict[str, list[Path]] = {}
    split_of: dict[str, tuple[str, int]] = {}
    seen: dict[str, int] = {}
    for line, row in _rows(labels):
        where = f"{labels}:{line}"
        path = _image(row["file"], root, where)
        earlier = seen.setdefault(os.path.realpath(path), line)
        if earlier != line:
            raise UserError(
                f"{where}: file {row['file']}: stands in line {earlier} too; expected one row each"
            )
        name = _class(row, where)
        classes.setdefault(name, []).append(path)
        if "split" in row:
            split = row["split"]
            if split not in SPLITS:
                raise UserError(f"{where}: split {split}: expected {', '.join(SPLITS)}")
            other, earlier = split_of.setdefault(name, (split, line))
            if other != split:
                raise UserError(
                    f"{where}: class {name}: is in {split}, and in {other} by line {earlier}; "
                    "expected all of its images in one split"
                )
    if not classes:
        raise UserError(f"{labels}: has no rows; {WANTED}")
    # As a folder with a folder for each class is read, so that both are one data set.
    names = sorted(classes, key=lambda name: name.split("/"))
    ordered = {name: sorted(classes[name], key=lambda path: path.parts) for name in names}
    if not split_of:
        return Listed(ordered)
    splits = {part: [name for name in names if split_of[name][0] == part] for part in SPLITS}
    return Listed(ordered, splits)


def _rows(labels: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of each row by column, and the line where it ends."""
    table = csv.reader(io.StringIO(_text(labels), newline=""), skipinitialspace=True, strict=True)
    try:
        header = [META_ALBUM.get(cell.strip(), cell.strip()) for cell in next(table, [])]
        if not {"file", "label"} <= {*header}:
            raise UserError(f"{labels}:1: begins with {_shown(','.join(header))}; {WANTED}")
        for name in {"file", "label", "group", "split"} & {*header}:
            if header.count(name) > 1:
                raise UserError(f"{labels}:1: has {name} twice; {WANTED}")
        for cells in table:
            if cells and len(cells) != len(header):
                raise UserError(
                    f"{labels}:{table.line_num}: has {len(cells)} cells; expected {len(header)}, "
                    "as the first line has"
                )
            if cells:
                yield table.line_num, dict(zip(header, map(str.strip, cells), strict=True))
    except csv.Error as error:
        raise UserError(f"{labels}:{table.line_num}: {error}; {WANTED}") from error


def _text(labels: Path) -> str:
    try:
        return labels.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{labels}: {error.strerror or error}; {WANTED}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{labels}:{line}: {error.reason}; {WANTED}") from error


def _image(file: str, root: Path, where: str) -> Path:
    there = [path for path in (root / file, root / IMAGES / file) if os.path.isfile(path)]
    if not there:
        raise UserError(
            f"{where}: file {_shown(file)}: is not there; expected a path below data.root={root} "
            f"or its folder {IMAGES}"
        )
    if not os.path.realpath(there[0]).startswith(os.path.join(os.path.realpath(root), "")):
        raise UserError(f"{where}: file {file}: is outside of data.root={root}; expected one below")
    return there[0]


def _class(row: dict[str, str], where: str) -> str:
    label, group = row["label"], row.get("group", "")
    if not label or not (label + group).isprintable():
        raise UserError(f"{where}: label {_shown(label)}: expected the name of a class, in letters")
    return label if group in NO_GROUP else f"{group}/{label}"


def _shown(cell: str) -> str:
    return in_short("".join(c if c.isprintable() else "?" for c in cell)) or "nothing"
