"""How many classes go to meta-train, meta-validation and meta-test, or which. Needs no torch."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from fewshot_cli.settings.errors import UserError, nearest

SPLITS = ("train", "valid", "test")


def sizes(classes: int, shares: Sequence[float], least: int = 0) -> list[int]:
    """How many of the classes are for each of `SPLITS`.

    The shares say so where they give each split `least`. Else meta-validation and meta-test get
    `least` if they had fewer, and meta-train the rest. Where the classes are too few for three
    splits, meta-validation gets none; where they are too few for two, the shares stand.
    """
    ends = [0, *(round(classes * sum(shares[: place + 1])) for place in range(len(SPLITS)))]
    train, valid, test = (last - first for first, last in pairwise(ends))
    if min(train, valid, test) >= least or classes < 2 * least:
        return [train, valid, test]
    if classes < 3 * least:
        return [classes - least, 0, least]
    test = min(max(test, least), classes - 2 * least)
    valid = min(max(valid, least), classes - test - least)
    return [classes - valid - test, valid, test]


def read(path: Path, known: Collection[str] | None = None) -> dict[str, list[str]]:
    """The classes of each split, in the order of the rows of a CSV; a class in no row is unused.

    Args:
        known: the classes that there are; None: any.

    Raises:
        UserError: the file cannot be read, or names the row that is wrong.
    """
    chosen: dict[str, list[str]] = {split: [] for split in SPLITS}
    seen = set[str]()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"class", "split"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: expected a CSV with the columns class,split")
            for row in rows:
                where, name, split = f"{path}:{rows.line_num}", row["class"], row["split"]
                if known is not None and name not in known:
                    raise UserError(
                        f"{where}: class {name}: is not below data.root; "
                        f"expected {nearest(name or '', known)}"
                    )
                if name in seen:
                    raise UserError(f"{where}: class {name}: stands twice; expected one row each")
                if split not in SPLITS:
                    raise UserError(f"{where}: split {split}: expected {', '.join(SPLITS)}")
                seen.add(name)
                chosen[split].append(name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {why}; expected a CSV in UTF-8") from error
    return chosen
