"""CIFAR-100 (Krizhevsky 2009), of which CIFAR-FS and FC100 are two splits by class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fewshot_cli.data.images import pickles
from fewshot_cli.data.images.decoding import root_of
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.pickles import Array, expect
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig

HOLDS = (
    "data.root=DIR with the folder cifar-100-python, unpacked from cifar-100-python.tar.gz "
    "(https://www.cs.toronto.edu/~kriz/cifar.html)"
)


def tasks(
    config: DataConfig, device: torch.device, split_of: Callable[[str, str], str]
) -> ImageTasks:
    """All images of a class, those of CIFAR-100's train part and then those of its test part.

    Args:
        split_of: the split of a class, from its name and that of its superclass.

    Raises:
        UserError: a file is missing, damaged, or not CIFAR-100.
    """
    assert config.samples is not None
    root = root_of(config, "cifar-100-python", HOLDS)
    if not (root / "meta").is_file():
        raise UserError(f"{root / 'meta'}: no such file; expected {HOLDS}")
    names, superclasses = _meta(root / "meta")
    pixels, fine, coarse = (
        np.concatenate(parts)
        for parts in zip(*(_part(root / part, config) for part in ("train", "test")), strict=True)
    )
    tables: dict[str, list[Array]] = {"train": [], "valid": [], "test": []}
    called: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for label, name in enumerate(names):
        places = np.flatnonzero(fine == label)[: config.samples]
        expect(
            len(places) == config.samples,
            root,
            f"{config.samples} images of each class, and {name} has {len(places)}",
        )
        expect(int(coarse[places[0]]) < len(superclasses), root, "a superclass of each image")
        split = split_of(name, superclasses[int(coarse[places[0]])])
        tables[split].append(pixels[places])
        called[split].append(str(name))
    for split, table in tables.items():
        wanted = getattr(config.classes, split)
        expect(len(table) == wanted, root, f"{wanted} {split} classes, and it has {len(table)}")
    return ImageTasks(
        {split: torch.from_numpy(np.stack(table)) for split, table in tables.items()},
        device,
        names=called,
    )


def _meta(path: Path) -> tuple[list[str], list[str]]:
    """The names of the classes and of the superclasses, by label."""
    content = pickles.load(path)
    expect(isinstance(content, dict), path, "a dict of names")
    names = [content.get(f"{kind}_label_names") for kind in ("fine", "coarse")]
    for given, wanted in zip(names, (100, 20), strict=True):
        expect(
            isinstance(given, list) and len(set(map(str, given))) == wanted,
            path,
            "100 fine_label_names and 20 coarse_label_names",
        )
    return names[0], names[1]


def _part(path: Path, config: DataConfig) -> tuple[Array, Array, Array]:
    """Pixels uint8 `[images, 3, size, size]`, and the labels of the classes and superclasses."""
    content, size = pickles.load(path), config.image_size
    assert size is not None
    expect(isinstance(content, dict), path, "a dict of data, fine_labels and coarse_labels")
    data = content.get("data")
    expect(
        isinstance(data, np.ndarray)
        and data.dtype == np.uint8
        and data.shape[1:] == (3 * size * size,),
        path,
        f"data, uint8 with 3 x {size} x {size} pixels a row",
    )
    labels = [np.asarray(content.get(f"{kind}_labels")) for kind in ("fine", "coarse")]
    for given in labels:
        expect(
            given.dtype.kind in "iu" and given.shape == (len(data),) and bool((given >= 0).all()),
            path,
            f"{len(data)} fine_labels and as many coarse_labels",
        )
    return data.reshape(-1, 3, size, size), labels[0], labels[1]
