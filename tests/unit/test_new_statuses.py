"""A status added by a later release: code that does not know it raises instead of treating it as a known one."""

from __future__ import annotations

from enum import StrEnum
from typing import cast

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.lifecycle import Lifecycle
from ordering.ecards.statuses import EcardStatus
from ordering.mail.outbox import Mail, MailState, Outbox
from ordering_tools.installation import Installation
from ordering_tools.operations.finding import order_named
from ordering_tools.operations.orders import move_order
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.ses import MemorySes
from support.ecards import AUDIENCE, COMPANY, ISSUER, Rewards, order_id, services_over
from support.training import School


class LaterStatus(StrEnum):
    """The statuses of a training order in a later release, with one more."""

    NEW = "New"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    HELD = "Held"


def test_keys_are_not_shown_in_a_new_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading access keys of an order in an unknown status raises."""
    memory, school = Memory(), School()
    school.send = memory
    order = school.place(2)
    school.issue(order)
    monkeypatch.setattr("ordering.training.orders.TRAINING", Lifecycle(LaterStatus, ()))
    shown = len(school.keys(order))
    key = f"ORDER#training#{order}", "ORDER"
    item = next(item for found, item in memory.scan("OrdersTable") if found == key)
    item["order"]["M"]["status"]["S"] = "Held"

    with pytest.raises(AssertionError, match="Held"):
        school.keys(order)
    assert shown == 2


def test_an_order_is_not_handed_over_for_a_new_status() -> None:
    """Moving an order by hand to an unknown status raises and delivers no certificates."""
    memory, kms = Memory(), MemoryKms()
    company = Rewards(services_over(memory, kms=kms), COMPANY)
    company.publish()
    company.load(3)
    company.top_up(300)
    company.place()
    company.orders.advance(order_id(1))
    installation = Installation(memory, kms, lambda: SigningKey("", "", {}), ISSUER, AUDIENCE)
    named, order = order_named(installation, order_id(1)), company.orders.order(order_id(1))

    with pytest.raises(AssertionError, match="Held"):
        move_order(installation, named, order, cast("EcardStatus", LaterStatus.HELD))
    assert company.orders.order(order_id(1)).delivered == 0


def test_a_mail_is_not_sent_in_a_new_state() -> None:
    """Sending a mail in an unknown state raises before a letter is composed."""
    ses = MemorySes()
    outbox = Outbox(Table(Memory(), "OrdersTable"), ses.ses.send)
    mail = Mail(order="training#7", number=1, state=cast("MailState", LaterStatus.HELD))

    with pytest.raises(AssertionError, match="Held"):
        outbox.send(mail, 1, lambda: pytest.fail("a letter was written"))
