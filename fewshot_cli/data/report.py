"""What `fewshot data` says of images and tables alike: figures, names, and what runs they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

from fewshot_cli.data.images import splits
from fewshot_cli.settings.schema import Config

MOST = 10  # names that are shown
WAYS = (2, 5, 10, 20)
SIZES = (32, 84)  # pixels a side
WIDTH = 15
PLURAL = {"class": "classes", "task": "tasks"}


def show(found: Mapping[str, object], most: Mapping[str, int]) -> None:
    """Print a line for each figure, and for each of the first of a list of names.

    Args:
        most: how many names of a list are shown, where it is not `MOST`.
    """
    for name, value in found.items():
        if not isinstance(value, list):
            print(f"{name:{WIDTH}}  {_line(value)}")
            continue
        shown = most.get(name, MOST)
        for line in value[:shown]:
            print(f"{name}: {_line(line)}")
        if len(value) > shown:
            print(f"{name}: {len(value) - shown} more")


def what(config: Config) -> str:
    """What a table or folder is divided into."""
    return "class" if getattr(config.data, "task", None) is None else "task"


def runs(
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
    one = what(config)
    rows: dict[str, object] = {}
    if divided is not None:
        sizes = [len(names) for names in divided.values()]
        rows["splits"] = _split(one, *sizes) if sizes else f"data.split={data.split} is wrong"
    elif one == "task":
        rows["splits"] = _split(one, *splits.sizes(classes, shares, 1))
    for ways in sorted({*WAYS, most}) if not rows else ():
        if 2 <= ways <= min(most, WAYS[-1]):
            rows[f"ways={ways}"] = _split(one, *splits.sizes(classes, shares, ways))
    if not rows:
        rows["ways"] = "to train on 2 classes and to test on 2 others takes 4; see `fewshot adapt`"
    queries, fewest = config.eval.queries, min(counts.values(), default=0)
    needed = config.shots + queries
    small = sum(images < needed for images in counts.values())
    rows["shots"] = f"up to {fewest - queries} with eval.queries={queries}, by the smallest {one}"
    if fewest < needed:
        rows["shots"] = (
            f"shots={config.shots} and eval.queries={queries} take {needed} {of} of a {one}, and "
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


def _line(value: object) -> str:
    """One line of printable characters: a file may be called anything."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
