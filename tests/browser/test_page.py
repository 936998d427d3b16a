"""The page of `compare --html` in a headless Chromium, which `make browser` installs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import sweep

from fewshot_cli.compare import plots, tables
from fewshot_cli.compare.comparison import compare
from fewshot_cli.compare.page import page
from fewshot_cli.compare.runs_read import find, read

pytestmark = pytest.mark.browser
Open = Callable[..., Any]
SHOWN = "rows => rows.filter(row => !row.hidden).map(row => [...row.cells].map(c => c.textContent))"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """The page of a sweep in a window of this width; whatever the browser complains of fails."""
    from playwright.sync_api import sync_playwright

    comparison = compare([read(path) for path in find([sweep(tmp_path / "s")])])
    words = tables.words(comparison, comparison.table(), None)
    drawn = page(comparison.settings, "my sweep", words, plots.draw(comparison))
    (tmp_path / "page.html").write_text(drawn, encoding="utf-8")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        assert path is not None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def go(width: int, scheme: str = "light") -> Any:
            tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto((tmp_path / "page.html").as_uri())
            return tab

        yield go
        browser.close()
    assert complaints == []


def test_columns_sort_and_filter(opened: Open) -> None:
    tab = opened(1200)
    assert tab.title() == "glyphs, mlp, 5-way 1-shot"
    assert tab.text_content("p").startswith("my sweep, 20")

    def column(at: int) -> list[str]:
        return [row[at] for row in tab.eval_on_selector_all("tbody tr", SHOWN)]

    heads = tab.eval_on_selector_all("th button", "all => all.map(one => one.textContent)")
    accuracy, algo = heads.index("accuracy"), heads.index("algo")
    before = column(accuracy)
    assert len(before) == 4
    tab.click("th button >> text=accuracy")
    assert column(accuracy) == sorted(before, key=lambda text: float(text.rstrip("%")))
    assert tab.get_attribute("th >> text=accuracy >> xpath=..", "aria-sort") == "ascending"
    tab.click("th button >> text=accuracy")
    assert column(accuracy) == before
    tab.click("th button >> text=difference")
    assert column(heads.index("difference"))[-1] == ""  # of the best, which has none
    tab.fill("[aria-label='filter algo']", "FOM")
    assert column(algo) == ["fomaml", "fomaml"]
    tab.fill("[aria-label='filter accuracy']", "> 70")
    assert len(column(algo)) == 1
    tab.fill("[aria-label='filter algo']", "")
    assert all(float(text.rstrip("%")) > 70 for text in column(accuracy))


def test_a_telephone_sees_letters_of_their_size_and_nothing_beyond_its_edge(opened: Open) -> None:
    tab = opened(390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    sizes = tab.eval_on_selector_all("img", "all => all.map(i => i.clientWidth / i.naturalWidth)")
    assert len(sizes) >= 3
    assert min(sizes) > 0.9


def test_pictures_follow_the_dark(opened: Open) -> None:
    for scheme, expected in {"light": "none", "dark": "invert(1) hue-rotate(180deg)"}.items():
        tab = opened(1200, scheme)
        found = tab.eval_on_selector_all("img", "all => all.map(i => getComputedStyle(i).filter)")
        assert {*found} == {expected}
