from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fewshot_cli.inference.images import BATCH, Form, batches, joined, query_files, support_set
from fewshot_cli.settings.errors import UserError

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


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    files, images, _ = COLOUR.read(query_files(tmp_path))
    assert files == [tmp_path / "moving.gif"]
    assert images[0, :, 0, 0].tolist() == [255, 0, 0]


def test_queries_lie_loose_or_in_folders_or_are_one_file(tmp_path: Path) -> None:
    one = paint(tmp_path / "b.png")
    other = paint(tmp_path / "class" / "a.png")
    assert query_files(tmp_path) == [one, other]
    assert query_files(one) == [one]


def test_batches_hold_every_file_once_in_its_order(tmp_path: Path) -> None:
    files = [tmp_path / f"{place:03}.png" for place in range(2 * BATCH + 3)]
    for place, file in enumerate(files):
        paint(file, place)
    files[5].write_bytes(b"no image")
    files[-1].write_bytes(b"no image")
    parts = list(batches(files, Form((1, 8, 8), invert=False), "Decoding"))
    assert [len(part.files) for part in parts] == [BATCH - 1, BATCH, 2]
    kept, images, faults = joined(parts)
    assert list(faults) == [files[5], files[-1]]
    assert sorted([*kept, *faults]) == files
    assert images[:, 0, 0, 0].tolist() == [int(file.stem) for file in kept]


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
        query_files(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        query_files(tmp_path / "nowhere")
