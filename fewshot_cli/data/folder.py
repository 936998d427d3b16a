"""A user's own images: a folder for each class, at any depth below `data.root`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch

from fewshot_cli.data.images.decoding import images_of, tasks_of
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.tree import group, scan
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import DataConfig, Split

SPLITS = ("train", "valid", "test")


@dataclass
class FolderConfig(DataConfig):
    counted = True


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Decode the images once, in threads; then read them from the cache.

    Raises:
        UserError: the folder, a file in it or the split cannot be used.
    """
    if config.root is None:
        raise UserError("data.root=null: data=folder needs a folder, data.root=DIR")
    assert config.image_size is not None
    tree = scan(Path(config.root))
    decoded = images_of(tree.classes, cache_dir, "folder", config.image_size, config.colour)
    fewest = config.min_images or 1
    splits = {
        split: [name for name in names if decoded.counts[name] >= fewest]
        for split, names in _split(list(decoded.counts), config).items()
    }
    return tasks_of(decoded, splits, device, config.invert)


def _split(names: list[str], config: DataConfig) -> dict[str, list[str]]:
    """The classes of each split: by the CSV, or whole groups or single classes by lot."""
    if config.split_file is not None:
        return _read_split(Path(config.split_file), names)
    if config.split is Split.alphabets:
        raise UserError("data.split=alphabets: is Omniglot's own; expected random or groups")
    assert config.fractions is not None
    shares = [getattr(config.fractions, split) for split in SPLITS]
    whole = config.split is Split.groups
    drawn = sorted({group(name) for name in names}) if whole else names
    generator = torch.Generator().manual_seed(config.split_seed)
    order = torch.randperm(len(drawn), generator=generator).tolist()
    ends = [0, *(round(len(drawn) * sum(shares[: place + 1])) for place in range(len(SPLITS)))]
    chosen = {}
    for split, first, last in zip(SPLITS, ends, ends[1:], strict=False):
        part = {drawn[place] for place in order[first:last]}
        chosen[split] = [name for name in names if (group(name) if whole else name) in part]
    return chosen


def _read_split(path: Path, names: list[str]) -> dict[str, list[str]]:
    """The classes of each split, in the order of the rows of a CSV; a class in no row is unused."""
    chosen: dict[str, list[str]] = {split: [] for split in SPLITS}
    known, seen = set(names), set[str]()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"class", "split"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: expected a CSV with the columns class,split")
            for row in rows:
                where, name, split = f"{path}:{rows.line_num}", row["class"], row["split"]
                if name not in known:
                    raise UserError(
                        f"{where}: class {name}: is not below data.root; "
                        f"expected {nearest(name or '', names)}"
                    )
                if name in seen:
                    raise UserError(f"{where}: class {name}: stands twice; expected one row each")
                if split not in SPLITS:
                    raise UserError(f"{where}: split {split}: expected {', '.join(SPLITS)}")
                seen.add(name)
                chosen[split].append(name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"data.split_file={path}: {why}; expected a CSV in UTF-8") from error
    return chosen
