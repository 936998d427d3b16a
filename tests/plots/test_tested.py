from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewshot_cli.plots import confusion, hardest
from fewshot_cli.plots.confusion import COLUMNS
from fewshot_cli.plots.tested import MetaTest, fit
from fewshot_cli.settings.errors import UserError


@pytest.mark.filterwarnings("ignore:Glyph .* missing")
@pytest.mark.parametrize("name", ["W" * 60, "iiii" * 20, "a b", "$x^2$" * 30, "甲骨文字" * 20])
def test_a_name_fits_into_its_room_and_keeps_its_ends(name: str) -> None:
    found = fit(name, 8, 1.5)
    figure = Figure(dpi=72)
    drawn = figure.text(0, 0, found, fontsize=8, parse_math=False)
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert drawn.get_window_extent(renderer).width / 72 < 1.55
    start, cut, end = found.partition("…")
    assert name.startswith(start)
    assert name.endswith(end)
    assert bool(cut) is (name != "a b")
    assert len(found) >= 10 or not cut


def test_names_are_words_and_not_missing_numbers(letters: Path, tmp_path: Path) -> None:
    run = shutil.copytree(letters, tmp_path / "run")
    tested = MetaTest(run)
    rows = "class,judged_as,count,queries,tasks\nNA,nan,1,2,3\n1.0,001,4,5,6\n"
    tested.directory.test_confusions.write_bytes(rows.encode() + b"\xff,true,1,2,3\n")
    table = tested.read(tested.directory.test_confusions, COLUMNS)
    assert table["class"].tolist() == ["NA", "1.0", "\udcff"]
    assert table.judged_as.tolist() == ["nan", "001", "true"]
    assert table["count"].sum() == 6


def test_a_test_of_an_earlier_release_says_the_way_out(letters: Path, tmp_path: Path) -> None:
    run = shutil.copytree(letters, tmp_path / "run")
    (run / "test_confusions.csv").unlink()
    tested = MetaTest(run)
    with pytest.raises(UserError, match=r"has no test_confusions\.csv; .* `fewshot evaluate "):
        tested.read(tested.directory.test_confusions, COLUMNS)
    for content in (b"", b"\x00", b"task,group,class\n", b"task,accuracy\n1,high\n"):
        tested.directory.test_tasks.write_bytes(content)
        with pytest.raises(UserError, match=r"tasks\.csv: expected the columns task, acc"):
            tested.read(tested.directory.test_tasks, ["task", "accuracy"])


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("draw", "name"),
    [(confusion.draw, "test_confusions.csv"), (hardest.draw, "test_contents.csv")],
)
def test_other_data_than_was_tested_is_refused(
    letters: Path, tmp_path: Path, draw: Callable[[Path], Figure], name: str
) -> None:
    path = shutil.copytree(letters, tmp_path / "run") / name
    path.write_text(path.read_text().replace("U+", "V+"))
    with pytest.raises(UserError, match="which the data does not have there now; expected the sam"):
        draw(path.parent)
