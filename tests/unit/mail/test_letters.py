"""What all letters share: two forms, partners' text on one line, and a page that fits a phone."""

from __future__ import annotations

import pytest

from ordering.aws.ses import Letter
from ordering.mail.letters import BYTES_AT_MOST, Block, Codes, Heading, Link, Paragraph, Section, letter, one_line
from support.letters import HOSTILE, SHOWN, Page, both

BLOCKS: list[Block] = [
    Heading("Hello"),
    Paragraph("Good morning"),
    Section("Your codes"),
    Codes(["a-1", "a-2"]),
    Link("More", "https://f.example/?a=1&b=2"),
]


def written(text: str) -> Letter:
    """A letter with the text in each kind of block."""
    blocks: list[Block] = [Heading(text), Paragraph(text), Section(text), Codes([text]), Link(text, text)]
    return letter("ann@example.com", text, blocks)


def test_both_forms() -> None:
    """A letter has its blocks, in order, as text and as HTML; its page has the subject as title."""
    made = letter("ann@example.com", "Hello Ann", BLOCKS)
    text, page = both(made)

    assert (made.to, made.subject) == ("ann@example.com", "Hello Ann")
    assert text == ["Hello", "Good morning", "Your codes", "a-1", "a-2", "More: https://f.example/?a=1&b=2"]
    assert page == ["Hello Ann", "Hello", "Good morning", "Your codes", "a-1", "a-2", "More"]
    assert Page(made.html).links == [("More", "https://f.example/?a=1&b=2")]


def test_nothing_is_markup() -> None:
    """Text in any block and in the subject is escaped in HTML and unchanged in plain text."""
    made = written(one_line(HOSTILE))
    page = Page(made.html)

    assert "script" not in page.tags
    assert page.texts == [SHOWN] * 6
    assert page.links == [(SHOWN, SHOWN)]
    assert made.text.count(SHOWN) == 6


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HOSTILE, SHOWN),
        (" a\r\n\tb  c\u2028d ", "a b c d"),
        ("a\u202eb\u2066c\x00\x7f\x85", "a b c"),
        ("Анна 王 👩\u200d👩\u200d👧 क\u200cष", "Анна 王 👩\u200d👩\u200d👧 क\u200cष"),
        ("\n", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    """`one_line` removes line breaks, control characters and direction marks, and keeps letters of any script."""
    assert one_line(text) == line


@pytest.mark.parametrize(("more", "html"), [(0, True), (1, False)])
def test_too_large_for_both_forms(more: int, html: bool) -> None:  # noqa: FBT001 - a parameter
    """A letter whose two forms together exceed the limit of SES has the text form only."""
    empty = letter("ann@example.com", "Hello", [Paragraph("")])
    length = (BYTES_AT_MOST - len(empty.text) - len(empty.html)) // 2 + more
    made = letter("ann@example.com", "Hello", [Paragraph("x" * length)])

    assert (bool(made.html), made.text) == (html, "x" * length + "\n")


def test_on_a_phone() -> None:
    """The page fits the width of a phone, breaks long words, and loads nothing from elsewhere."""
    made = letter("ann@example.com", "Hello", [*BLOCKS, Codes(["x" * 200])])

    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in made.html
    assert "overflow-wrap:anywhere" in made.html
    assert {*Page(made.html).tags} <= {"html", "head", "meta", "title", "body", "h1", "h2", "p", "pre", "a"}
    assert "src=" not in made.html
