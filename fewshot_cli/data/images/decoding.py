"""What loaders of a user's own files share: the root, and images that are decoded once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from fewshot_cli.data.images.cache import Arrays, cached
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.mapped import TOO_MANY, Mapped, mapped
from fewshot_cli.data.images.tree import MODES, Picture, decode, fault, strict
from fewshot_cli.progress import Progress, say
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour, DataConfig

VERSION = 1  # of the decoding in data/images/tree.py


def root_of(config: DataConfig, folder: str, holds: str) -> Path:
    """`folder` in `data.root`, or `data.root` where that is the folder itself.

    Args:
        holds: what the user has to put there and where it is to be had, for the message.

    Raises:
        UserError: there is no such folder.
    """
    if config.root is None:
        raise UserError(f"data.root=null: data={config.name} is not downloaded; expected {holds}")
    root = Path(config.root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected {holds}")
    return root / folder if (root / folder).is_dir() else root


@dataclass(frozen=True)
class Decoded:
    """All images, uint8 `[images, C, size, size]`, class after class.

    Attributes:
        counts: how many each class has.
        digests: of each image, where they are too many for the memory.
    """

    images: Tensor
    counts: dict[str, int]
    digests: Tensor | None = None

    def by_class(self) -> dict[str, Tensor]:
        """The images of each class."""
        parts = self.images.split(list(self.counts.values()))
        return dict(zip(self.counts, parts, strict=True))


def images_of(
    classes: Mapping[str, list[Path]], cache_dir: str, name: str, size: int, colour: Colour
) -> Decoded:
    """The images of each class: decoded in threads, or from the cache.

    Args:
        name: begins the name of the file in the cache.

    Raises:
        UserError: a file cannot be read or is no image.
    """
    files = list(chain.from_iterable(classes.values()))
    key = {
        "version": VERSION,
        "renderer": PIL.__version__,
        "image_size": size,
        "colour": colour.value,
        "files": _listing(files),
    }
    counts = {each: len(paths) for each, paths in classes.items()}
    shape = len(files), len(MODES[colour]), size, size
    decode_all = partial(_decode_all, files, size, colour)
    if math.prod(shape) > TOO_MANY:
        images, digests = mapped(cache_dir, name, key, shape, decode_all)
        return Decoded(images, counts, digests)

    def build() -> Arrays:
        images = np.empty(shape, np.uint8)
        for place, picture in enumerate(decode_all()):
            images[place] = picture
        return {"images": images}

    return Decoded(torch.from_numpy(cached(cache_dir, name, key, build)["images"]), counts)


def tasks_of(
    decoded: Decoded,
    splits: Mapping[str, Iterable[str]],
    device: torch.device,
    invert: bool = False,
) -> ImageTasks:
    """A source of tasks from all images and the classes of each split."""
    counts = torch.tensor([*decoded.counts.values()])
    ends = dict(zip(decoded.counts, counts.cumsum(0).tolist(), strict=True))
    tables: dict[str, Tensor | Mapped] = {}
    for split, names in splits.items():
        ranges = [torch.arange(ends[name] - decoded.counts[name], ends[name]) for name in names]
        rows = torch.cat([torch.arange(0), *ranges])  # a split may have lost all of its classes
        if decoded.digests is not None:
            tables[split] = Mapped(decoded.images, decoded.digests, rows, invert)
        else:
            images = decoded.images[rows]
            tables[split] = 255 - images if invert else images
    sizes = {split: {name: decoded.counts[name] for name in splits[split]} for split in splits}
    return ImageTasks(tables, device, sizes)


def without_broken(
    classes: Mapping[str, list[Path]], cache_dir: str, name: str
) -> dict[str, list[Path]]:
    """The files that can be decoded; a line says how many others there are.

    Args:
        name: begins the name of the file in the cache.
    """
    files = list(chain.from_iterable(classes.values()))
    key = {"version": VERSION, "renderer": PIL.__version__, "whole": _listing(files)}
    whole = cached(cache_dir, name, key, lambda: _whole(files))["whole"]
    broken = [path for path, decodes in zip(files, whole, strict=True) if not decodes]
    if broken:
        files_are = "1 file" if len(broken) == 1 else f"{len(broken)} files"
        say(f"Left out {files_are} that cannot be decoded, the first: {broken[0]}")
    left_out = set(broken)
    return {
        name: [path for path in paths if path not in left_out] for name, paths in classes.items()
    }


def _whole(files: list[Path]) -> Arrays:
    """Which files can be decoded."""

    def decodes(path: Path) -> bool:
        try:
            decode(path, 8, Colour.rgb)
        except Exception:  # as many kinds as there are decoders
            return False
        return True

    whole = np.empty(len(files), bool)
    with (
        Progress("Looking for broken images (once)", len(files), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        for place, answer in enumerate(pool.map(decodes, files)):
            whole[place] = answer
            progress.advance()
    return {"whole": whole}


def _listing(files: list[Path]) -> str:
    """A digest that another file, size or time of change alters."""
    try:
        stats = [(str(path), path.stat()) for path in files]
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror or error}") from error
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _decode_all(files: list[Path], size: int, colour: Colour) -> Iterator[Picture]:
    read = partial(_decode, size=size, colour=colour)
    with (
        Progress("Decoding the images (once)", len(files), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        # What is left of the map is cancelled when one of the files raises.
        for picture in pool.map(read, files):
            yield picture
            progress.advance()


def _decode(path: Path, size: int, colour: Colour) -> Picture:
    try:
        return decode(path, size, colour)
    except Exception as error:
        raise UserError(
            f"{path}: expected an image ({fault(error)}); `fewshot data DIR` lists all such files, "
            "and data=folder data.skip_broken=true trains without them"
        ) from error
