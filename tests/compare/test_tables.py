"""Tests of fewshot_cli/compare/tables.py: words from files stay words in every format."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from fake_runs import fake, sweep
from markdown_it import MarkdownIt

from fewshot_cli.compare import tables
from fewshot_cli.compare.comparison import compare
from fewshot_cli.compare.runs_read import find, read

MARKUP = [
    "[red]x[/red]",
    "a|b",
    "<script>alert(1)</script>",
    "`x`",
    "*x*",
    "[x](y)",
    "_x_",
    "~~x~~",
    "&lt;",
    "\\",
]


def words(folder: Path) -> list[tables.Words]:
    comparison = compare([read(path) for path in find([folder])])
    return tables.words(comparison, comparison.table(), None)


def with_names(folder: Path, *values: str) -> Path:
    for number, value in enumerate(values):
        fake(folder / str(number), {"model.name": value})
    return folder


@pytest.mark.parametrize("value", MARKUP)
def test_the_terminal_shows_markup_as_it_is(
    tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.show(words(with_names(tmp_path, value, "mlp")))
    assert value in capsys.readouterr().out


@pytest.mark.parametrize("value", MARKUP)
def test_markdown_shows_markup_as_it_is_and_keeps_the_cells(tmp_path: Path, value: str) -> None:
    text = tables.markdown(words(with_names(tmp_path, value, "mlp")))
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    models = re.findall(r"<tr>\n<td>(.*?)</td>", page)
    assert sorted(map(html.unescape, models)) == sorted([value, "mlp"])
    assert not re.findall("<(?!/?(p|strong|table|thead|tbody|tr|th|td)[ >])", page)
    assert page.count("<td") == 2 * page.count("<th ") + 2 * page.count("<th>")


def test_lines_and_control_characters_cannot_move_the_cursor_or_end_a_row(tmp_path: Path) -> None:
    found = words(with_names(tmp_path, "a\nb\r\x1b[31m\u202ec", "mlp"))
    shown = {row[0] for row in found[0].rows}
    assert shown == {"a b ?[31m?c", "mlp"}


def test_a_long_word_is_cut() -> None:
    assert tables.word("x" * 1000) == "x" * 199 + "…"


def test_an_error_of_a_failed_run_is_plain_text_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(tmp_path / "a", status="failed", error="[bold]no[/bold] | <b>")
    found = words(tmp_path)
    assert found[-1].title == "Not averaged in"
    tables.show(found)
    assert "[bold]no[/bold] | <b>" in capsys.readouterr().out
    assert "\\[bold\\]no\\[/bold\\] \\| &lt;b>" in tables.markdown(found)


def test_rates_are_per_cent_and_differences_have_a_sign(tmp_path: Path) -> None:
    (table,) = words(sweep(tmp_path / "s"))
    assert table.header == [
        *("algo", "inner_lr", "seeds", "accuracy", "± seeds", "± tasks"),
        *("difference", "± 95 %", "verdict", "seconds"),
    ]
    best, second = table.rows[:2]
    assert best[:3] == ["maml", "0.4", "3"]
    assert best[3].startswith("80.0")
    assert best[3].endswith("%")
    assert best[6:9] == ["", "", "best"]
    assert second[6].startswith("-")
    assert table.texts == [True, *[False] * 7, True, False]


@pytest.mark.parametrize(
    ("value", "column", "measure", "shown"),
    [
        (0.5, "mean", "accuracy", "50.00%"),
        (0.5, "mean", "loss", "0.5000"),
        (0.5, "difference", "loss", "+0.5000"),
        (float("nan"), "ci95_seeds", "accuracy", ""),
        (float("inf"), "mean", "loss", "not finite"),
        (0.00012, "p", "accuracy", "0.00012"),
        (None, "algo.inner_lr", "accuracy", "null"),
        (True, "algo.first_order", "accuracy", "true"),
    ],
)
def test_cells(value: object, column: str, measure: str, shown: str) -> None:
    assert tables.cell(value, column, measure) == shown


def test_of_a_long_table_the_terminal_shows_the_first_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = words(with_names(tmp_path, *(f"model{n}" for n in range(60))))
    tables.show(found)
    out = capsys.readouterr().out
    assert "and 10 more; --csv FILE has all" in out
    assert out.count("model") == 51  # 50 rows and the header
