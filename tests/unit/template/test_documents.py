"""The documents: links lead to existing pages and headings, and decisions begin with status and date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.gateway import ROOT

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "tests" / "README.md",
]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every relative link leads to an existing file and heading."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_decisions(page: Path) -> None:
    """A decision has its number in the title, followed by its status and date."""
    title, _, first, *_ = page.read_text(encoding="utf-8").splitlines()

    assert title.startswith(f"# {int(page.stem[:4])}. ")
    assert re.match(r"(Accepted|Superseded), \d{4}-\d{2}-\d{2}\. \S", first)
