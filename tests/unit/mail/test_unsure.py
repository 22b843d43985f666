"""The documented waiting time before a mail that may have been sent is sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.ses import Letter, Unsure
from ordering.errors import Unavailable
from ordering.mail.outbox import MailInFlight, Outbox
from support.aws.memory import Memory
from support.aws.ses import MemorySes

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LETTER = Letter("ann@example.com", "Hello", "Good morning")


def test_repeated_after_fifteen_minutes() -> None:
    """A mail whose attempt got no answer is sent again after 15 minutes, and not before."""
    now, ses = START, MemorySes()
    outbox = Outbox(Table(Memory(), "OrdersTable"), ses.ses.send, now=lambda: now)
    order = "training#7"

    def send() -> None:
        outbox.send(outbox.mail(order, 1), 1, lambda: LETTER)

    ses.meet(Unavailable())
    with pytest.raises(Unsure):
        send()
    now = START + timedelta(minutes=15, seconds=-1)
    with pytest.raises(MailInFlight):
        send()
    now = START + timedelta(minutes=15)
    send()

    assert len(ses.taken) == 1
