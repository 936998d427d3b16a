"""The real command: each picture, and what a wrong input costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from helpers import TINY, config, little_folder
from PIL import Image

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.training.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Two runs, on letters and on sinusoids, and a folder of images."""
    made = tmp_path_factory.mktemp("runs")
    little_folder(made / "photos")
    for name, words in {
        "letters": ["model=mlp", *TINY],
        "waves": ["data=sinusoid", "model=mlp", *TINY, "ways=1", "record_paths=true"],
    }.items():
        chosen = config(*words)
        chosen.cache_dir = str(cache_dir)
        run(chosen, RunDirectory(made / name))
    return made


PICTURES = {
    "episode.png": (["episode", "ways=4"], 688),
    "p.png": (["episode", "eval.queries=1", "--predictions", "letters", "--out", "p.png"], 960),
    "paths.png": (["paths", "waves"], 960),
    "new/p.svg": (["paths", "waves", "waves", "--plane", "random", "--out", "new/p.svg"], None),
    "sinusoid.png": (["sinusoid", "waves"], 1440),
    "curves.png": (["curves", "letters"], 1440),
    "confusion.png": (["confusion", "letters"], 1440),
    "reliability.png": (["reliability", "letters"], 960),
    "h.svg": (["hardest", "letters", "--out", "h.svg"], None),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_opens(fewshot: Command, folder: Path, name: str) -> None:
    words, width = PICTURES[name]
    done = fewshot("plot", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (0, f"Picture: {name}\n"), done.stderr
    ours = ("Paths: ", "Rendering the letters")
    assert all(line.startswith(ours) for line in done.stderr.splitlines()), done.stderr
    if width is None:
        assert "<svg" in (folder / name).read_text()
    else:
        with Image.open(folder / name) as picture:
            picture.load()
            assert picture.width == width


ALL = "data.split=test"
WRONG = {
    "ending": (["paths", "waves", "--out", "x.jpg"], "x.jpg: expected a file that ends in .png or"),
    "ending first": (["curves", "nowhere", "--out", "x"], "x: expected a file that ends in .png"),
    "picture": (["path", "waves"], "No such command 'path'. Did you mean 'paths'?"),
    "no run": (["paths"], "Missing argument"),
    "no such run": (["sinusoid", "nowhere"], "nowhere: expected a run directory, which has a conf"),
    "no metrics": (["curves", "nowhere"], "nowhere: expected a run directory, which has a metrics"),
    "no path": (["paths", "letters"], "letters: has no recorded path; expected a run of"),
    "plane": (["paths", "waves", "--plane", "pcaa"], "--plane pcaa: expected pca"),
    "no images": (["episode", "data=sinusoid", "model=mlp"], "data=sinusoid: has no images"),
    "no sinusoid": (["sinusoid", "letters"], "letters: data=glyphs; expected a run of data=sinus"),
    "no training": (
        ["episode", "--predictions", "letters", "data=folder", "data.root=photos", ALL],
        "data.split=test: leaves algo=maml no classes to train on",
    ),
    "no classes": (
        ["confusion", "waves"],
        "waves: data=sinusoid has no classes; expected a run of",
    ),
    "no reliability": (["reliability", "waves"], "waves: data=sinusoid has no classes"),
    "no hardest": (["hardest", "nowhere"], "nowhere: expected a run directory, which has a conf"),
    "override": (["episode", "shotss=1"], "shotss: no such key; expected shots"),
    "override of a run": (
        ["episode", "--predictions", "letters", "seed=5"],
        "seed: cannot be changed",
    ),
    "no run to predict": (["episode", "--predictions", "x"], "x: expected a run directory"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    fewshot: Command, folder: Path, case: str
) -> None:
    words, message = WRONG[case]
    before = sorted(folder.rglob("*"))
    done = fewshot("plot", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("fewshot: ")
    assert message in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_plot_alone_shows_its_pictures(fewshot: Command) -> None:
    shown = fewshot("plot")
    assert shown.returncode == 0
    assert all(f" {name} " in shown.stdout for name in ("episode", "paths", "sinusoid", "curves"))
    assert shown.stdout == fewshot("plot", "--help").stdout
