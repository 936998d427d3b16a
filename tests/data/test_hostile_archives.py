"""Archives made to harm: each costs one line, and nothing appears outside the cache."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import LITTLE, config, little_omniglot, picture
from PIL import Image

from fewshot_cli.data import omniglot
from fewshot_cli.settings.errors import UserError

INSIDE = "images_evaluation/e1/character01/0001.png"


def load(root: Path, cache: Path) -> None:
    chosen = config("data=omniglot", f"data.root={root}", *LITTLE, "ways=3", "model=mlp")
    omniglot.load(chosen.data, str(cache), torch.device("cpu"))


def image(mode: str, size: int = 105, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (size, size)).save(file, form)
    return file.getvalue()


CONTENTS = {
    "bomb of pixels": (image("1", 4_000), "4000x4000 pixels are no drawing"),
    "bomb of bytes": (bytes(50 * 2**20), "the largest of 52428800 bytes"),
    "16 bits": (image("I;16"), "16 bits a pixel"),
    "CMYK": (image("CMYK", form="JPEG"), "expected a PNG image"),
    "cut": (picture(1)[:80], "expected a PNG image"),
    "empty": (b"", "expected a PNG image"),
    "html": (b"<html>not found</html>", "expected a PNG image"),
}


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_hostile_picture_is_named(tmp_path: Path, case: str, unpacked: bool) -> None:
    content, message = CONTENTS[case]
    root = little_omniglot(tmp_path / "root")
    archive = root / "images_evaluation.zip"
    if unpacked:
        with zipfile.ZipFile(archive) as file:
            file.extractall(root)
        (root / INSIDE).write_bytes(content)
    else:
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(INSIDE.replace("0001", "0099"), content)
    with pytest.raises(UserError, match=message) as error:
        load(root, tmp_path / "cache")
    assert "images_evaluation" in str(error.value)
    assert not list((tmp_path / "cache").glob("*.npz"))


@pytest.mark.parametrize("name", ["../../slipped.png", "/tmp/../slipped.png", "..\\slipped.png"])
def test_names_that_climb_out_of_an_archive_write_nothing(tmp_path: Path, name: str) -> None:
    root = little_omniglot(tmp_path / "a" / "b" / "root")
    with zipfile.ZipFile(root / "images_evaluation.zip", "a") as file:
        file.writestr(name, picture(1))
    with pytest.raises(UserError, match=r"has 1 drawings, expected 20"):
        load(root, tmp_path / "cache")
    assert not list(tmp_path.rglob("slipped*"))


@pytest.mark.parametrize("kind", ["link out", "device", "pipe"])
def test_a_folder_s_links_and_devices_are_not_read(tmp_path: Path, kind: str) -> None:
    root = little_omniglot(tmp_path / "root")
    with zipfile.ZipFile(root / "images_evaluation.zip") as file:
        file.extractall(root)
    (root / INSIDE).unlink()
    if kind == "pipe":
        os.mkfifo(root / INSIDE)
    else:
        (tmp_path / "secret").write_bytes(picture(1))
        target = tmp_path / "secret" if kind == "link out" else Path("/dev/zero")
        (root / INSIDE).symlink_to(target)
    with pytest.raises(UserError, match=r"0001.png: expected a file inside"):
        load(root, tmp_path / "cache")


def test_damaged_archives_are_named_or_read_as_they_were(tmp_path: Path) -> None:
    root, rng = little_omniglot(tmp_path / "root", characters=3), random.Random(1)
    archive = root / "images_evaluation.zip"
    whole = archive.read_bytes()
    said = list[str]()
    for number in range(30):
        data = bytearray(whole)
        if number % 2:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(20):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        archive.write_bytes(data)
        try:
            load(root, tmp_path / "cache")
        except UserError as error:
            said.append(str(error))
    assert len(said) >= 15
    assert all("images_evaluation" in line or "data.classes" in line for line in said)
