from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from helpers import TINY, choosing, little_folder, photographs
from PIL import Image


def table_of(done: subprocess.CompletedProcess[str]) -> tuple[dict[str, str], list[str]]:
    """What stands beside each label, and the lines below that name files."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    table = dict(line.split("  ", 1) for line in lines if "  " in line)
    return {label: value.strip() for label, value in table.items()}, lines[len(table) :]


def test_a_folder_is_counted_and_what_is_wrong_in_it_named(
    tmp_path: Path, fewshot: Command
) -> None:
    root = little_folder(tmp_path / "my photos", classes=5)
    first, second = root / "gruppe 0" / "klasse ä0", root / "gruppe 1" / "klasse ä1"
    shutil.copy(first / "bild 00.png", first / "copy.png")
    shutil.copy(first / "bild 00.png", second / "both.png")
    shutil.copy(first / "bild 01.png", second / "copy.png")
    (second / "empty.jpg").write_bytes(b"")
    cut = (first / "bild 02.png").read_bytes()[:50]
    (second / "bild 03.png").write_bytes(cut)
    Image.new("L", (50, 40)).save(second / "\x1b[31m.gif")
    (root / "gruppe 2" / "leer").mkdir()
    (root / "gruppe 2" / "leer" / "notes.txt").touch()
    shutil.copy(first / "bild 05.png", root / "loose.png")
    done = fewshot("data", "my photos")
    table, lines = table_of(done)
    assert table == {
        "groups": "3",
        "classes": "5",
        "images": "94",
        "smallest class": "17 images: gruppe 0/klasse ä3",
        "largest class": "22 images: gruppe 1/klasse ä1",
        "image sizes": "24x18 (91), 50x40 (1)",
        "modes": "RGB (91), P (1)",
        "broken files": "2",
        "duplicates": "1 within a class, 2 across classes",
        "near-duplicates": "0 within a class, 0 across classes",
        "tiny images": "91",
        "empty folders": "1",
        "loose files": "1",
        "links left out": "0",
        "ways=2": "3 classes for meta-train and meta-validation, 2 for meta-test",
        "shots": "up to 2 with eval.queries=15, by the smallest class",
        "decoded images": "0.3 MB at 32 pixels, 1.9 MB at 84 pixels",
    }
    assert lines.pop(0).startswith("broken: gruppe 1/klasse ä1/bild 03.png: ")
    assert lines.pop(0).startswith("broken: gruppe 1/klasse ä1/empty.jpg: not an image")
    copies = "gruppe 0/klasse ä0/bild 00.png = gruppe 0/klasse ä0/copy.png"
    assert lines[:3] == [
        f"the same in one class: {copies}",
        f"the same in several classes: {copies} = gruppe 1/klasse ä1/both.png",
        "the same in several classes: gruppe 0/klasse ä0/bild 01.png = gruppe 1/klasse ä1/copy.png",
    ]
    assert lines[3] == "tiny: gruppe 0/klasse ä0/bild 00.png: 24x18"
    assert lines[13:] == [
        "tiny: 81 more",
        "empty: gruppe 2/leer",
        "in no class, which a run refuses: loose.png",
    ]
    assert "\x1b" not in done.stdout


def test_near_duplicates_are_named(tmp_path: Path, fewshot: Command) -> None:
    photographs(tmp_path / "photos", across=3)
    first, second, *_ = sorted((tmp_path / "photos").rglob("field*"))
    image = Image.open(first / "00.jpg")
    image.save(second / "copy.webp", quality=60)
    image.resize((image.width * 2, image.height * 2)).save(first / "copy.png")
    table, lines = table_of(fewshot("data", "photos"))
    found = re.findall(r"\d+", table["near-duplicates"])
    assert min(map(int, found)) >= 1
    here, there = (folder.relative_to(tmp_path / "photos").as_posix() for folder in (first, second))
    within = [line for line in lines if line.startswith("nearly the same in one class: ")]
    assert any(f"{here}/00.jpg" in line and f"{here}/copy.png" in line for line in within)
    across = [line for line in lines if line.startswith("nearly the same in several classes: ")]
    assert any(f"{here}/00.jpg" in line and f"{there}/copy.webp" in line for line in across)
    assert table["duplicates"] == "0 within a class, 0 across classes"


@pytest.mark.parametrize("classes", [3, 4, 12])
def test_what_it_says_of_runs_is_what_they_do(
    tmp_path: Path, fewshot: Command, classes: int
) -> None:
    little_folder(tmp_path / "photos", classes=classes)
    table, _ = table_of(fewshot("data", "photos"))
    ways = {int(label[5:]) for label in table if label.startswith("ways=")}
    assert ways == {3: set(), 4: {2}, 12: {2, 5, 6}}[classes]
    assert ("ways" in table) is (not ways)
    words = ["train", "--dry-run", "data=folder", "data.root=photos", "model=mlp"]
    too_many = max(ways, default=1) + 1
    for each in [*sorted(ways), too_many]:
        done = fewshot(*words, f"ways={each}")
        assert (done.returncode == 0) is (each != too_many), done.stderr
    assert f"has {classes} classes, too few to train on {too_many}" in done.stderr


def test_classes_that_are_too_small_are_counted(tmp_path: Path, fewshot: Command) -> None:
    root = little_folder(tmp_path / "photos", classes=4)
    for path in list((root / "gruppe 1" / "klasse ä1").iterdir())[:6]:
        path.write_text("no image")
    table, _ = table_of(fewshot("data", "photos"))
    assert table["shots"] == (
        "shots=1 and eval.queries=15 take 16 images of a class, and 1 of 4 have fewer; "
        "data.min_images=16 leaves those out"
    )


def test_only_loose_files_are_no_classes(tmp_path: Path, fewshot: Command) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "1.png")
    done = fewshot("data", "photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fewshot: photos/1.png: is in no class; expected photos/CLASS/1.png\n"


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
        (["data", "empty"], "empty: holds no images; expected images"),
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


def test_the_jobs_of_a_sweep_are_each_checked_against_what_they_train_on(
    tmp_path: Path, fewshot: Command
) -> None:
    little_folder(tmp_path / "photos", classes=4)
    small = [word for word in TINY if not word.startswith("ways")]
    words = ["-m", "data=folder", "data.root=photos", "data.image_size=16", "model=mlp", *small]
    jobs = ["ways=2", "algo=scratch,reptile"]
    done = fewshot("train", *words, *jobs, "data.split=test")
    assert done.returncode == 2
    assert "data.split=test: leaves algo=reptile no classes to train on" in done.stderr
    assert not (tmp_path / "outputs").exists()
    done = fewshot("train", *words, *jobs, "sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert "algo=reptile] Meta-validation draws from the 2 classes of meta-train" in done.stderr
    again = fewshot("train", *words, *jobs, "sweep.dir=sweep")
    assert "2 jobs are complete already" in again.stderr


def test_no_torch_is_imported(tmp_path: Path) -> None:
    little_folder(tmp_path, classes=1)
    code = (
        "import sys; from pathlib import Path; from fewshot_cli.commands.data import data; "
        f"data(Path({str(tmp_path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_list_of_images_is_looked_at_by_its_classes(tmp_path: Path, fewshot: Command) -> None:
    root = little_folder(tmp_path / "photos", classes=3)
    shutil.copy(root / "gruppe 0/klasse ä0/bild 00.png", root / "gruppe 0/klasse ä0/copy.png")
    rows = ["FILE_NAME,CATEGORY,split"]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        of_class, split = [("even", "train"), ("odd", "test")][number % 2]
        rows.append(f"{path.relative_to(root).as_posix()},{of_class},{split}")
    (root / "labels.csv").write_text("\n".join(rows))
    table, lines = table_of(fewshot("data", "photos", "--labels", "photos/labels.csv"))
    assert (table["classes"], table["images"]) == ("2", "55")
    assert table["smallest class"] == "27 images: odd"
    assert table["splits"] == "1 classes for meta-train and meta-validation, 1 for meta-test"
    assert "ways=2" not in table
    copies = "gruppe 0/klasse ä0/bild 00.png = gruppe 0/klasse ä0/copy.png"
    assert lines[0] == f"the same in several classes: {copies}"
    done = fewshot("data", "photos", "--labels", "photos/none.csv")
    assert (done.returncode, done.stdout) == (2, "")
