from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewshot_cli.plots import hardest
from fewshot_cli.plots.trained import meta_test_tasks
from fewshot_cli.settings.compose import changed_config
from fewshot_cli.training.setup import prepare

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def last(letters: Path) -> pd.Series[float]:
    """The accuracy of each task after the last step."""
    every = pd.read_csv(letters / "test_tasks.csv")
    return every[every.adaptation_steps == every.adaptation_steps.max()].set_index("task").accuracy


def shown(figure: Figure) -> list[int]:
    said = [text.get_text() for text in figure.axes[0].texts]
    return [int(text.split()[1].rstrip(":")) for text in said if text.startswith("task ")]


def test_the_tasks_are_those_with_the_lowest_accuracy(
    letters: Path, last: pd.Series[float]
) -> None:
    tasks = shown(hardest.draw(letters))
    assert last[tasks].tolist() == sorted(last)[: hardest.TASKS]
    assert len(set(tasks)) == hardest.TASKS


def test_the_images_are_those_of_the_tasks(letters: Path) -> None:
    figure = hardest.draw(letters)
    config = changed_config(letters / "config.yaml", [], ())
    tasks = meta_test_tasks(prepare(config, ["test"]), 230)
    contents = pd.read_csv(letters / "test_contents.csv")
    numbers = shown(figure)
    assert max(numbers) >= 100  # of a later draw
    images = iter(figure.axes[0].images)
    for task in numbers:
        inside = contents[contents.task == task].reset_index(drop=True)
        for label in inside.sort_values("accuracy", kind="stable").index:
            own = torch.cat([tasks.support_x[task, [label]], tasks.query_x[task, 2 * label :][:2]])
            for pixels in own:
                drawn = np.asarray(next(images).get_array())
                assert np.array_equal(drawn, (pixels[0] * 255).round().numpy())
    assert next(images, None) is None


def test_nothing_overlaps(letters: Path) -> None:
    figure = hardest.draw(letters)
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    boxes = [each.get_window_extent(renderer) for each in [*axes.texts, *axes.images]]
    for place, box in enumerate(boxes):
        assert box.x1 < figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_of_many_classes_the_hardest_are_shown(
    letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardest, "CLASSES", 2)
    figure = hardest.draw(letters)
    heads = [text.get_text() for text in figure.axes[0].texts if text.get_text()[:5] == "task "]
    assert all(head.endswith(" right, the 2 hardest of 3 classes") for head in heads)
    assert len(figure.axes[0].images) == 2 * 3 * hardest.TASKS
