"""The webhook guide for partners agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from ordering.contexts import event_types
from ordering.events.types import VERSION
from ordering.webhooks.addresses import LONGEST
from ordering.webhooks.delivery import FACTOR, FIRST_PAUSE, MISSED_KEPT, PARKED_KEPT, TRIES
from ordering.webhooks.registrations import SECRET_OVERLAP, WEBHOOKS_AT_MOST, secret_text, signed
from ordering.webhooks.slots import FAILURES, JITTER, LONGEST_PAUSE, SHORTEST_PAUSE
from ordering.webhooks.transport import WITHIN
from support.receiver import verifies
from support.scheduler import START

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "webhooks.md").read_text()


def shown() -> dict[str, str]:
    """The example published in the guide, by the names in its table."""
    rows = re.findall(r"^\| `?(secret|body|webhook-\w+)`? \| `([^`]+)` \|$", GUIDE, re.MULTILINE)
    return dict(rows)


@pytest.fixture
def verified() -> Any:
    """The verification function that the guide shows."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["verified"]


def test_types() -> None:
    """The guide lists each outgoing event type with its status and schema, and no others."""
    rows = re.findall(r"^\| `(ordering\.\S+)` \| (\w+) \| \[schema\]\(events/(\S+)\) \|$", GUIDE, re.MULTILINE)

    assert {name: (status, schema) for name, status, schema in rows} == {
        name: (str(status), f"{name}.v{VERSION}.json") for name, status in event_types().items()
    }
    assert len(rows) == len(event_types())


def test_the_published_example(verified: Any) -> None:
    """The guide's function verifies the published example, but no altered, foreign-signed or outdated message."""
    example = shown()
    secret, body, at = example.pop("secret"), example.pop("body").encode(), int(example["webhook-timestamp"])

    assert sorted(example) == ["webhook-id", "webhook-signature", "webhook-timestamp"]
    assert verified(secret, example, body, at)
    assert verified(secret, example, body, at + 300)
    assert not verified(secret, example, body, at + 301)
    assert not verified(secret, example, body, at - 301)
    assert not verified(secret, example, body)
    assert not verified(secret, example, body + b" ", at)
    assert not verified(secret, {**example, "webhook-id": "x"}, body, at)
    assert not verified(secret_text(b"another"), example, body, at)
    assert verifies(secret, example, body)


def test_current_signatures_fit_the_guide(verified: Any) -> None:
    """The guide's function and the library it names accept our signatures, by either of two secrets."""
    keys = [b"a" * 32, b"b" * 32]
    headers = signed(keys, "an-id", START, "₽".encode())

    for key in keys:
        assert verified(secret_text(key), headers, "₽".encode(), START.timestamp())
        library = Webhook(secret_text(key))
        assert library.sign("an-id", START, "₽") in headers["webhook-signature"].split()


def test_numbers() -> None:
    """The numbers in the guide match the code's constants."""
    pauses = [FIRST_PAUSE * FACTOR**number for number in range(TRIES - 1)]

    assert f"After {FAILURES} failed tries in a row" in GUIDE
    assert "nothing is sent for a minute" in GUIDE
    assert (SHORTEST_PAUSE, LONGEST_PAUSE) == (60, 3600)
    assert (TRIES, WEBHOOKS_AT_MOST, JITTER, FIRST_PAUSE, FACTOR) == (10, 10, 0.1, 8, 3)
    assert f"up to {pauses[-1] / 3600:.1f} hours" in GUIDE
    assert 20 < sum(pauses) / 3600 < 24
    assert f"within {WITHIN:.0f} seconds" in GUIDE
    assert f"within {SECRET_OVERLAP.total_seconds() / 3600:.0f} hours".capitalize() in GUIDE
    assert f"kept for {PARKED_KEPT.days} days" in GUIDE
    assert f"in the last {MISSED_KEPT.days} days" in GUIDE
    assert f"{LONGEST:,} ASCII characters" in GUIDE
