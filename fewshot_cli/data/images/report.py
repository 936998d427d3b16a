"""What `fewshot data` says of a folder or a list of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fewshot_cli.data import report
from fewshot_cli.data.images import listed
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


def show(folder: Path, labels: Path | None) -> dict[str, object]:
    """Print classes, faults, duplicates and what runs they allow; all that is found comes back.

    Args:
        labels: a list of the images instead of a folder for each class.

    Raises:
        UserError: the folder or the list cannot be read, or has no classes.
    """
    if labels is None:
        tree, divided = scan(folder, loose=True), None
    else:
        of_list = listed.read(labels, folder)
        tree, divided = Tree(folder, of_list.classes), of_list.splits
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
    found = {
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
        **report.runs(
            Counter(look.of_class for look in whole), divided, job_config(["data=folder"])
        ),
        "broken": [f"{look.name}: {look.fault}" for look in broken],
        "the same in one class": [*map(_equal, within_classes(exact))],
        "the same in several classes": [*map(_equal, across_classes(exact))],
        "nearly the same in one class": [*map(_similar, within_classes(near))],
        "nearly the same in several classes": [*map(_similar, across_classes(near))],
        "tiny": [f"{look.name}: {_size(look)}" for look in tiny],
        "empty": [path.relative_to(folder).as_posix() for path in tree.empty],
        "in no class, which a run refuses": [path.name for path in loose],
    }
    report.show(found, {"broken": len(broken)})
    return found


def _where(sets: Sequence[list[Look]]) -> str:
    """A set that is in several classes, and with several files in one of them, is both."""
    return f"{len(within_classes(sets))} within a class, {len(across_classes(sets))} across classes"


def _equal(looks: Iterable[Look]) -> str:
    return " = ".join(look.name for look in looks)


def _similar(looks: Iterable[Look]) -> str:
    return " ~ ".join(look.name for look in looks)


def _size(look: Look) -> str:
    return "{}x{}".format(*look.size)


def _most(values: Iterable[str]) -> str:
    """The most frequent values, each with its number of images."""
    counts = Counter(values)
    shown = [f"{value} ({count})" for value, count in counts.most_common(report.MOST)]
    more = len(counts) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown) or "none"
