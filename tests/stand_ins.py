"""Small stand-ins for the benchmarks of natural images, in the format of the real files.

The numbers of classes are the official ones. Each image has one colour: the class, the place in
the class, and a number for the split or part.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fewshot_cli.data import cifarfs

MINI = {"train": 64, "validation": 16, "test": 20}
TIERED = {"train": 351, "val": 97, "test": 160}
SUPERCLASSES = [
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
    *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
    *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
    *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
    *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
]


def pickled(path: Path, content: object, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


def colour(*values: int) -> tuple[int, int, int]:
    red, green, blue = (value % 256 for value in values)
    return red, green, blue


def mini_imagenet(root: Path, size: int = 84, samples: int = 12) -> Path:
    """The three pickles that learn2learn reads, the classes mixed as they may be."""
    for number, (name, classes) in enumerate(MINI.items()):
        places = {
            f"n{label:08}": list(range(label, classes * samples, classes))
            for label in range(classes)
        }
        images = np.empty((classes * samples, size, size, 3), np.uint8)
        for label, indices in enumerate(places.values()):
            for place, index in enumerate(indices):
                images[index] = colour(label, place, number)
        content = {"image_data": images, "class_dict": places}
        pickled(root / f"mini-imagenet-cache-{name}.pkl", content)
    return root


def mini_imagenet_files(root: Path, size: int = 20, samples: int = 2) -> Path:
    """The folder of images and the lists of Ravi & Larochelle."""
    (root / "images").mkdir(parents=True)
    for number, (name, classes) in enumerate(MINI.items()):
        rows = ["filename,label"]
        for label in range(classes):
            for place in range(samples):
                file = f"n{number}{label:07}{place:08}.png"
                image = Image.new("RGB", (size, size), colour(label, place, number))
                image.save(root / "images" / file)
                rows.append(f"{file},n{number}{label:07}")
        table = {"validation": "val"}.get(name, name)
        (root / f"{table}.csv").write_text("\n".join(rows) + "\n")
    return root


def cifar100(root: Path, samples: int = 12) -> Path:
    """cifar-100-python, five sixths of the images in its train part; class n is of superclass n//5.

    The names of the classes that train in both benchmarks are made up.
    """
    special = [*cifarfs.VALID, *cifarfs.TEST]
    fine = [*special, *(f"class {number}" for number in range(100 - len(special)))]
    folder = root / "cifar-100-python"
    pickled(folder / "meta", {"fine_label_names": fine, "coarse_label_names": SUPERCLASSES}, 2)
    in_test = samples // 6
    for number, (part, count) in enumerate({"train": samples - in_test, "test": in_test}.items()):
        labels = [label for _ in range(count) for label in range(100)]
        rows = [
            np.repeat(np.array(colour(label, index // 100, number), np.uint8), 32 * 32)
            for index, label in enumerate(labels)
        ]
        content = {
            "data": np.stack(rows),
            "fine_labels": labels,
            "coarse_labels": [label // 5 for label in labels],
        }
        pickled(folder / part, content, 2)
    return root


def png(values: tuple[int, int, int], size: int) -> np.ndarray[Any, Any]:
    """As cv2.imencode gives it: the bytes of the file in a column."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), values).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)[:, None]


def tiered_imagenet(root: Path, size: int = 84, samples: int = 11) -> Path:
    """Lists of PNGs, the classes mixed; every third class has an image more."""
    for number, (name, classes) in enumerate(TIERED.items()):
        labels = [label for _ in range(samples) for label in range(classes)]
        labels += range(0, classes, 3)
        seen = [0] * classes
        images = []
        for label in labels:
            images.append(png(colour(label, seen[label], number + label // 256 * 4), size))
            seen[label] += 1
        pickled(root / "tiered-imagenet" / f"{name}_images_png.pkl", images, 2)
        content: dict[str, Any] = {"label_specific": np.array(labels)}
        content["label_general"] = content["label_specific"] // 20
        if name == "test":  # the authors' files have words, others may not
            content["label_specific_str"] = [f"word {label}" for label in range(classes)]
        pickled(root / "tiered-imagenet" / f"{name}_labels.pkl", content, 2)
    return root


def cub(root: Path, samples: int = 11) -> Path:
    """A folder for each species; every third one has an image more."""
    for number in range(1, 201):
        folder = root / "CUB_200_2011" / "images" / f"{number:03}.Species_{number}"
        folder.mkdir(parents=True)
        for place in range(samples + (number % 3 == 0)):
            image = Image.new("RGB", (20, 16), colour(number, place * 9, 7))
            image.save(folder / f"Species_{number}_{place:04}.png")
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "mini_imagenet": lambda root: mini_imagenet(root, size=16),
    "cifarfs": cifar100,
    "fc100": cifar100,
    "tiered_imagenet": lambda root: tiered_imagenet(root, size=16),
    "cub": cub,
}


def little(data: str, root: Path) -> list[str]:
    """The overrides that choose a benchmark with a stand-in at `root`, made if it is not there."""
    if not root.exists():
        MAKERS[data](root)
    chosen = [f"data={data}", f"data.root='{root}'"]
    if data in ("cifarfs", "fc100"):
        return [*chosen, "data.samples=12"]
    return [*chosen, "data.image_size=16", *(["data.samples=12"] if "mini" in data else [])]
