"""What the documents quote is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import config

from fewshot_cli.settings.errors import UserError

DOCS = Path(__file__).parents[1] / "docs"
QUOTED = re.findall(
    r"^\[[^\]]+\]\(([^)]+)\)\n```python\n(.*?)^```",
    (DOCS / "algorithms.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
]


def anchors(page: Path) -> set[str]:
    """What links to its headings end in."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_is_something_quoted() -> None:
    assert len(QUOTED) >= 9


@pytest.mark.parametrize(("path", "lines"), QUOTED)
def test_the_lines_stand_in_their_file(path: str, lines: str) -> None:
    assert lines in (DOCS / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.is_file()
    assert not anchor or anchor in anchors(target)


def test_the_index_names_every_page() -> None:
    named = set(re.findall(r"\]\(([^)]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert named - {"../CONTRIBUTING.md"} == {page.name for page in DOCS.glob("*.md")} - {
        "index.md"
    }


def test_what_is_said_on_a_mac() -> None:
    with pytest.raises(UserError) as refused:
        config("device=mps")
    assert f"\nfewshot: {refused.value}\n" in (DOCS / "systems.md").read_text(encoding="utf-8")
