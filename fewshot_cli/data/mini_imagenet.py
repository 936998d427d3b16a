"""mini-ImageNet (Vinyals et al. 2016), in the split of Ravi & Larochelle (2017)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.images import pickles
from fewshot_cli.data.images.decoding import images_of, root_of, tasks_of
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.pickles import expect
from fewshot_cli.data.images.tree import scan
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig

HOLDS = (
    "data.root=DIR with mini-imagenet-cache-train.pkl, -validation.pkl and -test.pkl "
    "(https://zenodo.org/records/7978538), or with images/, train.csv, val.csv and test.csv "
    "(github.com/twitter-research/meta-learning-lstm)"
)
SPLITS = ("train", "valid", "test")
# learn2learn and the authors of tiered-ImageNet call the second file differently.
PICKLES = {"train": ["train"], "valid": ["validation", "val"], "test": ["test"]}
TABLES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Read the pickles, or decode the image files once.

    Raises:
        UserError: a file is missing, damaged, or not mini-ImageNet.
    """
    root = root_of(config, "mini-imagenet", HOLDS)
    if (root / "images").is_dir():
        return _from_files(root, config, cache_dir, device)
    tables, classes = dict[str, Tensor](), dict[str, list[str]]()
    for split in SPLITS:
        tables[split], classes[split] = _from_pickle(root, split, config)
    return ImageTasks(tables, device, names=classes)


def _from_pickle(root: Path, split: str, config: DataConfig) -> tuple[Tensor, list[str]]:
    """`[classes, samples, 3, size, size]` from `image_data` and the indices in `class_dict`.

    And the names of the classes.
    """
    paths = [root / f"mini-imagenet-cache-{name}.pkl" for name in PICKLES[split]]
    path = next((path for path in paths if path.is_file()), paths[0])
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected {HOLDS}")
    content, size, samples = pickles.load(path), config.image_size, config.samples
    assert size is not None
    assert samples is not None
    expect(isinstance(content, dict), path, "a dict of image_data and class_dict")
    images, classes = content.get("image_data"), content.get("class_dict")
    expect(
        isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and images.shape[1:] == (size, size, 3),
        path,
        f"image_data, uint8 of the shape [N, {size}, {size}, 3]",
    )
    expect(isinstance(classes, dict), path, "class_dict, a dict of the indices of each class")
    of_class = {str(name): np.asarray(indices).ravel() for name, indices in classes.items()}
    for name, indices in of_class.items():
        expect(
            indices.dtype.kind in "iu" and bool(((indices >= 0) & (indices < len(images))).all()),
            path,
            f"indices below {len(images)} for class {name}",
        )
    _check(path, {name: len(indices) for name, indices in of_class.items()}, split, config)
    table = np.empty((len(of_class), samples, 3, size, size), np.uint8)
    for place, indices in enumerate(of_class.values()):
        table[place] = images[indices[:samples]].transpose(0, 3, 1, 2)
    return torch.from_numpy(table), list(of_class)


def _from_files(root: Path, config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """The same tables from the files that each split's CSV lists."""
    assert config.image_size is not None
    there = {path.name: path for path in scan(root).classes.get("images", [])}
    splits: dict[str, dict[str, list[Path]]] = {}
    for split, name in TABLES.items():
        splits[split] = _rows(root / name, there)
        counts = {label: len(files) for label, files in splits[split].items()}
        _check(root / name, counts, split, config)
    classes = {
        f"{split}/{name}": files[: config.samples]
        for split, of_class in splits.items()
        for name, files in of_class.items()
    }
    decoded = images_of(classes, cache_dir, config.name, config.image_size, config.colour)
    names = {split: [f"{split}/{name}" for name in splits[split]] for split in splits}
    if decoded.digests is not None:
        return tasks_of(decoded, names, device)
    images = decoded.by_class()
    return ImageTasks(
        {split: torch.stack([images[name] for name in names[split]]) for split in names},
        device,
        names={split: list(of_class) for split, of_class in splits.items()},
    )


def _rows(path: Path, there: Mapping[str, Path]) -> dict[str, list[Path]]:
    """The files of each class, in the order of the rows of a CSV."""
    classes: dict[str, list[Path]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            expect(
                {"filename", "label"} <= set(rows.fieldnames or ()),
                path,
                "a CSV with the columns filename,label",
            )
            for row in rows:
                name = row["filename"]
                expect(name in there, path, f"names of image files in images/, which has no {name}")
                classes.setdefault(row["label"], []).append(there[name])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {why}; expected {HOLDS}") from error
    return classes


def _check(path: Path, counts: Mapping[str, int], split: str, config: DataConfig) -> None:
    assert config.samples is not None
    wanted = getattr(config.classes, split)
    expect(len(counts) == wanted, path, f"{wanted} classes, and it has {len(counts)}")
    for name, count in counts.items():
        expect(
            count >= config.samples,
            path,
            f"{config.samples} images of each class, and {name} has {count}",
        )
