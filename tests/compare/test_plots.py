"""Tests of fewshot_cli/compare/plots.py and page.py on runs that stand on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_runs import fake, sweep

from fewshot_cli.compare import plots, style, tables
from fewshot_cli.compare.comparison import Comparison, compare
from fewshot_cli.compare.page import page
from fewshot_cli.compare.runs_read import find, read
from fewshot_cli.settings.measure import ACCURACY, LOSS


def compared(folder: Path) -> Comparison:
    return compare([read(path) for path in find([folder])])


def drawn(folder: Path) -> dict[str, plots.Picture]:
    return {picture.name: picture for picture in plots.draw(compared(folder))}


def test_a_sweep_over_one_number_has_a_curve_for_each_algorithm(tmp_path: Path) -> None:
    pictures = drawn(sweep(tmp_path))
    assert {"accuracy", "response", "cost"} <= pictures.keys()
    (axes,) = pictures["response"].figure.axes
    assert axes.get_xlabel() == "inner_lr"
    assert sorted(axes.get_legend_handles_labels()[1]) == ["fomaml", "maml"]
    (axes,) = pictures["accuracy"].figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "maml, inner_lr 0.4"
    assert len(labels) == 4


def test_two_numbers_make_a_map(tmp_path: Path) -> None:
    for rate in (0.1, 0.4):
        for steps in (1, 5):
            settings = {"algo.inner_lr": rate, "algo.inner_steps": steps}
            fake(tmp_path / f"{rate}_{steps}", settings)
    axes = drawn(tmp_path)["response"].figure.axes[0]
    assert {axes.get_xlabel(), axes.get_ylabel()} == {"inner_lr", "inner_steps"}
    assert len(axes.texts) == 4


def test_without_a_number_there_is_no_response(tmp_path: Path) -> None:
    fake(tmp_path / "a", {"algo.name": "maml"})
    fake(tmp_path / "b", {"algo.name": "reptile"})
    assert "response" not in drawn(tmp_path)


def test_forty_settings_and_one_can_be_drawn(tmp_path: Path) -> None:
    for number in range(40):
        fake(tmp_path / str(number), {"algo.inner_lr": 0.01 * (number + 1)})
        if number == 0:
            assert "accuracy" in drawn(tmp_path)
    for name, picture in drawn(tmp_path).items():
        style.save(picture.figure, tmp_path / f"{name}.png")


def test_an_interval_of_squared_errors_ends_at_nothing(tmp_path: Path) -> None:
    """And no point of any picture lies on its frame."""
    error = SimpleNamespace(measure=LOSS, mean=0.1)
    right = SimpleNamespace(measure=ACCURACY, mean=0.1)
    assert plots._interval([error, right], [0.3, 0.3]) == [[0.1, 0.3], [0.3, 0.3]]  # type: ignore[list-item]
    for name, picture in drawn(sweep(tmp_path)).items():
        picture.figure.draw_without_rendering()
        for axes in picture.figure.axes:
            (left, right_end), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
            for line in axes.lines:
                x, y = (np.asarray(each, float) for each in line.get_data())
                assert ((x > left) & (x < right_end)).all(), name
                assert ((y > low) & (y < high)).all(), name


HOSTILE = "<script>alert(1)</script> $x^{$ `|`"


def test_what_comes_from_files_is_text_on_the_page(tmp_path: Path) -> None:
    fake(tmp_path / "a", {"algo.name": HOSTILE})
    fake(tmp_path / "b" / HOSTILE.replace("/", "_"), {"algo.name": "maml"})
    comparison = compared(tmp_path)
    words = tables.words(comparison, comparison.table(), None)
    html = page(comparison.settings, HOSTILE, words, plots.draw(comparison))
    assert html.count("<script") == 1  # its own
    assert "&lt;script&gt;alert(1)" in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_same_comparison_is_the_same_page(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    pages = []
    for _ in range(2):
        comparison = compared(folder)
        words = tables.words(comparison, comparison.table(), None)
        pages.append(page(comparison.settings, "s", words, plots.draw(comparison)))
    assert pages[0] == pages[1]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--plot", "--html"])
def test_the_command_writes_them_without_torch(tmp_path: Path, option: str) -> None:
    sweep(tmp_path / "s")
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise ImportError('no torch')")
    code = "import sys; sys.path.insert(0, 'broken'); from fewshot_cli.app import main; main()"
    place = "out" if option == "--plot" else "out.html"
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", "s", option, place],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Written: " in done.stderr
    made = tmp_path / place
    assert made.is_file() if option == "--html" else (made / "accuracy.png").is_file()
