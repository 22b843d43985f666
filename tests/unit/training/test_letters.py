"""The mail with access keys: each key in its place, partners' text never as markup, and a size that SES accepts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ordering.aws.ses import Letter
from ordering.book.lifecycle import State
from ordering.training.access_keys import IssuedKey
from ordering.training.mailing import KEYS_AT_MOST, keys_letter
from ordering.training.orders import OrderLine, TrainingOrder
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
from support.letters import HOSTILE, SHOWN, Page, both
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


def line(number: int = 1, quantity: int = 1, **changes: Any) -> OrderLine:
    plain = OrderLine(feature_set_id="x", quantity=quantity, number=number, description=f"Course {number} (Standard)")
    return replace(plain, **changes)


def keys_of(lines: Sequence[OrderLine]) -> list[IssuedKey]:
    return [
        IssuedKey(one.number, seat, f"KEY-{one.number}-{seat}") for one in lines for seat in range(1, one.quantity + 1)
    ]


def keys(*lines: OrderLine, order: TrainingOrder = COMPLETED) -> Letter:
    return keys_letter(order, lines, keys_of(lines))


def encoded(letter: Letter) -> int:
    """The size of a mail in bytes on the wire, in base64 lines of 76 characters."""
    parts = [base64.b64encode(part.encode()) for part in (letter.text, letter.html)]
    return sum(len(part) * 78 // 76 for part in parts)


def test_keys() -> None:
    """A mail has the order's reference and number, and each line's description with its keys in seat order."""
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
    """A line has its feedback link and text only if the link is enabled and has an address."""
    letter = keys(line(1, **changes), line(2))

    assert Page(letter.html).links == ([(link, "https://f.example/?a=1&b=2")] if link else [])
    assert ("f.example" in letter.text, "Go" in letter.text) == (link is not None, link == "Go")
    if link:
        text = letter.text.splitlines()
        assert text.index(f"{link}: https://f.example/?a=1&b=2") < text.index("Course 2 (Standard): 1 access key")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("HTTPS://F.example/ü?q[]=100%", "https://f.example/%C3%BC?q%5B%5D=100%25"),
        ("http:f.example", "http:f.example"),
    ],
    ids=["an accepted link", "a text of an earlier release"],
)
def test_feedback_link_is_mailed_as_parsed(text: str, uri: str) -> None:
    """A feedback link is mailed as the URI that was parsed; what an earlier release accepted is mailed as it is."""
    letter = keys(line(1, enable_feedback_link=True, feedback_link_uri=text))

    assert Page(letter.html).links == [("Leave feedback", uri)]
    assert f"Leave feedback: {uri}" in letter.text


def test_hostile_keys() -> None:
    """Partners' text appears as plain text on one line, and cannot start a header or tag."""
    uri = 'https://f.example/"><script>x</script>'
    link: dict[str, Any] = {"feedback_link_text": HOSTILE, "feedback_link_uri": uri, "enable_feedback_link": True}
    letter = keys(line(1, description=HOSTILE, **link), order=replace(COMPLETED, reference=HOSTILE))
    page = Page(letter.html)

    assert letter.subject == f"Access keys of your order {SHOWN}"
    assert "script" not in page.tags
    assert page.links == [(SHOWN, uri)]
    assert [one for one in letter.text.splitlines() if "script" in one] == [
        f"Order reference: {SHOWN}",
        f"{SHOWN}: 1 access key",
        f"{SHOWN}: {uri}",
    ]


def test_names_in_any_script() -> None:
    """Letters of any script and combined characters are unchanged."""
    name = "Анна 王 👩‍👩‍👧 نیم‌فاصله"

    assert f"{name}: 1 access key" in keys(line(1, description=name)).text


def test_as_many_keys_as_fit() -> None:
    """The largest mail with keys, with the longest lines an order may have, is within the limit of SES."""
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
    """A mail about more keys than fit has their number and where to read them, and no key."""
    lines = [line(1, KEYS_AT_MOST), line(2)]
    letter = keys_letter(COMPLETED, lines, iter(pytest.fail, None))
    text, page = both(letter)

    assert text == [
        "Your access keys",
        "Order reference: PO-4711",
        "Order number: 4711",
        "All 20,001 keys are issued, too many for one email. Read them with GET /api/v2/orders/4711/keys.",
        "Course 1 (Standard): 20,000 access keys",
        "Course 2 (Standard): 1 access key",
    ]
    assert page == [letter.subject, *text]
