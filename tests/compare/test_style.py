"""Tests of fewshot_cli/compare/style.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fewshot_cli.compare import style
from fewshot_cli.settings.errors import UserError


@pytest.mark.parametrize("ending", ["png", "svg", "SVG"])
def test_the_ending_chooses_the_format_and_the_same_picture_is_the_same_file(
    tmp_path: Path, ending: str
) -> None:
    contents = set()
    for number in range(2):
        figure = style.new(3, 2)
        figure.subplots().plot([1, 2], [3, 4], color=style.COLOURS[0])
        path = tmp_path / f"{number}.{ending}"
        style.save(figure, path)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    if ending == "png":
        assert Image.open(path).size == (450, 300)
    else:
        assert path.read_text().startswith("<?xml")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.jpg: expected a file that ends in \.png or \.svg"):
        style.save(style.new(), tmp_path / "x.jpg")
    assert list(tmp_path.iterdir()) == []
