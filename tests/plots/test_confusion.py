from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewshot_cli.plots import confusion
from fewshot_cli.settings.compose import changed_config
from fewshot_cli.training.setup import prepare

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def table(letters: Path) -> pd.DataFrame:
    every = pd.read_csv(letters / "test_confusions.csv")
    return every[every["class"] != every.judged_as]


def bars(figure: Figure) -> list[int]:
    return [round(bar.get_width()) for bar in figure.axes[1].patches]


def test_the_bars_are_the_most_frequent_pairs(letters: Path, table: pd.DataFrame) -> None:
    figure = confusion.draw(letters)
    counts = sorted(table["count"], reverse=True)[: confusion.MOST]
    assert bars(figure) == counts
    said = [text.get_text() for text in figure.axes[0].texts]
    assert f"; the 12 most frequent of {len(table):,} pairs" in said[1]
    names = [tuple(text.split("\n")) for text in said if "U+" in text]
    pairs = ["/".join(name) for name in names]
    shown = list(zip(pairs[::2], pairs[1::2], strict=True))
    known = table.set_index(["class", "judged_as"])["count"]
    assert [known[pair] for pair in shown] == counts
    assert len(set(shown)) == confusion.MOST


def test_the_images_are_of_the_classes_that_are_named(letters: Path) -> None:
    figure = confusion.draw(letters)
    source = prepare(changed_config(letters / "config.yaml", [], ()), ["test"]).source
    names = [
        "/".join(t.get_text().split("\n")) for t in figure.axes[0].texts if "U+" in t.get_text()
    ]
    assert len(names) == len(figure.axes[0].images) == 2 * confusion.MOST
    for name, image in zip(names, figure.axes[0].images, strict=True):
        place = source.names["test"].index(name)
        first = source.images["test"][place, 0, 0].numpy()
        assert np.array_equal(np.asarray(image.get_array()), first)


def test_nothing_overlaps(letters: Path) -> None:
    figure = confusion.draw(letters)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [each.get_window_extent(renderer) for each in figure.axes[0].texts]
    boxes += [each.get_window_extent(renderer) for each in figure.axes[0].images]
    boxes += [each.get_window_extent(renderer) for each in figure.axes[1].texts]
    for place, box in enumerate(boxes):
        assert box.x1 < figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_where_all_is_right_it_says_so(letters: Path, tmp_path: Path) -> None:
    run = shutil.copytree(letters, tmp_path / "run")
    path = run / "test_confusions.csv"
    every = pd.read_csv(path)
    every[every["class"] == every.judged_as].to_csv(path, index=False)
    figure = confusion.draw(run)
    assert len(figure.axes) == 1
    assert figure.axes[0].texts[1].get_text().startswith("0 of ")
