"""A folder of images: which classes it has, and the pixels of one file. Needs no torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour

# Formats that Pillow recognises, but leaves to another program or draws from a description.
NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
MODES = {Colour.grey: "L", Colour.rgb: "RGB"}

Picture = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass
class Tree:
    """The classes below `root`: for each path below it, `group/.../class`, its files by name."""

    root: Path
    classes: dict[str, list[Path]] = field(default_factory=dict)
    empty: list[Path] = field(default_factory=list)  # folders with no image and no other folder
    links: int = 0  # symbolic links, which are left out: they may lead out of the root


def group(name: str) -> str:
    """The path above a class, as an alphabet is above its characters; "" right below the root."""
    return name.rpartition("/")[0]


def scan(root: Path, loose: bool = False) -> Tree:
    """Find every folder that holds images; names that begin with a dot are left out.

    Args:
        loose: images right in the root are of no class, and stand under "".

    Raises:
        UserError: the root cannot be read, holds no image, or an image that is in no class.
    """
    tree = Tree(root)
    endings = {end for end, form in Image.registered_extensions().items() if form in _formats()}

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename or root}: {error.strerror or error}; expected a folder that can be "
            "read"
        ) from error

    for here, folders, files in os.walk(root, onerror=refuse):
        entries = sorted(name for name in files if not name.startswith("."))
        linked = [name for name in (*folders, *entries) if os.path.islink(os.path.join(here, name))]
        tree.links += len(linked)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = [
            Path(here, name)
            for name in entries
            if os.path.splitext(name)[1].lower() in endings and name not in linked
        ]
        images = [path for path in images if path.is_file()]  # no pipe or device
        if images and Path(here) == root and not loose:
            raise UserError(f"{images[0]}: is in no class; expected {root}/CLASS/{images[0].name}")
        if images:
            name = Path(here).relative_to(root).as_posix()
            tree.classes["" if name == "." else name] = images
        elif not folders:
            tree.empty.append(Path(here))
    if not tree.classes:
        wanted = "images" if loose else "a folder for each class"
        left_out = f" ({tree.links} symbolic links are not followed)" if tree.links else ""
        raise UserError(f"{root}: holds no images{left_out}; expected {wanted}")
    return tree


def decode(path: Path, size: int, colour: Colour) -> Picture:
    """The first frame, the right way up, on white where it is transparent: uint8 `[C, size, size]`.

    Sides of different lengths are both scaled to `size`.

    Raises:
        Exception: of any kind, as Pillow's decoders let them out of a damaged file.
    """
    with opened(path) as image:
        image.draft(None, (2 * size, 2 * size))  # of a large JPEG decode no more than is needed
        upright = ImageOps.exif_transpose(image)
        plain = _plain(upright).convert(MODES[colour])
    small = np.asarray(plain.resize((size, size), Image.Resampling.LANCZOS), np.uint8)
    return small[None] if small.ndim == 2 else small.transpose(2, 0, 1)


def opened(path: Path) -> Image.Image:
    """The image with its size and mode; its pixels are not decoded yet."""
    return Image.open(path, formats=_formats())


def fault(error: Exception) -> str:
    """What a decoder has to say, without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a format that is read here"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


@contextmanager
def strict() -> Iterator[None]:
    """Pillow's warning of a decompression bomb is an error inside, and its others are silent.

    To be entered once around all threads, since they share what is done with warnings.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _plain(image: Image.Image) -> Image.Image:
    """8 bits a channel and no transparency."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)  # convert("L") would cut it at 255
        if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
            raise ValueError("32 bits a pixel, not 8 or 16")
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image


def _formats() -> list[str]:
    Image.init()
    return [form for form in Image.OPEN if form not in NOT_DECODED]
