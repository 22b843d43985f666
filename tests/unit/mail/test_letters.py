"""What stands in mails: each key and certificate in its place, nothing of a partner's as markup, nothing too large."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from ordering.aws.ses import Letter
from ordering.book.lifecycle import State
from ordering.ecards.catalogue import PricedLine as EcardLine
from ordering.ecards.certificates import Certificate, Stock
from ordering.ecards.records import EcardOrder, EcardParticipant
from ordering.ecards.statuses import EcardStatus
from ordering.mail.letters import KEYS_AT_MOST, certificates_letter, keys_letter
from ordering.training.access_keys import IssuedKey
from ordering.training.orders import OrderLine, TrainingOrder
from ordering.training.statuses import TrainingStatus
from support.partners import JOHN, SOURCE, UK

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
TEN_MEGABYTES = 10 * 1024 * 1024
COMPLETED = TrainingOrder(
    id=4711,
    position=1,
    partner="northwind",
    business_unit=UK,
    created_by=JOHN,
    order_source=SOURCE,
    reference="PO-4711",
    contact_forename="Ann",
    contact_surname="Lee",
    contact_email="ann@example.com",
    email_keys=True,
    state=State(TrainingStatus.COMPLETED, 2, ()),
    created=START,
)
READY = EcardOrder(
    id="00000000-0000-0000-0000-000000000001",
    company="granite",
    number=12,
    created=START,
    state=State(EcardStatus.READY, 2, ()),
    participant=EcardParticipant("ann@example.com", "Ann Lee", "1"),
    login="ann",
    lines=(EcardLine(1, "100 ₽", 2, "Books", Decimal(100)), EcardLine(2, "500 ₽", 1, "Cinema", Decimal(525))),
    total=Decimal(725),
    fingerprint="",
)
HOSTILE = '<script>alert("x")</script>&amp;\r\nBcc: eve@example.com\u202e\u2028\x00'


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


def line(number: int = 1, quantity: int = 1, **changes: Any) -> OrderLine:
    plain = OrderLine(feature_set_id="x", quantity=quantity, number=number, description=f"Course {number} (Standard)")
    return replace(plain, **changes)


def keys_of(lines: Sequence[OrderLine]) -> list[IssuedKey]:
    return [
        IssuedKey(one.number, seat, f"KEY-{one.number}-{seat}") for one in lines for seat in range(1, one.quantity + 1)
    ]


def keys(*lines: OrderLine, order: TrainingOrder = COMPLETED) -> Letter:
    return keys_letter(order, lines, keys_of(lines))


def certificates(*codes: str, first: int = 1, order: EcardOrder = READY) -> Letter:
    stock = Stock(1, "100 ₽")
    return certificates_letter(order, first, [Certificate(stock, n, code) for n, code in enumerate(codes, 1)])


def both(letter: Letter) -> tuple[list[str], list[str]]:
    """The lines of both forms that are not empty."""
    text = [one for one in letter.text.splitlines() if one.strip("= ")]
    return text, Page(letter.html).texts


def encoded(letter: Letter) -> int:
    """Bytes of a mail on its way, with lines of 76 characters of base64."""
    parts = [base64.b64encode(part.encode()) for part in (letter.text, letter.html)]
    return sum(len(part) * 78 // 76 for part in parts)


# Access keys --------------------------------------------------------------------------------------------------------


def test_keys() -> None:
    """A mail has the order's reference and number, and each line's description with its keys in their seats' order."""
    letter = keys(line(1, 2), line(2))
    text, page = both(letter)

    assert (letter.to, letter.subject) == ("ann@example.com", "Access keys of your order PO-4711")
    assert text == [
        "Your access keys",
        "Order reference: PO-4711",
        "Order number: 4711",
        "Course 1 (Standard): 2 access keys",
        "KEY-1-1",
        "KEY-1-2",
        "Course 2 (Standard): 1 access key",
        "KEY-2-1",
    ]
    assert page == [letter.subject, *text]


FEEDBACK: dict[str, Any] = {"enable_feedback_link": True, "feedback_link_uri": "https://f.example/?a=1&b=2"}


@pytest.mark.parametrize(
    ("changes", "link"),
    [
        (FEEDBACK, "Leave feedback"),
        ({**FEEDBACK, "feedback_link_text": "Go"}, "Go"),
        ({**FEEDBACK, "feedback_link_text": ""}, "Leave feedback"),
        ({**FEEDBACK, "enable_feedback_link": False, "feedback_link_text": "Go"}, None),
        ({**FEEDBACK, "feedback_link_uri": None, "feedback_link_text": "Go"}, None),
        ({**FEEDBACK, "feedback_link_uri": "", "feedback_link_text": "Go"}, None),
    ],
)
def test_feedback_links(changes: dict[str, Any], link: str | None) -> None:
    """A line has its feedback link, with its text, only where that is enabled and there is an address."""
    letter = keys(line(1, **changes), line(2))

    assert Page(letter.html).links == ([(link, "https://f.example/?a=1&b=2")] if link else [])
    assert ("f.example" in letter.text, "Go" in letter.text) == (link is not None, link == "Go")
    if link:
        text = letter.text.splitlines()
        assert text.index(f"{link}: https://f.example/?a=1&b=2") < text.index("Course 2 (Standard): 1 access key")


def test_hostile_keys() -> None:
    """Whatever a partner writes into an order is text on one line, and cannot begin another header or tag."""
    uri = 'https://f.example/"><script>x</script>'
    told: dict[str, Any] = {"feedback_link_text": HOSTILE, "feedback_link_uri": uri, "enable_feedback_link": True}
    letter = keys(line(1, description=HOSTILE, **told), order=replace(COMPLETED, reference=HOSTILE))
    page = Page(letter.html)
    shown = '<script>alert("x")</script>&amp; Bcc: eve@example.com'

    assert letter.subject == f"Access keys of your order {shown}"
    assert "script" not in page.tags
    assert page.links == [(shown, uri)]
    assert [one for one in letter.text.splitlines() if "script" in one] == [
        f"Order reference: {shown}",
        f"{shown}: 1 access key",
        f"{shown}: {uri}",
    ]


def test_names_in_any_script() -> None:
    """Letters of any script, and signs made of several, stay as they are."""
    name = "Анна 王 👩‍👩‍👧 نیم‌فاصله"

    assert f"{name}: 1 access key" in keys(line(1, description=name)).text


def test_as_many_keys_as_fit() -> None:
    """The largest mail of keys, in as many lines with as much text as an order may have, is one that SES takes."""
    link: dict[str, Any] = {"feedback_link_uri": "https://f.example/" + "&" * 2_030, "enable_feedback_link": True}
    usual = [line(n, KEYS_AT_MOST // 500, description="x" * 100) for n in range(1, 501)]
    largest = [
        line(n, KEYS_AT_MOST // 500, description="д" * 500, feedback_link_text="<" * 255, **link) for n in range(1, 501)
    ]

    def letter(lines: Sequence[OrderLine]) -> Letter:
        return keys_letter(COMPLETED, lines, [IssuedKey(one.number, 1, "K" * 29) for one in lines for _ in range(40)])

    letters = letter(usual), letter(largest)

    assert [one.text.count("K" * 29) for one in letters] == [KEYS_AT_MOST] * 2
    assert max(map(encoded, letters)) < TEN_MEGABYTES
    assert [bool(one.html) for one in letters] == [True, False]


def test_more_keys_than_fit() -> None:
    """A mail about more keys says how many there are and where to read them, and shows none."""
    lines = [line(1, KEYS_AT_MOST), line(2)]
    letter = keys_letter(COMPLETED, lines, iter(pytest.fail, None))
    text, page = both(letter)

    assert text == [
        "Your access keys",
        "Order reference: PO-4711",
        "Order number: 4711",
        "All 20,001 keys are issued. They are too many for a mail; read them with GET /api/v2/orders/4711/keys.",
        "Course 1 (Standard): 20,000 access keys",
        "Course 2 (Standard): 1 access key",
    ]
    assert page == [letter.subject, *text]


# Certificates -------------------------------------------------------------------------------------------------------


def test_certificates() -> None:
    """A mail has the order's number, the participant's name, and each certificate's card, face value and code."""
    opened = [Certificate(Stock(1, "100 ₽"), 7, "AAA"), Certificate(Stock(1, "100 ₽"), 9, "BBB")]
    letter = certificates_letter(READY, 1, [*opened, Certificate(Stock(2, "500 ₽"), 1, "CCC")])
    text, page = both(letter)

    assert (letter.to, letter.subject) == ("ann@example.com", "Certificates of your order 12")
    assert text == [
        "Your certificates",
        "Hello Ann Lee,",
        "Order number: 12",
        "Books, 100 ₽",
        "AAA",
        "BBB",
        "Cinema, 500 ₽",
        "CCC",
    ]
    assert page == [letter.subject, *text]


def test_some_certificates() -> None:
    """A mail with some of an order's certificates says which of how many."""
    assert "Certificates 2 to 3 of 3; each mail has others." in certificates("a", "b", first=2).text
    assert "each mail" not in certificates("a", "b", "c").text


def test_hostile_certificates() -> None:
    """What a company or a loader writes is text on one line here too."""
    order = replace(
        READY,
        participant=EcardParticipant("ann@example.com", HOSTILE, "1"),
        lines=(EcardLine(1, HOSTILE, 1, HOSTILE, Decimal(1)),),
    )
    letter = certificates_letter(order, 1, [Certificate(Stock(1, HOSTILE), 1, HOSTILE)])
    shown = '<script>alert("x")</script>&amp; Bcc: eve@example.com'

    assert "script" not in Page(letter.html).tags
    assert [one for one in letter.text.splitlines() if "script" in one] == [
        f"Hello {shown},",
        f"{shown}, {shown}",
        shown,
    ]
    assert [one for one in Page(letter.html).texts if "script" in one][-1] == shown


def test_on_a_phone() -> None:
    """The page fits the width of a phone, breaks long words, and asks nothing of anybody else."""
    letter = certificates("x" * 200)

    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in letter.html
    assert "overflow-wrap:anywhere" in letter.html
    assert {*Page(letter.html).tags} <= {"html", "head", "meta", "title", "body", "h1", "h2", "p", "pre", "a"}
    assert "src=" not in letter.html
