"""The pages that the function `reference/pages` serves: the reference of the API, its guides, and the OpenAPI document.

They are made when the artefacts are built: a guide is Markdown in `docs/`, and the reference is Scalar, whose one file
the package `flask-openapi-scalar` has (docs/decisions/0037). The function fills in `{{address}}` and `{{base}}`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ordering.reference.contract import ADDRESS, ASSETS, BASE, DOCUMENT, GUIDES, INDEX
from ordering_tools.documents.files import EXAMPLE_ADDRESS

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[3]
_DOCS = ROOT / "docs"
_FILES = Path(__file__).with_name("site_files")
_RENDERER = ("flask-openapi-scalar", "flask_openapi_scalar/templates/scalar/js/scalar.standalone.js")
_PAGES = {
    "start": "guides/start.md",
    "tokens": "guides/tokens.md",
    "lists": "guides/lists.md",
    "creates": "guides/creates.md",
    "errors": "guides/errors.md",
    "rate-limits": "guides/rate-limits.md",
    "webhooks": "webhooks.md",
    "lifecycles": "lifecycle.md",
    "testing": "guides/testing.md",
    "changes": "guides/changes.md",
}
"""The file below `docs/` of each guide, in the order of the menu."""

_CODE = HtmlFormatter(nowrap=True)


class SiteError(Exception):
    """The pages cannot be made; the message says why, and what to do."""


@dataclass(frozen=True)
class Guide:
    """A guide as HTML."""

    name: str
    title: str
    body: str
    sections: Sequence[tuple[str, str]]
    """The id and the title of each section, to jump to."""


def guides() -> list[Guide]:
    """Return all guides, in the order of the menu.

    Raises:
        SiteError: A guide is missing, or links to what does not exist.
    """
    return [_guide(name, _DOCS / path) for name, path in _PAGES.items()]


def sources() -> list[Path]:
    """Return the files that the pages are made from, as far as they are the project's."""
    return [*(_DOCS / path for path in _PAGES.values()), *_schemas(), _DOCS / DOCUMENT, *sorted(_FILES.iterdir())]


def write_site(folder: Path) -> None:
    """Write the pages to a folder, in place of what it has.

    Raises:
        SiteError: They cannot be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in site().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def site() -> dict[str, str]:
    """Return the text of each file of the pages, by its path.

    Raises:
        SiteError: A guide or the renderer is missing, or a guide links to what does not exist.
    """
    assets = dict(_assets())
    made = guides()
    pages = {f"{GUIDES}/{one.name}.html": _page(one, made, assets) for one in made}
    return {
        INDEX: _filled("reference.html", assets),
        DOCUMENT: _document(),
        **pages,
        **{f"{GUIDES}/{path.name}": path.read_text(encoding="utf-8") for path in _schemas()},
        **{f"{ASSETS}/{asset.name}": asset.text for asset in assets.values()},
    }


@dataclass(frozen=True)
class _Asset:
    """A script or a stylesheet."""

    name: str
    text: str

    @property
    def integrity(self) -> str:
        """The hash that a page pins it with (Subresource Integrity)."""
        return f"sha384-{base64.b64encode(hashlib.sha384(self.text.encode()).digest()).decode()}"


def _assets() -> Iterator[tuple[str, _Asset]]:
    """Yield the assets by the name of their file without a hash."""
    package, path = _RENDERER
    renderer = Path(str(distribution(package).locate_file(path)))
    if not renderer.is_file():
        raise SiteError(f"{package} has no {path} any more: look where its new version has it, or pin the last one")
    texts = {"scalar.js": (_FILES / "scalar-licence.txt").read_text(encoding="utf-8") + renderer.read_text("utf-8")}
    texts |= {name: _read(name) for name in ("style.css", "reference.js", "guide.js", "icon.svg")}
    for name, text in texts.items():
        stem, suffix = name.split(".")
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        yield name, _Asset(f"{stem}-{digest}.{suffix}", text)


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _filled(name: str, assets: Mapping[str, _Asset], **texts: str) -> str:
    """Fill in a page: `$style_css` becomes the address of the asset, and `$style_css_hash` its integrity."""
    for file, asset in assets.items():
        variable = file.replace(".", "_")
        texts |= {variable: f"{BASE}/{ASSETS}/{asset.name}", f"{variable}_hash": asset.integrity}
    return Template(_read(name)).substitute(texts)


def _document() -> str:
    """Return the OpenAPI document with the address of the API, and without spaces."""
    document: dict[str, Any] = json.loads((_DOCS / DOCUMENT).read_text(encoding="utf-8"))
    document["servers"] = [{"url": ADDRESS}]
    for scheme in document["components"]["securitySchemes"].values():
        for flow in scheme.get("flows", {}).values():
            flow["tokenUrl"] = ADDRESS + flow["tokenUrl"]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace(EXAMPLE_ADDRESS, ADDRESS)


def _schemas() -> list[Path]:
    """Return the schemas of events, which the guide to webhooks links to."""
    return sorted((_DOCS / "events").glob("*.json"))


def _page(guide: Guide, every: Sequence[Guide], assets: Mapping[str, _Asset]) -> str:
    menu = []
    for one in every:
        sections = "".join(f'<li><a href="#{escape(key)}">{escape(title)}</a></li>' for key, title in one.sections)
        current = ' aria-current="page"' if one is guide else ""
        below = f"<ul>{sections}</ul>" if one is guide and sections else ""
        menu.append(f'<li><a href="{BASE}/{GUIDES}/{one.name}"{current}>{escape(one.title)}</a>{below}</li>')
    return _filled("guide.html", assets, title=escape(guide.title), menu="".join(menu), body=guide.body)


def _guide(name: str, path: Path) -> Guide:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SiteError(f"the guide {name} cannot be read: {error}") from error
    markdown = MarkdownIt("commonmark", {"highlight": _highlighted}).enable("table")
    # The tables below them have what the drawings show.
    tokens = [one for one in markdown.parse(text) if one.info != "mermaid" and not one.content.startswith("<!--")]
    titles: list[tuple[str, str, str]] = []
    taken: set[str] = set()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            key = _key(inline, taken)
            opening.attrSet("id", key)
            titles.append((opening.tag, key, _plain(inline)))
        for token in inline.children or ():
            if token.type == "link_open":
                token.attrSet("href", _address(path, str(token.attrs["href"])))
    body = markdown.renderer.render(tokens, markdown.options, {}).replace(EXAMPLE_ADDRESS, ADDRESS)
    sections = [(key, title) for tag, key, title in titles if tag == "h2"]
    return Guide(name, titles[0][2], _in_frames(body), sections)


def _plain(inline: Token) -> str:
    return "".join(token.content for token in inline.children or () if token.type in {"text", "code_inline"})


def _key(inline: Token, taken: set[str]) -> str:
    """Return the id of a heading, as GitHub makes it, so that one link is right in both places."""
    plain = re.sub(r"[^\w\- ]", "", _plain(inline).lower()).strip().replace(" ", "-")
    key = next(one for one in (plain, *(f"{plain}-{number}" for number in range(1, 100))) if one not in taken)
    taken.add(key)
    return key


def _address(page: Path, link: str) -> str:
    """Return what a guide's link becomes on the page.

    Raises:
        SiteError: It leads to a file that is not among the pages.
    """
    path, hash_sign, section = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link
    target = (page.parent / path).resolve()
    if target == _DOCS / DOCUMENT:
        return f"{BASE}/{DOCUMENT}"
    if target in _schemas():
        return f"{BASE}/{GUIDES}/{target.name}"
    for name, file in _PAGES.items():
        if target == _DOCS / file:
            return f"{BASE}/{GUIDES}/{name}{hash_sign}{section}"
    raise SiteError(f"{page} links to {link}, which is no guide: link to a guide, or say it in words")


def _highlighted(code: str, language: str, _: str) -> str:
    """Return code as HTML; what has no known language stays as it is."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code)
    # The lexer drops line breaks in front.
    return str(highlight(code, lexer, _CODE))


def _in_frames(html: str) -> str:
    """Let wide tables and code scroll by themselves, also by keyboard."""
    html = html.replace("<table>", '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>')
    html = html.replace("</table>", "</table></div>")
    return html.replace("<pre>", '<pre class="code" tabindex="0">')
