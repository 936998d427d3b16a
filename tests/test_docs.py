"""What the documents quote is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import config

from fewshot_cli.config import UserError

DOCS = Path(__file__).parents[1] / "docs"
QUOTED = re.findall(
    r"^\[[^\]]+\]\(([^)]+)\)\n```python\n(.*?)^```",
    (DOCS / "algorithms.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
LINKS = [
    (page.name, link)
    for page in sorted(DOCS.glob("*.md"))
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
]


def test_there_is_something_quoted() -> None:
    assert len(QUOTED) >= 9


@pytest.mark.parametrize(("path", "lines"), QUOTED)
def test_the_lines_stand_in_their_file(path: str, lines: str) -> None:
    assert lines in (DOCS / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page: str, link: str) -> None:
    assert (DOCS / link).is_file(), page


def test_what_is_said_on_a_mac() -> None:
    with pytest.raises(UserError) as refused:
        config("device=mps")
    assert f"\nfewshot: {refused.value}\n" in (DOCS / "systems.md").read_text(encoding="utf-8")
