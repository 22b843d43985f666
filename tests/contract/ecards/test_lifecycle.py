"""An order's life as its company sees it: payment, certificates, delivery and cancellation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ordering.errors import Conflict
from support.deals import Watch
from support.ecards import Rewards, card, new_order, order_id

ORDER = f"/v1/orders/{order_id(1)}"


def advance(company: Rewards, number: int = 1) -> None:
    company.orders.advance(order_id(number))


def hand_over(company: Rewards, count: int, number: int = 1) -> None:
    company.orders.hand_over(company.orders.order(order_id(number)), count)


def history(company: Rewards) -> list[tuple[str, str]]:
    return [(one["status"], one["at"]) for one in company.read(ORDER)["history"]]


@pytest.mark.parametrize(
    ("balance", "status", "left"),
    [("0", "Created", "0"), ("99.99", "Created", "99.99"), ("100", "Payed", "0"), ("100.01", "Payed", "0.01")],
)
def test_paid_if_covered(company: Rewards, balance: str, status: str, left: str) -> None:
    """An order is Payed and debited at once if the balance covers it to the cent, and otherwise Created."""
    if balance != "0":
        company.top_up(balance)
    created = company.place()

    assert (created["status"], company.balance) == (status, left)
    assert [company.status(), company.read(ORDER)["status"], *company.statuses()] == [status] * 3


def test_free_orders_are_paid(company: Rewards) -> None:
    """An order that costs nothing is Payed without a balance."""
    assert company.place(1, card(3, "gift", 5))["status"] == "Payed"


def test_a_top_up_pays_the_oldest_first(company: Rewards, watch: Watch) -> None:
    """A top-up pays waiting orders, oldest first."""
    for number in (1, 2, 3):
        company.place(number)
    watch.pass_(60)
    company.top_up(200)

    assert (company.statuses(), company.balance) == (["Payed", "Payed", "Created"], "0")
    assert history(company) == [("Created", "2015-07-06T16:32:56.000000"), ("Payed", "2015-07-06T16:33:56.000000")]


def test_an_uncovered_order_does_not_block_others(company: Rewards) -> None:
    """An order that a top-up does not cover waits, and later ones are still paid."""
    company.place(1, card(quantity=5))
    company.place(2, card(quantity=3))
    company.place(3)
    company.top_up(400)

    assert (company.statuses(), company.balance) == (["Created", "Payed", "Payed"], "0")
    company.top_up(500, "t2")
    assert (company.statuses(), company.balance) == (["Payed", "Payed", "Payed"], "0")


def test_a_top_up_is_made_once(company: Rewards) -> None:
    """A duplicate of a top-up pays no further order."""
    company.place(1)
    company.place(2)
    company.top_up(100)
    company.top_up(100)

    assert (company.statuses(), company.balance) == (["Payed", "Created"], "0")


def test_balances_of_companies_are_separate(company: Rewards, stranger: Rewards) -> None:
    """One company's top-up does not pay another's orders."""
    stranger.place()
    company.top_up(1_000)

    assert (stranger.status(), stranger.balance, company.balance) == ("Created", "0", "1000")


def test_to_the_participant(company: Rewards, watch: Watch) -> None:
    """An order passes through each status once, from payment to delivery."""
    company.place(1, card(quantity=3))
    steps: list[Any] = [
        lambda: company.top_up(300),
        lambda: advance(company),
        lambda: company.load(3),
        lambda: hand_over(company, 1),
        lambda: hand_over(company, 1),
        lambda: hand_over(company, 1),
    ]
    seen = [company.status()]
    for step in steps:
        watch.pass_(60)
        step()
        seen.append(company.status())

    assert [status for status, _ in itertools.groupby(seen)] == [status for status, _ in history(company)]
    assert history(company) == [
        ("Created", "2015-07-06T16:32:56.000000"),
        ("Payed", "2015-07-06T16:33:56.000000"),
        ("AwaitingCertificateAssignment", "2015-07-06T16:34:56.000000"),
        ("ReadyForDelivery", "2015-07-06T16:35:56.000000"),
        ("PartiallyDelivered", "2015-07-06T16:36:56.000000"),
        ("Delivered", "2015-07-06T16:38:56.000000"),
    ]


def test_stock_in_advance(company: Rewards) -> None:
    """A paid order is ready without waiting if there is stock."""
    company.load(2)
    company.top_up(100)
    company.place()
    advance(company)

    assert [status for status, _ in history(company)] == ["Payed", "ReadyForDelivery"]


def test_codes_are_in_no_answer(company: Rewards) -> None:
    """No answer to a company has a certificate's code."""
    company.load(1, batch="SECRET")
    company.top_up(100)
    company.place()
    advance(company)
    hand_over(company, 1)

    answers = [company.get(path).text for path in ("/v1/orders", ORDER, f"{ORDER}/status", "/v1/ecards", "/v1/balance")]
    assert company.status() == "Delivered"
    assert not any("SECRET" in text for text in answers)


@pytest.mark.parametrize("steps", range(5))
def test_cancelled(company: Rewards, steps: int) -> None:
    """Cancelling an order in any status refunds what was debited, and the order stays in the list."""
    company.place(1, card(quantity=2))
    ways: list[Any] = [
        lambda: company.top_up(200),
        lambda: advance(company),
        lambda: company.load(2),
        lambda: hand_over(company, 1),
    ]
    for step in ways[:steps]:
        step()
    came_to = company.status()
    company.orders.cancel(order_id(1))

    expected = ["Created", "Payed", "AwaitingCertificateAssignment", "ReadyForDelivery", "PartiallyDelivered"]
    assert came_to == expected[steps]
    assert (company.status(), company.statuses()) == ("Cancelled", ["Cancelled"])
    assert company.balance == ("200" if steps else "0")


def test_a_refund_pays_waiting_orders(company: Rewards) -> None:
    """The refund of a cancelled order pays the oldest waiting order."""
    company.top_up(100)
    for number in (1, 2, 3):
        company.place(number)
    company.orders.cancel(order_id(1))

    assert (company.statuses(), company.balance) == (["Cancelled", "Payed", "Created"], "0")


def test_cancelled_is_final(company: Rewards) -> None:
    """A cancelled order is neither paid nor refunded again, and a duplicate create returns it."""
    created = company.place()
    company.orders.cancel(order_id(1))
    company.top_up(100)
    with pytest.raises(Conflict):
        company.orders.cancel(order_id(1))

    assert company.balance == "100"
    assert company.post("/v1/orders", new_order()).json == {**created, "status": "Cancelled"}


def test_delivered_is_final(company: Rewards) -> None:
    """A delivered order cannot be cancelled or refunded."""
    company.load(1)
    company.top_up(100)
    company.place()
    advance(company)
    hand_over(company, 1)
    with pytest.raises(Conflict):
        company.orders.cancel(order_id(1))

    assert (company.status(), company.balance) == ("Delivered", "0")
