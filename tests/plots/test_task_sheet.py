from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import TINY, choosing, config, names
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fewshot_cli.compare import style
from fewshot_cli.data.task import TaskShape
from fewshot_cli.plots import task_sheet
from fewshot_cli.plots.trained import restored
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.schema import Config
from fewshot_cli.training.run import run
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import prepare


def setting(cache_dir: Path, *overrides: str) -> Config:
    chosen = config("model=mlp", *TINY, *overrides)
    chosen.cache_dir = str(cache_dir)
    return chosen


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_images_are_those_of_the_tasks(cache_dir: Path) -> None:
    setup = prepare(setting(cache_dir, "shots=2", "queries=1"))
    figure = task_sheet.draw(setup, predicts=False)
    images = figure.axes[0].images
    # Three ways; 2 support and 1 query image of a class in meta-train, 2 and 2 in meta-test.
    assert len(images) == 3 * 3 * (2 + 1) + 2 * 3 * (2 + 2)
    train = setup.train_tasks(generator(setup.config.seed, "train tasks"))
    for image, pixels in zip(images[:6], train.support_x[0], strict=True):
        assert torch.equal(torch.tensor(image.get_array().data), pixels[0])
    test = setup.source.sample("test", 100, TaskShape(3, 2, 2), generator(0, "test tasks"))
    assert torch.equal(torch.tensor(images[-1].get_array().data), test.query_x[1, -1, 0])
    assert texts(figure).count("2") == len(images) / 3
    assert not [text for text in texts(figure) if "✓" in text or "✗" in text]


@pytest.mark.slow
@pytest.mark.parametrize("algo", names("algo"))
def test_predictions_are_those_of_the_meta_test(tmp_path: Path, cache_dir: Path, algo: str) -> None:
    chosen = setting(cache_dir, f"algo={algo}")
    directory = RunDirectory(tmp_path)
    run(chosen, directory)
    figure = task_sheet.draw(restored(tmp_path, chosen), predicts=True)
    said = [text for text in texts(figure) if text.endswith(" right")]
    table = pd.read_csv(directory.test_tasks).set_index(["task", "adaptation_steps"]).accuracy
    steps = chosen.algo.eval_steps
    expected = []
    for task in range(2):
        expected += [f"before adaptation: {table[task, 0]:.1%} of 6 right"]
        if steps:
            expected += [f"after {steps} steps: {table[task, steps]:.1%} of 6 right"]
    assert said == expected


def test_right_and_wrong_differ_in_sign_and_colour(tmp_path: Path, cache_dir: Path) -> None:
    chosen = setting(cache_dir, "algo=maml")
    directory = RunDirectory(tmp_path)
    run(chosen, directory)
    figure = task_sheet.draw(restored(tmp_path, chosen), predicts=True)
    marked = [text for text in figure.axes[0].texts if text.get_text()[0] in "✓✗"]
    # All queries of both tasks are shown, before and after.
    assert len(marked) == 2 * 2 * 6
    right = [text for text in marked if text.get_text()[0] == "✓"]
    table = pd.read_csv(directory.test_tasks)
    some = table[(table.task < 2) & table.adaptation_steps.isin([0, chosen.algo.eval_steps])]
    assert len(right) == round(some.accuracy.sum() * 6)
    colours = {text.get_text()[0]: to_hex(str(text.get_color())).upper() for text in marked}
    assert colours.items() <= {"✓": style.COLOURS[0], "✗": style.COLOURS[1]}.items()


@pytest.mark.parametrize(("invert", "cmap"), [("true", "gray_r"), ("false", "gray")])
def test_grey_images_look_as_in_their_files(
    tmp_path: Path, cache_dir: Path, invert: str, cmap: str
) -> None:
    grey = ["data.colour=grey", f"data.invert={invert}"]
    setup = prepare(setting(cache_dir, *choosing("folder", tmp_path), *grey))
    images = task_sheet.draw(setup, predicts=False).axes[0].images
    assert {image.get_cmap().name for image in images} == {cmap}


def test_many_ways_and_shots_go_on_in_further_rows(cache_dir: Path) -> None:
    figure = task_sheet.draw(prepare(setting(cache_dir, "ways=12", "shots=7")), predicts=False)
    assert any("support set (5 of 7 a class)" in text for text in texts(figure))
    assert texts(figure).count("11") == 3 * (5 + 1) + 2 * (5 + 2)
    boxes = [tuple(image.get_extent()) for image in figure.axes[0].images]
    assert len(set(boxes)) == len(boxes)
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert all(left < box[0] < box[1] < right and top < box[3] < box[2] < bottom for box in boxes)
