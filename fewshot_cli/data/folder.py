"""A user's own images: a folder for each class below `data.root`, or a list of their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fewshot_cli.data.images import listed, splits
from fewshot_cli.data.images.decoding import images_of, tasks_of, without_broken
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.listed import Listed
from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.data.images.tree import group, scan
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig, Role, Shapes, Split, key


@dataclass
class FolderConfig(DataConfig):
    counted = True
    labels: str | None = key(
        None,
        role=Role.place,
        shapes=Shapes.tasks,
        help="a CSV with the columns file,label instead of a folder for each class",
    )


def load(config: FolderConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Decode the images once, in threads; then read them from the cache.

    Raises:
        UserError: the folder, a file in it or the split cannot be used.
    """
    if config.root is None:
        raise UserError("data.root=null: data=folder needs a folder, data.root=DIR")
    assert config.image_size is not None
    found = images(config)
    classes = found.classes
    if config.skip_broken:
        classes = without_broken(classes, cache_dir, "folder")
    decoded = images_of(classes, cache_dir, "folder", config.image_size, config.colour)
    return tasks_of(decoded, _split(decoded.counts, config, found.splits), device, config.invert)


def images(config: FolderConfig) -> Listed:
    """The files of each class, and the splits where a list has them.

    Raises:
        UserError: the folder or the list cannot be read.
    """
    assert config.root is not None
    root = Path(config.root)
    if config.labels is None:
        return Listed(scan(root).classes)
    return listed.read(Path(config.labels), root)


def _split(
    counts: Mapping[str, int], config: DataConfig, listed: Mapping[str, list[str]] | None
) -> dict[str, list[str]]:
    """The classes of each split, from the number of images of each.

    What a list says of them stands in the place of a lot, and no other way of splitting.
    Without classes of its own, meta-validation draws from those of meta-train.
    """
    if config.split_file is not None:
        chosen = splits.read(Path(config.split_file), counts)
    elif config.split == Split.test:
        chosen = {split: [] for split in SPLITS}
        chosen["test"] = [name for name in counts if name not in config.left_out]
    elif listed is not None and config.split == Split.random:
        chosen = dict(listed)
    else:
        chosen = by_lot(counts, config)
    chosen = {split: _large(names, counts, config) for split, names in chosen.items()}
    return chosen | {"valid": chosen["valid"] or chosen["train"]}


def by_lot(counts: Mapping[str, int], config: DataConfig) -> dict[str, list[str]]:
    """Whole groups or single classes, in an order by lot: first meta-train, at the end meta-test.

    Where that leaves a split of single classes with fewer than `least`, the classes that are large
    enough are split anew in the same order.
    """
    if config.split == Split.alphabets:
        raise UserError("data.split=alphabets: is Omniglot's own; expected random, groups or test")
    assert config.fractions is not None
    shares = [getattr(config.fractions, split) for split in SPLITS]
    whole, least = config.split == Split.groups, config.least or 0
    drawn = sorted({group(name) for name in counts}) if whole else list(counts)
    generator = torch.Generator().manual_seed(config.split_seed)
    order = [drawn[place] for place in torch.randperm(len(drawn), generator=generator).tolist()]
    parts = _parts(order, splits.sizes(len(order), shares))
    if not whole and any(len(_large(part, counts, config)) < least for part in parts):
        order = _large(order, counts, config)
        parts = _parts(order, splits.sizes(len(order), shares, least))
    return {
        split: [name for name in counts if (group(name) if whole else name) in part]
        for split, part in zip(SPLITS, map(set, parts), strict=True)
    }


def _parts(order: list[str], lengths: list[int]) -> list[list[str]]:
    rest = iter(order)
    return [[next(rest) for _ in range(length)] for length in lengths]


def _large(names: list[str], counts: Mapping[str, int], config: DataConfig) -> list[str]:
    """The classes that have `min_images`, and one at least."""
    return [name for name in names if counts[name] >= (config.min_images or 1)]
