"""The blocks that letters consist of; each is written as plain text and as HTML.

Letters show text that partners wrote into orders. All of it is escaped in HTML, and `one_line` keeps it on one line.
Both forms have the same content; if they are too large together, the letter has the text only. The HTML needs no style
sheet, script or image, and fits the width of a phone.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from ordering.aws.ses import Letter
from ordering.values import Value

BYTES_AT_MOST = 7 * 1024 * 1024
"""Bytes of both forms together. Base64 adds a third, and SES accepts 10 MB after that."""

_PAGE = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n</head>\n'
    '<body style="margin:0 auto;padding:16px;max-width:640px;font:16px/1.5 sans-serif;overflow-wrap:anywhere">\n'
    "{body}\n</body>\n</html>\n"
)
_CODES = '<pre style="font:15px/1.6 monospace;white-space:pre-wrap">{codes}</pre>'

# Characters that change the direction of a line, and so how it reads.
_DIRECTION_CHANGES = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Heading(Value):
    """The heading of a letter."""

    text: str

    def as_text(self) -> str:
        """Return the block in plain text."""
        return f"{self.text}\n{'=' * len(self.text)}\n"

    def as_html(self) -> str:
        """Return the block in HTML."""
        return f'<h1 style="font-size:22px">{html.escape(self.text)}</h1>'


class Section(Value):
    """The heading of a part of a letter."""

    text: str

    def as_text(self) -> str:
        """Return the block in plain text."""
        return f"\n{self.text}"

    def as_html(self) -> str:
        """Return the block in HTML."""
        return f'<h2 style="font-size:18px;margin:24px 0 0">{html.escape(self.text)}</h2>'


class Paragraph(Value):
    """A paragraph of text."""

    text: str

    def as_text(self) -> str:
        """Return the block in plain text."""
        return self.text

    def as_html(self) -> str:
        """Return the block in HTML."""
        return f"<p>{html.escape(self.text)}</p>"


class Link(Value):
    """A link with its text."""

    text: str
    uri: str

    def as_text(self) -> str:
        """Return the block in plain text."""
        return f"{self.text}: {self.uri}"

    def as_html(self) -> str:
        """Return the block in HTML."""
        return f'<p><a href="{html.escape(self.uri)}">{html.escape(self.text)}</a></p>'


class Codes(Value):
    """Access keys or codes of certificates, one on each line."""

    codes: Sequence[str]

    def as_text(self) -> str:
        """Return the block in plain text."""
        return "\n".join(self.codes)

    def as_html(self) -> str:
        """Return the block in HTML."""
        return _CODES.format(codes=html.escape("\n".join(self.codes)))


Block = Heading | Section | Paragraph | Link | Codes


def letter(to: str, subject: str, blocks: Sequence[Block]) -> Letter:
    """Return a letter that consists of these blocks. `subject` must be one line."""
    text = "\n".join(block.as_text() for block in blocks) + "\n"
    body = "\n".join(block.as_html() for block in blocks)
    page = _PAGE.format(title=html.escape(subject), body=body)
    return Letter(to, subject, text, page if len(text.encode()) + len(page.encode()) <= BYTES_AT_MOST else "")


def one_line(text: str) -> str:
    """Return a text without line breaks, control characters and changes of direction."""
    return " ".join("".join(" " if _is_control(character) else character for character in text).split())


def _is_control(character: str) -> bool:
    return (
        character in _DIRECTION_CHANGES
        or ord(character) < 0x20
        or 0x7F <= ord(character) < 0xA0
        or character in "\u2028\u2029"
    )
