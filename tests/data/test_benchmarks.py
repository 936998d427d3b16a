"""mini-ImageNet, CIFAR-FS, FC100, tiered-ImageNet and CUB, from stand-ins in the real formats."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import stand_ins
import torch
from conftest import Command
from helpers import TINY, config

from fewshot_cli import data
from fewshot_cli.data import cifarfs, fc100
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.settings.errors import UserError

SPLITS = ("train", "valid", "test")


def load(name: str, root: Path, cache_dir: Path, *overrides: str) -> ImageTasks:
    chosen = config(f"data={name}", f"data.root='{root}'", *overrides).data
    source = data.load(chosen, str(cache_dir), torch.device("cpu"))
    assert isinstance(source, ImageTasks)
    return source


def pixel(source: ImageTasks, split: str) -> torch.Tensor:
    """The upper left pixel of every image, `[classes, samples, 3]`, or `[images, 3]`."""
    return source.images[split][..., 0, 0].int()


def test_mini_imagenet_s_pickles(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.mini_imagenet(tmp_path, size=84, samples=3)
    source = load("mini_imagenet", root, cache_dir, "data.samples=3", "eval.queries=2")
    for number, (split, classes) in enumerate(zip(SPLITS, (64, 16, 20), strict=True)):
        assert source.images[split].shape == (classes, 3, 3, 84, 84)
        assert pixel(source, split)[5, 2].tolist() == [5, 2, number]
        assert source.names[split][5] == "n00000005"


def test_mini_imagenet_s_files(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.mini_imagenet_files(tmp_path / "files", samples=3)
    small = ["data.samples=2", "data.image_size=16", "eval.queries=1"]
    source = load("mini_imagenet", root, cache_dir, *small)
    for number, (split, classes) in enumerate(zip(SPLITS, (64, 16, 20), strict=True)):
        assert source.images[split].shape == (classes, 2, 3, 16, 16)
        assert pixel(source, split)[5, 1].tolist() == [5, 1, number]
        assert source.names[split][5] == f"n{number}0000005"


@pytest.mark.parametrize(
    ("name", "sizes", "train", "test"),
    [("cifarfs", (64, 16, 20), cifarfs, cifarfs.TEST), ("fc100", (60, 20, 20), fc100, fc100.TEST)],
)
def test_cifar_100_is_split_by_its_class_or_superclass(
    tmp_path: Path,
    cache_dir: Path,
    name: str,
    sizes: tuple[int, ...],
    train: object,
    test: list[str],
) -> None:
    root = stand_ins.cifar100(tmp_path)
    source = load(name, root, cache_dir, "data.samples=12", "eval.queries=5")
    for split, classes in zip(SPLITS, sizes, strict=True):
        assert source.images[split].shape == (classes, 12, 3, 32, 32)
    meta = pickle.loads((root / "cifar-100-python" / "meta").read_bytes())
    labels = pixel(source, "test")[:, 0, 0].tolist()
    fine, coarse = meta["fine_label_names"], meta["coarse_label_names"]
    named = {fine[label] if name == "cifarfs" else coarse[label // 5] for label in labels}
    assert named == set(test)
    assert source.names["test"] == [fine[label] for label in labels]
    # Images of its train part, then those of its test part.
    assert pixel(source, "train")[0, :, 2].tolist() == [0] * 10 + [1] * 2


def test_tiered_imagenet_s_pngs(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.tiered_imagenet(tmp_path, size=16, samples=3)
    small = ["data.image_size=16", "eval.queries=2", "queries=1"]
    source = load("tiered_imagenet", root, cache_dir, *small)
    for number, (split, classes) in enumerate(zip(SPLITS, (351, 97, 160), strict=True)):
        assert list(source.sizes[split].values())[:4] == [4, 3, 3, 4]
        assert len(source.sizes[split]) == classes
        assert pixel(source, split)[4 + 3 + 1].tolist() == [2, 1, number]
        assert source.names[split][1] == ("word 1" if split == "test" else "1")


def test_cub_by_the_numbers_of_the_species(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.cub(tmp_path, samples=2)
    source = load("cub", root, cache_dir, "data.image_size=16", "eval.queries=1")
    first = {split: next(iter(source.sizes[split])) for split in SPLITS}
    assert first == {"train": "001.Species_1", "valid": "002.Species_2", "test": "004.Species_4"}
    assert [len(source.sizes[split]) for split in SPLITS] == [100, 50, 50]
    assert list(source.sizes["train"].values())[:3] == [2, 3, 2]
    assert pixel(source, "test")[0].tolist() == [4, 0, 7]


@pytest.mark.parametrize("name", stand_ins.MAKERS)
def test_without_a_root_it_says_what_to_put_where(cache_dir: Path, name: str) -> None:
    message = rf"data.root=null: data={name} is not downloaded; expected data.root=DIR .*https://"
    with pytest.raises(UserError, match=message):
        data.load(config(f"data={name}").data, str(cache_dir), torch.device("cpu"))


@pytest.mark.parametrize("name", stand_ins.MAKERS)
def test_an_empty_folder_is_named(tmp_path: Path, cache_dir: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}.*: .*expected data.root=DIR with"):
        load(name, tmp_path, cache_dir)


def edited(path: Path, **changes: object) -> None:
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(content | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_data": np.zeros((64, 9, 9, 3), np.uint8)}, r"image_data, uint8 of the shape"),
        ({"image_data": np.zeros((64, 84, 84, 3))}, r"image_data, uint8 of the shape"),
        ({"class_dict": {"n1": [0]}}, r"64 classes, and it has 1"),
        ({"class_dict": [1]}, r"class_dict, a dict of the indices of each class"),
        ({"class_dict": {"n1": [-1]}}, r"indices below 64 for class n1"),
        ({"class_dict": {str(n): [n] for n in range(64)}}, r"2 images of each class, and 0 has 1"),
    ],
)
def test_other_pickles_are_refused(
    tmp_path: Path, cache_dir: Path, changes: dict[str, object], message: str
) -> None:
    root = stand_ins.mini_imagenet(tmp_path, samples=1)
    edited(root / "mini-imagenet-cache-train.pkl", **changes)
    with pytest.raises(UserError, match=rf"train.pkl: expected {message}"):
        load("mini_imagenet", root, cache_dir, "data.samples=2", "eval.queries=1")


def test_a_missing_part_is_named(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.cifar100(tmp_path)
    (root / "cifar-100-python" / "test").unlink()
    with pytest.raises(UserError, match=r"cifar-100-python/test: no such file"):
        load("cifarfs", root, cache_dir)
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"no such folder; expected data.root=DIR with the folder"):
        load("cifarfs", root, cache_dir)


def test_a_broken_png_is_named(tmp_path: Path, cache_dir: Path) -> None:
    root = stand_ins.tiered_imagenet(tmp_path, size=16, samples=2) / "tiered-imagenet"
    images = pickle.loads((root / "val_images_png.pkl").read_bytes())
    images[7] = images[7][:30]
    (root / "val_images_png.pkl").write_bytes(pickle.dumps(images))
    message = r"val_images_png.pkl: image 7: expected a PNG of 16x16"
    with pytest.raises(UserError, match=message):
        load("tiered_imagenet", root, cache_dir, "data.image_size=16", "eval.queries=1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment",
    [
        "mini_imagenet_5w1s_maml_budget",
        "mini_imagenet_5w5s_fomaml_budget",
        "mini_imagenet_5w1s_reptile_transductive_budget",
    ],
)
def test_an_experiment_runs_on_the_user_s_files(
    tmp_path: Path, fewshot: Command, experiment: str
) -> None:
    stand_ins.mini_imagenet(tmp_path / "DIR", size=16, samples=30)
    small = [word for word in TINY if not word.startswith("ways")]
    done = fewshot(
        *("reproduce", experiment, "data.root=DIR", "data.samples=30", "data.image_size=16"),
        *small,
    )
    assert done.returncode == 0, done.stderr
    (summary,) = tmp_path.glob("outputs/runs/*/summary.json")
    assert json.loads(summary.read_text())["data"] == "mini_imagenet"
