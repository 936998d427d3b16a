"""A user's own images: a folder for each class, at any depth below `data.root`."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from fewshot_cli.config import Colour, DataConfig, Split, UserError
from fewshot_cli.data.cache import Arrays, cached
from fewshot_cli.data.episodes import ImageTasks
from fewshot_cli.data.tree import MODES, decode, fault, group, scan, strict
from fewshot_cli.kinds import nearest
from fewshot_cli.progress import Progress

SPLITS = ("train", "valid", "test")
VERSION = 1  # of the decoding in data/tree.py


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Decode the images once, in threads; then read them from the cache.

    Raises:
        UserError: the folder, a file in it or the split cannot be used.
    """
    if config.root is None:
        raise UserError("data.root=null: data=folder needs a folder, data.root=DIR")
    assert config.image_size is not None
    size, colour = config.image_size, config.colour
    tree = scan(Path(config.root))
    files = list(chain.from_iterable(tree.classes.values()))
    key = {
        "version": VERSION,
        "renderer": PIL.__version__,
        "image_size": size,
        "colour": colour.value,
        "files": _listing(tree.root, files),
    }
    arrays = cached(cache_dir, "folder", key, lambda: _decode_all(files, size, colour))
    images = torch.from_numpy(arrays["images"])
    if config.invert:
        images = 255 - images
    counts = {name: len(paths) for name, paths in tree.classes.items()}
    of_class = dict(zip(counts, images.split(list(counts.values())), strict=True))
    large = [name for name in counts if counts[name] >= (config.min_images or 1)]
    tables: dict[str, Tensor] = {}
    sizes: dict[str, Mapping[str, int]] = {}
    for split, names in _split(list(counts), config).items():
        kept = [name for name in names if name in set(large)]
        sizes[split] = {name: counts[name] for name in kept}
        tables[split] = torch.cat([images[:0], *(of_class[name] for name in kept)])
    return ImageTasks(tables, device, sizes)


def _listing(root: Path, files: list[Path]) -> str:
    """A digest that another file, size or time of change alters."""
    try:
        stats = [(str(path), path.stat()) for path in files]
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror or error}") from error
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _decode_all(files: list[Path], size: int, colour: Colour) -> Arrays:
    images = np.empty((len(files), len(MODES[colour]), size, size), np.uint8)
    read = partial(_decode, size=size, colour=colour)
    with (
        Progress("Decoding the images (once)", len(files), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        # What is left of the map is cancelled when one of the files raises.
        for place, picture in enumerate(pool.map(read, files)):
            images[place] = picture
            progress.advance()
    return {"images": images}


def _decode(path: Path, size: int, colour: Colour) -> np.ndarray:  # type: ignore[type-arg]
    try:
        return decode(path, size, colour)
    except Exception as error:
        raise UserError(
            f"{path}: expected an image ({fault(error)}); `fewshot data DIR` lists all such files"
        ) from error


def _split(names: list[str], config: DataConfig) -> dict[str, list[str]]:
    """The classes of each split: by the CSV, or whole groups or single classes by lot."""
    if config.split_file is not None:
        return _read_split(Path(config.split_file), names)
    if config.split is Split.alphabets:
        raise UserError("data.split=alphabets: is Omniglot's own; expected random or groups")
    assert config.fractions is not None
    shares = [getattr(config.fractions, split) for split in SPLITS]
    if abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"data.fractions={'+'.join(map(str, shares))}: expected a sum of 1")
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
