from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from fewshot_cli.inference.images import Form, query_set, support_set
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig

GREY, COLOUR = Form((1, 8, 8), invert=True), Form((3, 8, 8), invert=False)


def paint(path: Path, colour: tuple[int, int, int] | int = 0, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", (size, size), colour).save(path)
    return path


def test_a_folder_is_a_class_whatever_its_name_and_number_of_images(tmp_path: Path) -> None:
    paint(tmp_path / "été 1" / "a b.png", (255, 0, 0))
    paint(tmp_path / "été 1" / "ü.png", (250, 0, 0), size=30)
    paint(tmp_path / "zwei" / "deep" / "c.jpg", (0, 0, 255))
    classes, images, labels = support_set(tmp_path, COLOUR)
    assert classes == ["zwei/deep", "été 1"]
    assert labels.tolist() == [0, 1, 1]
    assert images[:, :, 4, 4].tolist() == [[0, 0, 254], [255, 0, 0], [250, 0, 0]]


def test_ink_is_one_where_the_run_had_it_so(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "black.png", 0)
    paint(tmp_path / "b" / "white.png", 255)
    _, images, _ = support_set(tmp_path, GREY)
    assert images.shape == (2, 1, 8, 8)
    assert images[:, 0, 0, 0].tolist() == [255, 0]


def test_a_sheet_shows_images_as_they_are_in_the_files(tmp_path: Path) -> None:
    paint(tmp_path / "black.png", 0)
    judge = Judge(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.zeros(2, 1, 8, 8), True)
    model = Model(judge, ModelConfig(), ["a", "b"], GREY, True, torch.device("cpu"))
    assert int(model.predict(tmp_path).images.max()) == 0


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    files, images, _ = query_set(tmp_path, COLOUR)
    assert files == ["moving.gif"]
    assert images[0, :, 0, 0].tolist() == [255, 0, 0]


def test_queries_lie_loose_or_in_folders_or_are_one_file(tmp_path: Path) -> None:
    one = paint(tmp_path / "b.png")
    paint(tmp_path / "class" / "a.png")
    files, images, left_out = query_set(tmp_path, GREY)
    assert (files, len(images), left_out) == (["b.png", "class/a.png"], 2, {})
    assert query_set(one, GREY)[0] == ["b.png"]


def test_a_broken_query_is_left_out_and_named(tmp_path: Path) -> None:
    paint(tmp_path / "good.png", 7)
    (tmp_path / "broken.png").write_bytes(b"no image")
    files, images, left_out = query_set(tmp_path, COLOUR)
    assert files == ["good.png"]
    assert torch.equal(images, torch.full((1, 3, 8, 8), 7, dtype=torch.uint8))
    assert list(left_out) == ["broken.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images; expected a folder for each class"),
        (["a.png"], r"a.png: is in no class; expected .*/CLASS/a.png"),
        (["one/a.png", "one/b.png"], "has 1 folder with images; expected one for each of 2"),
        (["one/a.png", "two/broken.png"], r"two/broken.png: expected an image \(not an image"),
        (["one/readme.txt"], "holds no images"),
    ],
)
def test_a_support_folder_that_cannot_be_used(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        if name.endswith("png") and "broken" not in name:
            paint(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("no image")
    with pytest.raises(UserError, match=message):
        support_set(tmp_path, GREY)


def test_a_query_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images; expected images"):
        query_set(tmp_path, GREY)
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"broken.png: expected an image"):
        query_set(tmp_path, GREY)
    with pytest.raises(UserError, match="nowhere"):
        query_set(tmp_path / "nowhere", GREY)
