from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import config, little_folder
from PIL import Image

from fewshot_cli.data import folder as loader
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.tree import decode, scan, strict
from fewshot_cli.settings.checks import check_counted
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour

CPU = torch.device("cpu")
THIRDS = [f"data.fractions.{split}={1 / 3}" for split in loader.SPLITS]


def load(root: Path, cache: Path, *overrides: str) -> ImageTasks:
    chosen = config("data=folder", "data.image_size=16", *THIRDS, *overrides)
    chosen.data.root = str(root)
    return loader.load(chosen.data, str(cache), CPU)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def test_each_class_has_its_own_images_and_number_of_them(tmp_path: Path) -> None:
    source = load(little_folder(tmp_path / "root"), tmp_path / "cache")
    assert source.input_shape == (3, 16, 16)
    sizes = {name: count for split in source.sizes.values() for name, count in split.items()}
    assert sizes == {f"gruppe {n % 3}/klasse ä{n}": 17 + n % 3 for n in range(9)}
    for split, classes in source.sizes.items():
        images = source.images[split].split(list(classes.values()))
        for name, of_class in zip(classes, images, strict=True):
            # The picture of `little_folder` says which class and file it is.
            assert (of_class[:, 0] == int(name[-1]) * 25).all()
            assert of_class[:, 1, 0, 0].tolist() == [place * 10 for place in range(len(of_class))]


def test_the_seed_draws_the_classes_and_no_class_is_in_two_splits(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    one, again = load(root, cache).sizes, load(root, cache).sizes
    other = load(root, cache, "data.split_seed=1").sizes
    assert one == again
    assert one != other
    assert [len(classes) for classes in one.values()] == [3, 3, 3]
    assert len({name for classes in one.values() for name in classes}) == 9
    assert len(list(cache.glob("*.npz"))) == 1


def test_groups_stay_whole(tmp_path: Path) -> None:
    sizes = load(little_folder(tmp_path / "root"), tmp_path / "cache", "data.split=groups").sizes
    groups = [{name.split("/")[0] for name in classes} for classes in sizes.values()]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    assert all(len(classes) == 3 for classes in sizes.values())


def names_of(source: ImageTasks) -> dict[str, list[str]]:
    return {split: list(classes) for split, classes in source.sizes.items()}


@pytest.mark.parametrize(
    ("shares", "least", "lengths"),
    [
        ([], None, [6, 1, 2]),  # as early releases split 9 classes
        ([], 2, [5, 2, 2]),
        ([], 3, [3, 3, 3]),
        ([], 4, [5, 5, 4]),  # meta-validation draws from meta-train
        ([], 5, [6, 1, 2]),  # too few, which `check_counted` refuses
        (THIRDS, 3, [3, 3, 3]),
    ],
)
def test_the_splits_fit_the_ways_of_the_run(
    tmp_path: Path, shares: list[str], least: int | None, lengths: list[int]
) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    chosen = config("data=folder", "data.image_size=8", *shares)
    chosen.data.root = str(root)
    plain = names_of(loader.load(chosen.data, str(cache), CPU))
    chosen.data.least = least
    found = names_of(loader.load(chosen.data, str(cache), CPU))
    assert [len(names) for names in found.values()] == lengths
    shared = found["train"] == found["valid"]
    assert shared is (lengths == [5, 5, 4])
    everything = {*found["train"], *found["valid"], *found["test"]}
    assert len(everything) == 9
    # The order by lot is the same: one test begins where the other does, from its end.
    small, large = sorted((plain["test"], found["test"]), key=len)
    assert {*small} <= {*large}


def test_classes_that_are_too_small_do_not_count_for_the_splits(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    chosen = config("data=folder", "data.image_size=8", "data.min_images=18")  # leaves 6 classes
    chosen.data.root, chosen.data.least = str(root), 2
    sizes = loader.load(chosen.data, str(cache), CPU).sizes
    assert [len(classes) for classes in sizes.values()] == [2, 2, 2]
    assert {count for classes in sizes.values() for count in classes.values()} == {18, 19}


def test_all_classes_may_be_for_the_test(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    found = names_of(load(root, cache, "data.split=test"))
    assert (found["train"], found["valid"], len(found["test"])) == ([], [], 9)

    chosen = config("data=folder", "data.image_size=16", "data.split=test", "data.min_images=18")
    chosen.data.root, chosen.data.left_out = str(root), ["gruppe 1/klasse ä4", "not there"]
    fewer = names_of(loader.load(chosen.data, str(cache), CPU))["test"]
    assert fewer == [name for name in found["test"] if name[-1] in "12578"]


def split_file(folder: Path, *rows: str) -> str:
    path = folder / "split.csv"
    path.write_text("\n".join(["class,split", *rows]), encoding="utf-8")
    return f"data.split_file={path}"


def test_a_csv_says_which_class_is_where(tmp_path: Path) -> None:
    rows = [f"gruppe {n % 3}/klasse ä{n},{loader.SPLITS[n % 3]}" for n in (4, 1, 2, 3)]
    source = load(little_folder(tmp_path / "root"), tmp_path / "cache", split_file(tmp_path, *rows))
    assert {split: list(classes) for split, classes in source.sizes.items()} == {
        "train": ["gruppe 0/klasse ä3"],
        "valid": ["gruppe 1/klasse ä4", "gruppe 1/klasse ä1"],
        "test": ["gruppe 2/klasse ä2"],
    }


def test_a_csv_without_validation_or_training(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    rows = ["gruppe 0/klasse ä3,train", "gruppe 1/klasse ä4,test"]
    found = names_of(load(root, cache, split_file(tmp_path, *rows)))
    assert found == {
        "train": ["gruppe 0/klasse ä3"],
        "valid": ["gruppe 0/klasse ä3"],
        "test": ["gruppe 1/klasse ä4"],
    }
    found = names_of(load(root, cache, split_file(tmp_path, rows[1])))
    assert found == {"train": [], "valid": [], "test": ["gruppe 1/klasse ä4"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["gruppe 0/klasse ä1,train"],
            r"split.csv:2: class .*: is not below data.root; expected g",
        ),
        (["gruppe 0/klasse ä0,dev"], r"split.csv:2: split dev: expected train, valid, test"),
        (["gruppe 0/klasse ä0,test"] * 2, r"split.csv:3: class .* stands twice"),
        (["gruppe 0/klasse ä0"], r"split.csv:2: split None: expected train"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[str], message: str) -> None:
    root = little_folder(tmp_path / "root")
    with pytest.raises(UserError, match=message):
        load(root, tmp_path / "cache", split_file(tmp_path, *rows))


def test_a_csv_without_its_columns_or_missing(tmp_path: Path) -> None:
    root = little_folder(tmp_path / "root")
    (tmp_path / "other.csv").write_text("label,part\n")
    with pytest.raises(UserError, match=r"other.csv: expected a CSV with the columns class,split"):
        load(root, tmp_path / "cache", f"data.split_file={tmp_path / 'other.csv'}")
    with pytest.raises(UserError, match=r"none.csv: No such file or directory; expected a CSV"):
        load(root, tmp_path / "cache", f"data.split_file={tmp_path / 'none.csv'}")


def test_grey_and_inverted_pixels(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    grey = load(root, cache, "data.colour=grey").images["train"]
    assert grey.shape[1:] == (1, 16, 16)
    inverted = load(root, cache, "data.colour=grey", "data.invert=true").images["train"]
    assert torch.equal(inverted, 255 - grey)


def test_small_classes_are_named_with_their_number_or_left_out(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    task = config("data=folder", "ways=2", "shots=2", "eval.queries=16")
    with pytest.raises(
        UserError,
        match=r"^shots=2 and eval.queries=16: 3 of 9 classes have fewer than 18 images, "
        r"the smallest, gruppe 0/klasse ä\d, has 17; .* data.min_images=18",
    ):
        check_counted(task, load(root, cache).sizes, loader.SPLITS)
    large = load(root, cache, "data.min_images=18", "data.split_seed=2").sizes
    assert {count for classes in large.values() for count in classes.values()} == {18, 19}
    whole = {**large["train"], **large["valid"], **large["test"]}
    check_counted(task, {"all": whole}, ["all"])
    with pytest.raises(UserError, match=r"ways=2: data=folder has 0 classes in its train split"):
        check_counted(task, load(root, cache, "data.min_images=20").sizes, loader.SPLITS)


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    before = load(root, cache).images
    path = next(root.rglob("*.png"))
    Image.new("RGB", (9, 9), "white").save(path)
    os.utime(path, (1, 1))
    after = load(root, cache).images
    assert sum(int((before[split] != after[split]).any()) for split in before) == 1


def test_the_orientation_in_exif_is_applied(tmp_path: Path) -> None:
    half = Image.new("L", (16, 16), 0)
    half.paste(255, (0, 0, 8, 16))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left comes on top
    path = save(tmp_path / "a.png", half, exif=exif)
    pixels = decode(path, 16, Colour.grey)[0]
    assert (pixels[:6] > 250).all()
    assert (pixels[10:] < 5).all()


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode(path, 4, Colour.rgb)[:, 0, 0].tolist() == [255, 0, 0]


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    values = np.full((8, 8), 32768, np.uint16)
    for ending in ("png", "tif"):
        path = save(tmp_path / f"a.{ending}", Image.fromarray(values))
        assert (decode(path, 4, Colour.grey) == 128).all()
        assert decode(path, 4, Colour.rgb).shape == (3, 4, 4)


def test_floats_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((8, 8), np.float32)))
    with pytest.raises(ValueError, match="32 bits a pixel"):
        decode(path, 4, Colour.grey)


def test_cmyk_palettes_and_one_bit_become_plain_colours(tmp_path: Path) -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    for name, image in (("c.tif", red.convert("CMYK")), ("p.png", red.convert("P"))):
        assert decode(save(tmp_path / name, image), 4, Colour.rgb)[:, 0, 0].tolist() == [255, 0, 0]
    bits = save(tmp_path / "b.png", Image.new("1", (8, 8), 1))
    assert (decode(bits, 4, Colour.grey) == 255).all()


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert (decode(path, 4, Colour.rgb) == 255).all()


def test_a_decompression_bomb_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.new("1", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # at 1200 Pillow itself only warns
    with strict(), pytest.raises(Image.DecompressionBombWarning):
        decode(path, 4, Colour.grey)


def test_links_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    inside = save(root / "a" / "1.PNG", Image.new("L", (4, 4)))
    outside = save(tmp_path / "outside" / "2.png", Image.new("L", (4, 4)))
    (root / "a" / "link.png").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    (root / "a" / "notes.txt").write_text("")
    shutil.copy(inside, root / "a" / "._1.png")
    save(root / ".hidden" / "3.png", Image.new("L", (4, 4)))
    os.mkfifo(root / "a" / "pipe.png")
    tree = scan(root)
    assert (tree.classes, tree.links) == ({"a": [inside]}, 2)


def cut(root: Path) -> None:
    path = root / "gruppe 1" / "klasse ä4" / "bild 03.png"
    path.write_bytes(path.read_bytes()[:60])


def no_bytes(root: Path) -> None:
    (root / "gruppe 1" / "klasse ä4" / "bild 03.png").write_bytes(b"")


def image_in_no_class(root: Path) -> None:
    save(root / "stray.png", Image.new("L", (4, 4)))


def only_links(root: Path) -> None:
    root.rename(root.with_name("away"))
    root.mkdir()
    (root / "a").symlink_to(root.with_name("away"))


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def test_broken_files_are_left_out_where_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    cut(root)
    (root / "gruppe 0" / "klasse ä0" / "bild 00.png").write_text("no image")
    with pytest.raises(UserError, match=r"data=folder data.skip_broken=true trains without them"):
        load(root, cache)
    line = f"Left out 2 files that cannot be decoded, the first: {root}/gruppe 0/klasse ä0/bild 00"
    for _ in range(2):  # found, and then from the cache
        source = load(root, cache, "data.skip_broken=true")
        assert line in capsys.readouterr().err
        sizes = {name: count for split in source.sizes.values() for name, count in split.items()}
        assert sizes.pop("gruppe 0/klasse ä0") == 16
        assert sizes.pop("gruppe 1/klasse ä4") == 17
        assert sizes == {
            f"gruppe {n % 3}/klasse ä{n}": 17 + n % 3 for n in range(9) if n not in (0, 4)
        }
    for path in (root / "gruppe 0" / "klasse ä0").iterdir():
        path.write_text("no image")
    source = load(root, cache, "data.skip_broken=true")
    assert sum(len(classes) for classes in source.sizes.values()) == 8


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"bild 03.png: expected an image \(.+\); `fewshot data DIR` lists all such files"),
        (no_bytes, r"bild 03.png: expected an image \(not an image of a format"),
        (image_in_no_class, r"stray.png: is in no class; expected .*root/CLASS/stray.png"),
        (only_links, r"root: holds no images \(1 symbolic links are not followed\)"),
        (empty, r"root: holds no images; expected a folder for each class"),
        (shutil.rmtree, r"root: No such file or directory; expected a folder that can be read"),
    ],
)
def test_what_is_wrong_with_the_files_is_named(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    root = little_folder(tmp_path / "root")
    damage(root)
    with pytest.raises(UserError, match=message):
        load(root, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npz"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fractions.train=0.9", r"data.fractions=0.9\+.*: expected a sum of 1"),
        ("data.split=alphabets", "is Omniglot's own; expected random, groups or test"),
    ],
)
def test_a_split_that_cannot_be(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(little_folder(tmp_path / "root"), tmp_path / "cache", override)
