"""Letters as their recipients see them."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from ordering.aws.ses import Letter

HOSTILE = '<script>alert("x")</script>&amp;\r\nBcc: eve@example.com\u202e\u2028\x00'
"""A partner's text that would be markup, another header and another direction, if it were not escaped."""

SHOWN = '<script>alert("x")</script>&amp; Bcc: eve@example.com'
"""`HOSTILE` as letters show it."""


class Page(HTMLParser):
    """What a reader sees of HTML: its texts, its links, and whether there is anything that does something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self._open: list[str | None] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self._open.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.links.append((data, str(self._open[-1])))
        self.texts += [line for line in data.splitlines() if line.strip()]


def both(letter: Letter) -> tuple[list[str], list[str]]:
    """The lines of both forms that are not empty."""
    text = [one for one in letter.text.splitlines() if one.strip("= ")]
    return text, Page(letter.html).texts
