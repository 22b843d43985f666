"""Mails with certificates: each code in its place, and no text of a company or a loader as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from ordering.aws.ses import Letter
from ordering.book.lifecycle import State
from ordering.ecards.catalogue import PricedLine as EcardLine
from ordering.ecards.certificates import Certificate, Stock
from ordering.ecards.mailing import certificates_letter
from ordering.ecards.records import EcardOrder, EcardParticipant
from ordering.ecards.statuses import EcardStatus
from ordering.values import replace
from support.letters import HOSTILE, SHOWN, Page, both

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
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


def certificates(*codes: str, first: int = 1, order: EcardOrder = READY) -> Letter:
    stock = Stock(1, "100 ₽")
    return certificates_letter(order, first, [Certificate(stock, n, code) for n, code in enumerate(codes, 1)])


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
    """A mail with some of an order's certificates has their numbers and the total."""
    assert "Certificates 2 to 3 of 3. The others are in separate emails." in certificates("a", "b", first=2).text
    assert "separate emails" not in certificates("a", "b", "c").text


def test_hostile_certificates() -> None:
    """Hostile text from a company or a loader appears as plain text on one line."""
    order = replace(
        READY,
        participant=EcardParticipant("ann@example.com", HOSTILE, "1"),
        lines=(EcardLine(1, HOSTILE, 1, HOSTILE, Decimal(1)),),
    )
    letter = certificates_letter(order, 1, [Certificate(Stock(1, HOSTILE), 1, HOSTILE)])

    assert "script" not in Page(letter.html).tags
    assert [one for one in letter.text.splitlines() if "script" in one] == [
        f"Hello {SHOWN},",
        f"{SHOWN}, {SHOWN}",
        SHOWN,
    ]
    assert [one for one in Page(letter.html).texts if "script" in one][-1] == SHOWN
