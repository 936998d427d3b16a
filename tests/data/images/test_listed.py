from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers import config, little_folder

from fewshot_cli.data import folder as loader
from fewshot_cli.data.images import listed
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.tree import group, scan
from fewshot_cli.settings.errors import UserError

CPU = torch.device("cpu")
FILES = [f"{name}{number}.png" for name in ("hecht", "barsch") for number in range(3)]


def load(root: Path, cache: Path, *overrides: str) -> ImageTasks:
    chosen = config("data=folder", "data.image_size=16", *overrides)
    chosen.data.root = str(root)
    return loader.load(chosen.data, str(cache), CPU)


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def of_folder(root: Path, split: bool = False) -> list[str]:
    """A list of the classes in a folder, in an order of its own."""
    rows = []
    for number, (name, paths) in enumerate(scan(root).classes.items()):
        part = f",{('train', 'valid', 'test')[number % 3]}" if split else ""
        rows += [f"{path.relative_to(root).as_posix()},{name}{part}" for path in paths]
    return ["file,label,split" if split else "file,label", *rows[::-1]]


@pytest.mark.parametrize("overrides", [[], ["data.split=groups"], ["data.min_images=18"]])
def test_a_list_of_a_folder_is_the_data_of_the_folder(tmp_path: Path, overrides: list[str]) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    rows = write(tmp_path / "labels.csv", *of_folder(root))
    folder, listing = load(root, cache, *overrides), load(root, cache, *overrides, of_list(rows))
    assert listing.sizes == folder.sizes
    assert listing.fingerprint == folder.fingerprint
    assert len(list(cache.glob("*.npz"))) == 1  # the same files, decoded once


def of_list(path: Path) -> str:
    return f"data.labels='{path}'"


def test_a_column_says_the_split_where_a_lot_would(tmp_path: Path) -> None:
    root, cache = little_folder(tmp_path / "root"), tmp_path / "cache"
    rows = write(tmp_path / "labels.csv", *of_folder(root, split=True))
    found = {
        split: list(classes) for split, classes in load(root, cache, of_list(rows)).sizes.items()
    }
    names = list(scan(root).classes)
    assert found == {"train": names[::3], "valid": names[1::3], "test": names[2::3]}
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    everything = load(root, cache, of_list(rows), "data.split=test").sizes
    assert [len(classes) for classes in everything.values()] == [0, 0, 9]
    whole = load(root, cache, of_list(rows), "data.split=groups", *thirds).sizes
    groups = [{group(name) for name in classes} for classes in whole.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 3
    chosen = write(tmp_path / "split.csv", "class,split", f"{names[0]},test")
    one = load(root, cache, of_list(rows), f"data.split_file='{chosen}'").sizes
    assert [list(classes) for classes in one.values()] == [[], [], names[:1]]


def fish(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    for file in FILES:
        (root / "images" / file).touch()
    return root


def test_meta_albums_own_layout(tmp_path: Path) -> None:
    root = fish(tmp_path / "FSH_Mini")
    (root / "info.json").write_text("{}")
    rows = ["FILE_NAME,      CATEGORY,   SUPER_CATEGORY"]
    rows += [
        f"{file},     {file[:-5]},   {'Pisces' if file[0] == 'h' else 'NAN'}" for file in FILES
    ]
    found = listed.read(write(root / "labels.csv", *rows), root)
    files = [root / "images" / file for file in FILES]
    assert found.classes == {"Pisces/hecht": files[:3], "barsch": files[3:]}
    assert list(found.classes) == ["Pisces/hecht", "barsch"]
    assert found.splits is None


def test_a_file_is_sought_below_the_root_first(tmp_path: Path) -> None:
    root = fish(tmp_path / "root")
    (root / FILES[0]).touch()
    labels = write(tmp_path / "l.csv", "label,file,photographer", *(f"a,{f},ä" for f in FILES[:2]))
    assert listed.read(labels, root).classes == {"a": [root / FILES[0], root / "images" / FILES[1]]}


def test_without_a_root_it_is_the_folder_of_the_list(tmp_path: Path) -> None:
    chosen = config("data=folder", of_list(tmp_path / "labels.csv"))
    assert chosen.data.root == str(tmp_path)


HEAD = "file,label,split"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r":1: begins with nothing; expected a CSV in UTF-8 with the columns file,label and"),
        ([HEAD], r": has no rows; expected"),
        (["file;label", "a;b"], r":1: begins with file;label; expected"),
        (["file\tlabel"], r":1: begins with file\?label; expected"),
        (["file,class", "hecht0.png,a"], r":1: begins with file,class; expected"),
        (["hecht0.png,a"], r":1: begins with hecht0.png,a; expected"),
        (["file,FILE_NAME,label"], r":1: has file twice; expected"),
        (["file,label", "", "hecht0.png"], r":3: has 1 cells; expected 2, as the first line has"),
        (["file,label", "hecht0.png,a,b"], r":2: has 3 cells; expected 2"),
        ([HEAD, "hecht0.png,,train"], r":2: label nothing: expected the name of a class"),
        ([HEAD, 'hecht0.png,"a\nb",train'], r":3: label a\?b: expected the name"),
        ([HEAD, "hecht0.png,a,dev"], r":2: split dev: expected train, valid, test"),
        ([HEAD, "hecht0.png,a,"], r":2: split : expected train, valid, test"),
        (
            [HEAD, "hecht0.png,a,train", "hecht1.png,b,test", "hecht2.png,a,test"],
            r":4: class a: is in test, and in train by line 2; expected all of its images in one",
        ),
        (
            [HEAD, "hecht0.png,a,train", "./images/hecht0.png,b,test"],
            r":3: file ./images/hecht0.png: stands in line 2 too; expected one row each",
        ),
        ([HEAD, "hecht9.png,a,train"], r":2: file hecht9.png: is not there; expected a path below"),
        ([HEAD, "images,a,train"], r":2: file images: is not there"),
        ([HEAD, ",a,train"], r":2: file nothing: is not there"),
        ([HEAD, "x\0,a,train"], r":2: file x\?: is not there"),
        ([HEAD, "../outside.png,a,train"], r":2: file ../outside.png: is outside of data.root="),
        ([HEAD, "images/link.png,a,train"], r":2: file images/link.png: is outside of data.root="),
        ([HEAD, 'hecht0.png,"a,train'], r":2: unexpected end of data; expected"),
        ([HEAD, "hecht0.png," + "a" * 10_000_000], r":2: field larger than field limit"),
    ],
)
def test_a_wrong_list_costs_one_line(tmp_path: Path, rows: list[str], message: str) -> None:
    root = fish(tmp_path / "root")
    (tmp_path / "outside.png").touch()
    (root / "images" / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(UserError, match=f"^{tmp_path}/labels.csv{message}") as raised:
        listed.read(write(tmp_path / "labels.csv", *rows), root)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_absolute_paths_are_outside(tmp_path: Path) -> None:
    root = fish(tmp_path / "root")
    outside = tmp_path / "outside.png"
    outside.touch()
    with pytest.raises(UserError, match=r":2: file /.*outside.png: is outside of data.root"):
        listed.read(write(tmp_path / "labels.csv", "file,label", f"{outside},a"), root)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_named_by_its_line(tmp_path: Path, encoding: str) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes("file,label\nhecht0.png,a\nbarsch0.png,käse\n".encode(encoding))
    line = {"latin-1": 3, "utf-16": 1}[encoding]
    with pytest.raises(UserError, match=rf"^{labels}:{line}: invalid .*; expected a CSV in UTF-8"):
        listed.read(labels, fish(tmp_path / "root"))


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.csv: No such file or directory; expected a CSV"):
        listed.read(tmp_path / "none.csv", tmp_path)
    with pytest.raises(UserError, match=rf"^{tmp_path}: Is a directory; expected a CSV"):
        listed.read(tmp_path, tmp_path)


def test_a_byte_order_mark_and_other_line_ends(tmp_path: Path) -> None:
    root, labels = fish(tmp_path / "root"), tmp_path / "labels.csv"
    labels.write_bytes("\ufefffile,label\r\nhecht0.png,Hecht\r\n".encode())
    assert listed.read(labels, root).classes == {"Hecht": [root / "images" / "hecht0.png"]}


def test_many_rows_take_seconds(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    first = root / "0.png"
    first.touch()
    for number in range(1, 2000):
        os.link(first, root / f"{number}.png")
    labels = write(tmp_path / "l.csv", "file,label", *(f"{n}.png,{n % 7}" for n in range(2000)))
    assert sum(map(len, listed.read(labels, root).classes.values())) == 2000
