"""The pages that the build makes: guides from Markdown, the reference, and the document with the stack's address."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ordering.reference.contract import ADDRESS, BASE
from ordering_tools.documents import error_guide
from ordering_tools.documents.site import SiteError, guides, site
from ordering_tools.documents.site import _guide as made_from

LAMBDAS_LIMIT = 6_291_556
"""Bytes that a function's response may have."""


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.found if (value := attributes.get(name))]


@cache
def pages() -> dict[str, str]:
    return site()


HTML = [name for name in pages() if name.endswith(".html")]


def target(link: str) -> tuple[str, str]:
    """The file and the section that a link of a page leads to."""
    path, _, section = link.removeprefix(f"{BASE}/").partition("#")
    known = {"": "index.html", "docs": "docs/start.html"}
    return known.get(path, path if path in pages() else f"{path}.html"), section


@pytest.mark.parametrize("page", HTML)
def test_links_lead_to_pages(page: str) -> None:
    """Every link of a page leads to a page of the site and to a section of it, or to another host by https."""
    elements = Elements(pages()[page])
    dead = []
    for link in [*elements.values("href"), *elements.values("src")]:
        if link.startswith("https://"):
            continue
        file, section = (page, link[1:]) if link.startswith("#") else target(link)
        if file not in pages() or (section and section not in Elements(pages()[file]).values("id")):
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("page", HTML)
def test_pages_load_only_what_is_pinned(page: str) -> None:
    """A page has no inline script or style, loads nothing from another host, and pins what it loads by its hash."""
    elements = Elements(pages()[page]).found
    loaded = [one for tag, one in elements if tag == "script" and one.get("type") != "application/json"]
    loaded += [one for tag, one in elements if tag == "link" and one.get("rel") == "stylesheet"]

    assert loaded
    for one in loaded:
        name = (one.get("src") or one.get("href") or "").removeprefix(f"{BASE}/")
        digest = base64.b64encode(hashlib.sha384(pages()[name].encode()).digest()).decode()
        assert one["integrity"] == f"sha384-{digest}"
    assert not [one for _, one in elements for name in one if name.startswith("on") or name == "style"]


def test_every_asset_fits_a_response() -> None:
    """The renderer, the largest file, fits into a response of Lambda, in which quotes and lines are escaped."""
    largest = max(pages().values(), key=len)

    assert "@scalar/api-reference" in largest
    assert "Copyright (c) 2023-present Scalar" in largest[:200]
    assert len(json.dumps({"body": largest, "headers": "x" * 2_000})) < LAMBDAS_LIMIT


def test_the_document_has_the_address_of_the_api() -> None:
    """Servers, the token endpoint, and the guides that errors lead to are at the address that is filled in."""
    document = json.loads(pages()["openapi.json"])

    assert document["servers"] == [{"url": ADDRESS}]
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == f"{ADDRESS}/connect/token"
    assert document["externalDocs"]["url"] == f"{ADDRESS}/docs"
    assert f'"type":"{ADDRESS}/docs/errors#not-found"' in pages()["openapi.json"]
    assert "api.example.com" not in pages()["openapi.json"]


def test_guides_have_the_address_of_the_api() -> None:
    """Where the text of a guide has an example of an address, its page has the API's own."""
    assert f"URL={ADDRESS}" in re.sub("<[^>]+>", "", pages()["docs/start.html"])
    assert "api.example.com" not in pages()["docs/start.html"]


def test_a_link_to_what_is_no_guide_is_refused(tmp_path: Path) -> None:
    """A guide cannot link to a file of the repository that is not among the pages."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n[the code](../template.yaml)\n")

    with pytest.raises(SiteError, match=r"links to \.\./template\.yaml, which is no guide"):
        made_from("page", page)
    with pytest.raises(SiteError, match="the guide other cannot be read"):
        made_from("other", tmp_path / "other.md")


def test_sections_of_guides() -> None:
    """Headings have GitHub's ids, each once, and the menu has those of the second level."""
    (found,) = (one for one in guides() if one.name == "creates")

    assert found.title == "Create once"
    assert ("what-to-send-again", "What to send again") in found.sections
    ids = Elements(found.body).values("id")
    assert len(ids) == len(set(ids))


def test_every_kind_of_error_has_a_section() -> None:
    """The guide to errors has a section for each kind: what contracts link to is there."""
    ids = Elements(pages()["docs/errors.html"]).values("id")

    assert error_guide.sections() <= set(ids)
    assert len(ids) == len(set(ids))


def test_words_and_code_of_errors_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of error without words, or words without a kind, is named."""
    known = dict(error_guide._WORDS)
    changed = {**known["deals"], "teapot": "…"}
    del changed["blank"]
    monkeypatch.setattr(error_guide, "_WORDS", {**known, "deals": changed})

    with pytest.raises(ValueError, match="differ in blank, teapot"):
        error_guide.guide()
