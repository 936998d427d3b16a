"""tiered-ImageNet (Ren et al. 2018): 608 classes, split by category into 351/97/160."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewshot_cli.data.images import pickles
from fewshot_cli.data.images.decoding import root_of
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.pickles import expect
from fewshot_cli.data.images.tree import Picture, fault, strict
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig

HOLDS = (
    "data.root=DIR with {train,val,test}_images_png.pkl and {train,val,test}_labels.pkl "
    "(https://zenodo.org/records/7978538, where each name begins with tiered-imagenet-)"
)
FILES = {"train": "train", "valid": "val", "test": "test"}


@dataclass
class TieredImageNetConfig(DataConfig):
    counted = True


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Decode all images, in threads, into one array a split; there is no cache of that size.

    Raises:
        UserError: a file is missing, damaged, or not tiered-ImageNet.
    """
    root = root_of(config, "tiered-imagenet", HOLDS)
    for name in FILES.values():
        for path in (root / f"{name}_images_png.pkl", root / f"{name}_labels.pkl"):
            if not path.is_file():
                raise UserError(f"{path}: no such file; expected {HOLDS}")
    tables: dict[str, Tensor] = {}
    sizes: dict[str, dict[str, int]] = {}
    names: dict[str, list[str]] = {}
    for split, name in FILES.items():
        order, sizes[split], names[split] = _labels(
            root / f"{name}_labels.pkl", getattr(config.classes, split), split
        )
        tables[split] = _images(root / f"{name}_images_png.pkl", order, config)
    return ImageTasks(tables, device, sizes, names)


def _labels(path: Path, classes: int, split: str) -> tuple[list[int], dict[str, int], list[str]]:
    """The places of the images, class after class; how many each class has; its name in words."""
    content = pickles.load(path)
    expect(isinstance(content, dict), path, "a dict with label_specific")
    labels = np.asarray(content.get("label_specific"))
    expect(labels.dtype.kind in "iu" and labels.ndim == 1, path, "label_specific, one an image")
    found, counts = np.unique(labels, return_counts=True)
    expect(len(found) == classes, path, f"{classes} {split} classes, and it has {len(found)}")
    sizes = {str(name): int(count) for name, count in zip(found, counts, strict=True)}
    words = content.get("label_specific_str")
    known = isinstance(words, list) and found[0] >= 0 and found[-1] < len(words)
    names = [str(words[label]) if known else str(label) for label in found.tolist()]
    return np.argsort(labels, kind="stable").tolist(), sizes, names


def _images(path: Path, order: list[int], config: DataConfig) -> Tensor:
    """uint8 `[images, 3, size, size]`, in the order of their places."""
    content, size = pickles.load(path), config.image_size
    assert size is not None
    expect(
        isinstance(content, list) and len(content) == len(order),
        path,
        f"a list of {len(order)} images, one a label",
    )
    images = np.empty((len(order), 3, size, size), np.uint8)

    def read(place: int) -> Picture:
        try:
            return _decode(content[place], size)
        except Exception as error:  # as many kinds as a damaged file makes
            raise UserError(
                f"{path}: image {place}: expected a PNG of {size}x{size} ({fault(error)})"
            ) from error

    label = f"Decoding {path.name}"
    with (
        Progress(label, len(order), "images") as progress,
        strict(),
        ThreadPoolExecutor() as pool,
    ):
        for row, picture in enumerate(pool.map(read, order)):
            images[row] = picture
            progress.advance()
    return torch.from_numpy(images)


def _decode(png: Any, size: int) -> Picture:
    """Channels in the order that the PNG has them in, as learn2learn takes them."""
    content = png.encode("latin1") if isinstance(png, str) else bytes(png)  # str: of Python 2
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.size != (size, size):  # before it is decoded: no bomb
            raise ValueError(f"it has {image.width}x{image.height} pixels")
        return np.asarray(image.convert("RGB"), np.uint8).transpose(2, 0, 1)
