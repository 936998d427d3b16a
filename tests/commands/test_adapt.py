from __future__ import annotations

import random
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from helpers import TINY, drawings, photographs, untrained

TOLD = ["--steps", "3", "algo.inner_lr=0.4", "--one-by-one"]  # nothing is left to choose


@pytest.fixture
def here(tmp_path: Path, own_cache: None) -> Path:
    """A run on letters, and the folders SUPPORT and QUERY with seven classes of drawings."""
    untrained(tmp_path / "run", "model.channels=8")
    drawings(tmp_path / "all", alphabets=1, characters=7, of_each=3)
    for file in sorted((tmp_path / "all").rglob("*.png")):
        folder = tmp_path / ("SUPPORT" if file.stem == "00" else "QUERY") / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    return tmp_path


@pytest.mark.slow
def test_adapt_predict_and_the_program_agree(here: Path, fewshot: Command) -> None:
    options = ["--support", "SUPPORT", "--query", "QUERY", "--steps", "2"]
    for file in ("model.pt", "model.pt2"):
        done = fewshot("adapt", "run", *options, "--save", file, "--out", f"adapt {file}")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "Adapted run to 7 classes"
        assert lines[1].startswith("Took an inner rate of 0.4, as in the run's test: class char")
        assert lines[2] == "Judged 14 images, all in one batch"
        assert lines[3].startswith("Accuracy ")
        assert " of 14 images of 1 task, 95 % interval " in lines[3]
        assert lines[4:] == [f"Files: adapt {file}", f"Next:  fewshot predict {file} DIR"]
        done = fewshot("predict", file, "QUERY", "--out", file + " says")
        assert done.returncode == 0, done.stderr
    tables = [pd.read_csv(path) for path in sorted(here.glob("*/predictions.csv"))]
    assert len(tables) == 4
    assert len(tables[0]) == 14
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], rtol=0, atol=1e-5)
    assert len(list(here.glob("*/predictions.png"))) == 4
    done = fewshot("predict", "model.pt2", "QUERY", "--one-by-one")
    assert done.returncode == 2
    assert "fewshot: model.pt2: the program judges all images together" in done.stderr


def test_images_without_classes_one_by_one_and_the_broken_left_out(
    here: Path, fewshot: Command
) -> None:
    (here / "LOOSE").mkdir()
    shutil.copy(here / "QUERY" / "character03" / "01.png", here / "LOOSE" / "ein Bild ä.png")
    (here / "LOOSE" / "broken.png").write_bytes(b"GIF89a")
    done = fewshot("adapt", "run", *TOLD, "--support", "SUPPORT", "--query", "LOOSE")
    assert done.returncode == 0, done.stderr
    assert "fewshot: left out broken.png: " in done.stderr
    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "Judged 1 images, each alone with the support set",
        "No folder below LOOSE is named as a class of SUPPORT, so there is no accuracy",
    ]
    assert lines[3].startswith("Files: outputs/predictions/")
    table = pd.read_csv(here / lines[3].removeprefix("Files: ") / "predictions.csv")
    assert list(table["file"]) == ["ein Bild ä.png"]


def test_it_chooses_where_classes_have_two_images(here: Path, fewshot: Command) -> None:
    done = fewshot("adapt", "run", "--support", "QUERY", "--query", "SUPPORT")
    assert done.returncode == 0, done.stderr
    chosen = done.stdout.splitlines()[1]
    assert re.match(r"(Took|Chose) .* 2-fold cross-validation over the support set", chosen)
    assert "Cross-validation over the support set: " in done.stderr


def test_a_model_can_be_saved_without_a_query(here: Path, fewshot: Command) -> None:
    done = fewshot("adapt", "run", *TOLD, "--support", "SUPPORT", "--save", "model.pt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Adapted run to 7 classes",
        "Next:  fewshot predict model.pt DIR",
    ]
    assert not (here / "outputs").exists()
    (here / "QUERY" / "character03").rename(here / "QUERY" / "another")
    done = fewshot("predict", "model.pt", "QUERY")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert " of 12 images of 1 task" in lines[1]
    assert lines[2] == "2 images are in no folder that is named as a class of model.pt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--support", "nowhere", "--query", "QUERY"], "nowhere: No such file"),
        (["run", "--support", "SUPPORT", "--query", "nowhere"], "nowhere: No such file"),
        (["nothing", "--support", "SUPPORT", "--query", "QUERY"], "nothing: expected a run dir"),
        (["run", "--query", "QUERY"], "Missing option '--support'"),
        (["run", "--support", "SUPPORT"], "expected --query, --save FILE or both"),
        (
            ["run", "--support", "SUPPORT", "--save", "model.pt", "--out", "there"],
            "--out there: nothing is judged; expected --query too",
        ),
        (
            ["run", "--support", "SUPPORT", "--query", "QUERY", "--save", "model.txt"],
            "model.txt: expected a file that ends in .pt, .pt2, .onnx",
        ),
        (
            ["run", "model=fc", "--support", "SUPPORT", "--query", "QUERY"],
            "model: cannot be changed afterwards",
        ),
    ],
)
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    here: Path, fewshot: Command, words: list[str], message: str
) -> None:
    done = fewshot("adapt", *words)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not (here / "outputs").exists()


@pytest.mark.slow
def test_without_a_run_the_backbone_judges(fewshot: Command, tmp_path: Path) -> None:
    whole = photographs(tmp_path / "whole", across=3)
    for folder in [each for each in whole.rglob("field*") if each.is_dir()][:4]:
        for place, file in enumerate(sorted(folder.iterdir())):
            target = tmp_path / ("support" if place < 3 else "query") / folder.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    words = ["--support", "support", "--query", "query", "--save", "model.pt", "--out", "said"]
    done = fewshot("adapt", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Adapted the backbone to 4 classes"
    assert any(line.startswith("Chose the head ") for line in lines)
    assert any(line.startswith("Leave-one-out accuracy ") for line in lines)
    assert any(line.endswith(" images, each by itself") for line in lines)
    table = pd.read_csv(tmp_path / "said" / "predictions.csv")
    assert [*table.columns[:3], table.columns[-1]] == [
        *("file", "predicted", "probability"),
        "distance",
    ]
    again = fewshot("predict", "model.pt", "query", "--out", "again")
    assert again.returncode == 0, again.stderr
    other = pd.read_csv(tmp_path / "again" / "predictions.csv")
    assert (table.predicted == other.predicted).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "3"], "--steps, --transductive: are of a run; expected `fewshot adapt RUN"),
        (["--head", "ncn"], "--head ncn: expected ncm"),
        (["--backbone", "resnet81"], "model.backbone=resnet81: timm has no such architecture"),
        (["run", "--head", "ncm"], "--backbone, --head, --finetune: go without a run"),
    ],
)
def test_options_that_go_with_a_run_or_without(
    fewshot: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "query").mkdir()
    (tmp_path / "query" / "a.png").write_bytes(b"")
    done = fewshot("adapt", *words, "--support", "query", "--query", "query", "--save", "model.pt")
    assert done.returncode == 2
    assert done.stderr.startswith(f"fewshot: {message}")
    assert done.stderr.count("\n") == 1


def test_the_commands_of_the_page_on_tables(tmp_path: Path, fewshot: Command) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    section = page[page.index("## What is in a table") : page.index("## Splits, columns")]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [words[1] for words in lines] == ["data", "train", "adapt", "predict"]
    draw = random.Random(0)
    header = "patient,weight,sex,dose"
    rows = [
        f"p{patient},{weight:.1f},{draw.choice('fm')},{50 + patient * weight:.1f}"
        for patient in range(12)
        for weight in [draw.gauss(70, 9) for _ in range(12)]
    ]
    of_one = [row for row in rows if row.startswith("p3,")]
    for name, part in {"patients": rows, "mine": of_one[:6], "more": of_one[6:]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    outputs = []
    for words in lines:
        short = [*TINY[:3], "eval.tasks=2", "eval.valid_tasks=2"] if words[1] == "train" else []
        done = fewshot(*words[1:], *short)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "tasks            12\n" in outputs[0]
    assert "Next:  fewshot evaluate outputs/runs/doses eval.tasks=2\n" in outputs[1]
    assert "Root mean squared error" in outputs[2]
    assert outputs[2].endswith("Next:  fewshot predict mine.pt FILE\n")
    one, other = (pd.read_csv(path) for path in tmp_path.glob("outputs/predictions/*/*.csv"))
    pd.testing.assert_frame_equal(one, other)
    assert [*one] == ["patient", "weight", "sex", "dose", "predicted"]
    assert not list(tmp_path.glob("outputs/predictions/*/*.png"))
