"""A status that a later release adds: code that has not been taught it raises, and never takes it for another."""

from __future__ import annotations

from enum import StrEnum
from typing import cast, get_args

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.lifecycle import Lifecycle
from ordering.ecards import contract as ecards
from ordering.ecards.statuses import EcardStatus
from ordering.mail.outbox import Mail, MailState, Outbox
from ordering.training import contract as training
from ordering.training.statuses import TrainingStatus
from ordering_tools.installation import Installation
from ordering_tools.operations.ecards import move
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.ses import MemorySes
from support.ecards import AUDIENCE, COMPANY, ISSUER, Rewards, order_id, services_over
from support.training import School


class LaterStatus(StrEnum):
    """The statuses of a training order, and one more."""

    NEW = "New"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    HELD = "Held"


def test_keys_are_not_shown_in_a_new_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Access keys are shown in the statuses that are known to show them, and an unknown one raises."""
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
    """A move by hand to a status that is not known raises, and hands no certificates over."""
    memory, kms = Memory(), MemoryKms()
    company = Rewards(services_over(memory, kms=kms), COMPANY)
    company.publish()
    company.load(3)
    company.top_up(300)
    company.place()
    company.orders.carry_on(order_id(1))
    installation = Installation(memory, kms, SigningKey("", "", {}), ISSUER, AUDIENCE)

    with pytest.raises(AssertionError, match="Held"):
        move(installation, COMPANY.partner, order_id(1), cast("EcardStatus", LaterStatus.HELD))
    assert company.orders.order(order_id(1)).delivered == 0


def test_a_mail_is_not_sent_in_a_new_state() -> None:
    """A mail in a state that is not known raises, and is not sent."""
    ses = MemorySes()
    outbox = Outbox(Table(Memory(), "OrdersTable"), ses.ses.send)
    mail = Mail(order="training#7", number=1, state=cast("MailState", LaterStatus.HELD))

    with pytest.raises(AssertionError, match="Held"):
        outbox.send(mail, 1, lambda: pytest.fail("a letter was written"))


def test_the_contracts_have_every_status() -> None:
    """The contracts publish the statuses that orders have, neither more nor fewer."""
    assert {*map(str, TrainingStatus)} == {*get_args(training.OrderStatus)}
    assert {*map(str, EcardStatus)} == {*get_args(ecards.EcardOrderStatus)}
