from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from helpers import TINY, choosing, few, little_folder, photographs
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


@pytest.mark.slow
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


@pytest.mark.parametrize("model", few(["mlp", "cnn4", "cnn4_pool", "fc"], quick=2))
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


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_each_checked_against_the_images(
    tmp_path: Path, fewshot: Command
) -> None:
    done = fewshot("train", "-m", *TINY, *choosing("folder", tmp_path), "shots=1,16")
    assert done.returncode == 2
    assert "shots=16 and eval.queries=2: 3 of 9 classes have fewer than 18 images" in done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
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


def rows(folder: Path, *more: str) -> Path:
    """Four tasks of six rows; `more` are lines."""
    lines = ["who,x,sex,note,always,y,when"]
    for person in range(4):
        when = ["train", "train", "valid", "test"][person]
        for row in range(6):
            sex = "f" if row % 2 else "m"
            lines.append(f"p{person},{person + row / 10},{sex},word {person}.{row},7,{row},{when}")
    path = folder / "t.csv"
    path.write_text("\n".join([*lines, *more]) + "\n")
    return path


def test_a_table_is_counted_and_what_cannot_be_used_named(tmp_path: Path, fewshot: Command) -> None:
    many = [f"p0,1,f,other {row},7,1,train" for row in range(40)]
    rows(tmp_path, *many, "p3,0.1,f,word 0.1,7,1,test", "p0,,m,b,7,2,train", "p9,wide,m,a,7,2,dev")
    words = ["data.task=who", "data.target=y", "data.split=when", "shots=5", "eval.queries=5"]
    table, lines = table_of(fewshot("data", "t.csv", *words))
    assert table == {
        "rows": "67",
        "columns": "3 of numbers, 1 of category, 1 of text",
        "missing values": "x 1",
        "constant": "always",
        "tasks": "5",
        "smallest task": "1 rows: p9",
        "largest task": "47 rows: p0",
        "duplicates": "2 rows are like another, 2 across tasks, 2 across splits",
        "splits": "data.split=when is wrong",
        "shots": "shots=5 and eval.queries=5 take 10 rows of a task, and 4 of 5 have fewer; "
        "data.min_rows=10 leaves those out",
    }
    assert lines[:2] == [
        "column: x: numbers, 26 different values",
        "column: sex: category, 2 different values",
    ]
    path = tmp_path / "t.csv"
    assert [line.removeprefix(f"cannot be used: {path.name}: ") for line in lines[5:]] == [
        "line 68, column x: wide among numbers; expected a number",
        "column note has 66 different words in 67 rows, which is text; expected numbers or at most "
        "50 categories, or data.drop=note",
        "cannot be used: missing values; expected none, or data.missing=median, which fills them",
        "cannot be used: column who: t.csv: line 68, column when: dev; expected test, train, valid",
    ]


@pytest.mark.parametrize("words", [[], ["data.task=who", "data.target=y", "data.drop=[note]"]])
def test_a_table_needs_no_torch_and_one_that_is_fine_says_so(
    tmp_path: Path, fewshot: Command, words: list[str]
) -> None:
    rows(tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nsys.modules['torch'] = None\nfrom fewshot_cli.app import main\nmain()",
            *("data", str(tmp_path / "t.csv"), *words),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    table, lines = table_of(done)
    assert table["rows"] == "24"
    if words:
        assert table["splits"] == "2 tasks for meta-train, 1 for meta-validation, 1 for meta-test"
        assert not any(line.startswith("cannot be used") for line in lines)
    else:
        assert (
            table["tasks"] == "expected data.label=COLUMN, or data.task=COLUMN data.target=COLUMN"
        )


def test_arrays_are_counted(tmp_path: Path, fewshot: Command) -> None:
    import numpy as np

    x = np.random.default_rng(0).normal(size=(40, 2, 8))
    x[:, 1, 3], x[39], x[1] = 5, x[0], x[0]
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) // 4)
    table, _ = table_of(fewshot("data", "a.npz", "shots=1", "eval.queries=3"))
    assert table["columns"] == "1 of numbers of shape [2, 8] a row, 1 of 16 constant"
    assert table["duplicates"] == "3 rows are like another, 3 across classes"
    assert (table["classes"], table["shots"][:7]) == ("10", "up to 1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["t.csv", "data.task=wo"], "data.task=wo: .*t.csv has no such column; expected who"),
        (["t.csv", "data.tsk=who"], "data.tsk"),
        (["t.csv", "--labels", "t.csv"], "--labels t.csv: is for a folder of images"),
        (["t.txt"], "t.txt: expected a folder of images, or .csv"),
        ([".", "data.task=who"], "data.task=who: goes with a table"),
    ],
)
def test_a_wrong_look_costs_one_line(
    tmp_path: Path, fewshot: Command, words: list[str], message: str
) -> None:
    rows(tmp_path)
    (tmp_path / "t.txt").touch()
    done = fewshot("data", *words)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1
