from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from helpers import TINY, choosing, little_folder
from PIL import Image


def test_a_folder_is_counted_and_what_is_wrong_in_it_named(
    tmp_path: Path, fewshot: Command
) -> None:
    root = little_folder(tmp_path / "my photos", classes=5)
    first, second = root / "gruppe 0" / "klasse ä0", root / "gruppe 1" / "klasse ä1"
    shutil.copy(first / "bild 00.png", first / "copy.png")
    shutil.copy(first / "bild 01.png", second / "copy.png")
    (second / "empty.jpg").write_bytes(b"")
    cut = (first / "bild 02.png").read_bytes()[:50]
    (second / "bild 03.png").write_bytes(cut)
    Image.new("L", (7, 5)).save(second / "\x1b[31m.gif")
    done = fewshot("data", "my photos")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    table = dict(line.split("  ", 1) for line in lines[:10])
    assert {label: value.strip() for label, value in table.items()} == {
        "groups": "3",
        "classes": "5",
        "images": "93",
        "smallest class": "17 images: gruppe 0/klasse ä3",
        "largest class": "21 images: gruppe 1/klasse ä1",
        "image sizes": "24x18 (90), 7x5 (1)",
        "modes": "RGB (90), P (1)",
        "broken files": "2",
        "duplicates": "1 within a class, 1 across classes",
        "links left out": "0",
    }
    assert lines[10].startswith("broken: gruppe 1/klasse ä1/bild 03.png: ")
    assert lines[11].startswith("broken: gruppe 1/klasse ä1/empty.jpg: not an image")
    assert lines[12:] == [
        "the same in one class: gruppe 0/klasse ä0/bild 00.png = gruppe 0/klasse ä0/copy.png",
        "the same in several classes: gruppe 0/klasse ä0/bild 01.png = gruppe 1/klasse ä1/copy.png",
    ]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("model", ["mlp", "cnn4", "cnn4_pool", "fc"])
def test_every_model_learns_from_colour_pictures(
    tmp_path: Path, fewshot: Command, model: str
) -> None:
    choice = choosing("folder", tmp_path)
    done = fewshot("train", "--dry-run", f"model={model}", *TINY, *choice)
    assert done.returncode == 0, done.stderr
    assert f"on folder with {model}" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "none"], "none: No such file or directory; expected a folder that can be read"),
        (["data", "empty"], "empty: holds no images; expected a folder for each class"),
        (["train", "data=folder"], "data.root=null: data=folder needs a folder, data.root=DIR"),
        (["train", "data=glyphs", "data.colour=grey"], "data.colour: data=glyphs does not read it"),
        (["train", "data=omniglot", "data.split=groups"], "data.split=groups: is of data=folder"),
    ],
)
def test_a_mistake_costs_one_line(
    tmp_path: Path, fewshot: Command, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = fewshot(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fewshot: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_the_jobs_of_a_sweep_are_each_checked_against_the_images(
    tmp_path: Path, fewshot: Command
) -> None:
    done = fewshot("train", "-m", *TINY, *choosing("folder", tmp_path), "shots=1,16")
    assert done.returncode == 2
    assert "shots=16 and eval.queries=2: 3 of 9 classes have fewer than 18 images" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_no_torch_is_imported(tmp_path: Path) -> None:
    little_folder(tmp_path, classes=1)
    code = (
        "import sys; from pathlib import Path; from fewshot_cli.commands.data import data; "
        f"data(Path({str(tmp_path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
