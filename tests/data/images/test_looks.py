from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from helpers import photographs
from PIL import Image

from fewshot_cli.data.images.looks import (
    BITS,
    NEAR,
    Look,
    across_classes,
    look_at,
    nearly_same,
    same,
    within_classes,
)
from fewshot_cli.data.images.tree import group, scan


def looks_of(root: Path) -> list[Look]:
    return look_at(scan(root).classes, root)


def names(sets: list[list[Look]]) -> list[list[str]]:
    return [[Path(look.name).name for look in alike] for alike in sets]


def test_copies_are_found_scaled_encoded_anew_and_turned_by_exif(tmp_path: Path) -> None:
    photographs(tmp_path / "from", across=2)
    file = next((tmp_path / "from").rglob("*.png"))
    image = Image.open(file)
    folder = tmp_path / "root" / "a"
    folder.mkdir(parents=True)
    image.save(folder / "1.png")
    image.save(folder / "2.jpg", quality=40)
    image.resize((image.width // 2, image.height // 2)).save(folder / "3.webp")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(folder / "4.jpg", exif=exif, quality=90)
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "5.png")
    found = nearly_same(looks_of(tmp_path / "root"))
    assert names(found) == [["1.png", "2.jpg", "3.webp", "4.jpg"]]


def test_other_fields_of_a_photograph_and_plain_surfaces_are_no_copies(tmp_path: Path) -> None:
    photographs(tmp_path / "photo", across=4)
    fields = looks_of(tmp_path / "photo")
    one_each = list({look.of_class: look for look in fields}.values())
    assert len(one_each) == 16
    assert nearly_same(one_each) == []
    for number in range(3):
        Image.new("RGB", (40, 40), (number, 90, 200)).save(tmp_path / f"{number}.png")
    plain = look_at({"plain": sorted(tmp_path.glob("*.png"))}, tmp_path)
    assert [look.hash for look in plain] == [None] * 3
    assert nearly_same(plain) == []


def look(name: str, digest: str, flipped: int = 0) -> Look:
    bits = np.arange(BITS) % 3 == 0
    bits[:flipped] ^= True
    return Look(Path(name), name, group(name), digest, (50, 50), "RGB", bits)


def test_the_threshold() -> None:
    assert nearly_same([look("a/1", "x"), look("a/2", "y", NEAR)])
    assert not nearly_same([look("a/1", "x"), look("a/2", "y", NEAR + 1)])


def test_a_set_may_be_within_and_across_classes() -> None:
    exact = same([look("a/1", "x"), look("a/2", "x"), look("b/1", "x"), look("b/2", "y")])
    assert names(within_classes(exact)) == [["1", "2"]]
    assert names(across_classes(exact)) == [["1", "2", "1"]]

    near = nearly_same([look("a/1", "x"), look("a/2", "y", 9), look("b/1", "z", 18)])
    assert names(within_classes(near)) == [["1", "2"]]
    assert names(across_classes(near)) == [["1", "2", "1"]]


def test_what_is_the_same_is_not_nearly_the_same() -> None:
    assert nearly_same([look("a/1", "x"), look("a/2", "x"), look("b/1", "x")]) == []
    near = nearly_same([look("a/1", "x"), look("a/2", "x"), look("b/1", "x"), look("b/2", "y", 1)])
    assert names(near) == [["1", "1", "2"]]
    assert names(within_classes(near)) == [["1", "2"]]  # of class b


@pytest.mark.slow
def test_ten_thousand_images_take_seconds() -> None:
    draw = np.random.default_rng(0)
    looks = [
        Look(Path(), f"a/{number}", "a", str(number), (50, 50), "RGB", draw.random(BITS) < 0.5)
        for number in range(10_000)
    ]
    looks.append(Look(Path(), "b/0", "b", "b", (50, 50), "RGB", looks[7].hash))
    start = time.monotonic()
    assert [[each.name for each in alike] for alike in nearly_same(looks)] == [["a/7", "b/0"]]
    assert time.monotonic() - start < 20
