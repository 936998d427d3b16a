from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import LITTLE, config, little_omniglot, names, picture
from PIL import Image

from fewshot_cli.data import omniglot as loader
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config

CPU = torch.device("cpu")


def load(root: Path, cache: Path, *overrides: str) -> ImageTasks:
    chosen: Config = config("data=omniglot", *LITTLE, *overrides, "ways=3")
    chosen.data.root = str(root)
    return loader.load(chosen.data, str(cache), CPU)


def unpack(root: Path, into: Path) -> Path:
    for part in loader.PARTS:
        zipfile.ZipFile(root / f"{part}.zip").extractall(into)
    return into


def test_zips_and_unpacked_folders_give_the_same_images(tmp_path: Path) -> None:
    zips = load(little_omniglot(tmp_path / "zips"), tmp_path / "cache")
    folders = load(unpack(tmp_path / "zips", tmp_path / "folders"), tmp_path / "cache")
    for split, images in zips.images.items():
        assert torch.equal(images, folders.images[split])


def test_pixels_are_pillow_s_with_ink_as_one(tmp_path: Path) -> None:
    root = little_omniglot(tmp_path)
    tables = load(root, tmp_path / "cache").images
    drawings = torch.cat([tables[split] for split in ("valid", "test")]).flatten(0, 1)[:, 0]
    image = Image.open(io.BytesIO(picture(1))).convert("L").resize((28, 28), Image.LANCZOS)
    first = torch.from_numpy(255 - np.asarray(image))
    everything = torch.cat([drawings, tables["train"].flatten(0, 1)[:, 0]])
    assert (everything == first).all(-1).all(-1).any()


def test_splits_share_no_character_and_the_seed_decides(tmp_path: Path) -> None:
    root = little_omniglot(tmp_path)
    one = load(root, tmp_path / "cache", "data.rotations=none").images
    seen = {
        split: {image.numpy().tobytes() for image in table.flatten(0, 1)}
        for split, table in one.items()
    }
    assert not seen["train"] & seen["valid"]
    assert not seen["train"] & seen["test"]
    assert not seen["valid"] & seen["test"]
    assert {split: len(table) for split, table in one.items()} == {
        **{"train": 6, "valid": 5, "test": 5}
    }
    again = load(root, tmp_path / "cache", "data.rotations=none").images
    other = load(root, tmp_path / "cache", "data.rotations=none", "data.split_seed=1").images
    assert torch.equal(one["test"], again["test"])
    assert not torch.equal(one["test"], other["test"])


@pytest.mark.parametrize(
    ("rotations", "sizes"),
    [("none", (6, 5, 5)), ("train", (24, 5, 5)), ("all", (24, 20, 20))],
)
def test_rotations_multiply_the_classes_of_the_splits_named(
    tmp_path: Path, rotations: str, sizes: tuple[int, int, int]
) -> None:
    images = load(little_omniglot(tmp_path), tmp_path / "c", f"data.rotations={rotations}").images
    assert tuple(len(images[split]) for split in ("train", "valid", "test")) == sizes


def test_classes_are_named_by_alphabet_and_character(tmp_path: Path) -> None:
    source = load(little_omniglot(tmp_path), tmp_path / "cache")  # train is turned
    turned = source.names["train"]
    assert len(set(turned)) == len(turned) == 24
    assert turned[6:12] == [f"{name} 90°" for name in turned[:6]]
    order = [
        f"{part}{alphabet}/character0{n}" for part in "be" for alphabet in "12" for n in "1234"
    ]
    for split in ("train", "test"):
        for name, drawings in zip(source.names[split], source.images[split], strict=True):
            plain, _, degrees = name.removesuffix("°").partition(" ")
            image = Image.open(io.BytesIO(picture(1 + 20 * order.index(plain)))).convert("L")
            pixels = np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))
            expected = np.rot90(255 - pixels, int(degrees or 0) // 90)
            assert np.array_equal(drawings[0, 0].numpy(), expected), name


def test_alphabets_split_tests_on_the_evaluation_alphabets(tmp_path: Path) -> None:
    root = little_omniglot(tmp_path)
    overrides = [
        *("data.split=alphabets", "data.rotations=none"),
        *("data.classes.train=3", "data.classes.valid=5", "data.classes.test=8"),
    ]
    images = load(root, tmp_path / "cache", *overrides).images
    shutil.copy(root / "images_evaluation.zip", tmp_path / "only.zip")
    with zipfile.ZipFile(tmp_path / "only.zip") as archive:
        expected = {
            loader._decode(name, archive.read(name), 28).tobytes() for name in archive.namelist()
        }
    assert {image.numpy().tobytes() for image in images["test"].flatten(0, 1)} == expected


def test_fewer_samples_are_the_first_drawings(tmp_path: Path) -> None:
    root = little_omniglot(tmp_path)
    every = load(root, tmp_path / "cache").images["test"]
    some = load(root, tmp_path / "cache", "data.samples=17").images["test"]
    assert torch.equal(some, every[:, :17])
    with pytest.raises(UserError, match=r"data.samples=21: Omniglot has 20 drawings"):
        load(root, tmp_path / "cache", "data.samples=21")


def break_zip(root: Path) -> None:
    path = root / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-200])


def break_png(root: Path) -> None:
    with zipfile.ZipFile(root / "images_evaluation.zip", "a") as archive:
        archive.writestr("images_evaluation/e1/character01/0099.png", picture(1)[:60])


def damage_the_data(root: Path) -> None:
    """Flip bytes inside the compressed pictures: the directory at the end stays whole."""
    path = root / "images_evaluation.zip"
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    data = bytearray(path.read_bytes())
    for place in range(200, 20_000, 97):
        data[place] ^= 0xFF
    path.write_bytes(data)


def one_drawing_too_many(root: Path) -> None:
    with zipfile.ZipFile(root / "images_evaluation.zip", "a") as archive:
        archive.writestr("images_evaluation/e1/character01/0099.png", picture(1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_zip, "images_evaluation.zip: expected a whole zip archive"),
        (damage_the_data, "images_evaluation.zip: expected a whole zip archive"),
        (break_png, "character01/0099.png: expected a PNG image"),
        (one_drawing_too_many, "character01: has 21 drawings, expected 20"),
        (lambda root: (root / "images_evaluation.zip").unlink(), "expected images_evaluation.zip"),
        (lambda root: shutil.rmtree(root), "expected images_background.zip"),
    ],
)
def test_what_is_wrong_with_the_files_is_named(
    tmp_path: Path, damage: object, message: str
) -> None:
    root = little_omniglot(tmp_path / "root")
    assert callable(damage)
    damage(root)
    with pytest.raises(UserError, match=message):
        load(root, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npz"))


def test_characters_that_do_not_fit_the_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.classes=6\+5\+50: do not fit the 16 characters"):
        load(little_omniglot(tmp_path), tmp_path / "cache", "data.classes.test=50")


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Omniglot

    # A port of this machine that nobody listens on.
    monkeypatch.setattr(Omniglot, "download_url_prefix", "http://127.0.0.1:9/omniglot")
    chosen = config("data=omniglot").data
    with pytest.raises(UserError, match=r"cannot download .* by hand and name it with data.root"):
        loader.load(chosen, str(tmp_path), CPU)
    assert os.listdir(tmp_path / "omniglot") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names("data") if name.startswith("omniglot")])
def test_the_real_images_fit_every_shipped_config(
    omniglot: Path, cache_dir: Path, name: str
) -> None:
    chosen = config(f"data={name}", f"data.root={omniglot}").data
    assert chosen.classes is not None
    images = loader.load(chosen, str(cache_dir), CPU).images
    turned = {"train": 4 * chosen.classes.train}
    for split, table in images.items():
        assert len(table) == turned.get(split, getattr(chosen.classes, split))
        assert table.shape[1:] == (20, 1, 28, 28)
        assert 0.02 < table.float().mean() / 255 < 0.3
