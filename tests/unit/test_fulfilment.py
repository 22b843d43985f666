"""The consumer of the orders table's stream."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.fulfilment import settle_books
from ordering.orderbook import Draft, OrderBook
from ordering.wiring import Services


def record(book: str, number: int) -> dict[str, Any]:
    keys = {"pk": {"S": f"BOOK#{book}"}, "sk": {"S": f"{number:010}"}}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, "SequenceNumber": str(number)}}


class Broken:
    """A book that cannot be reached."""

    def settle(self) -> int:
        raise Unavailable


@pytest.fixture
def book(services: Services) -> OrderBook:
    return services.book("training#1", Deadline.after(30))


def test_books_are_settled(services: Services, book: OrderBook) -> None:
    """After a batch, the heads of the books that it touched stand where their entries end."""
    for name in "abc":
        book.place(lambda _, name=name: Draft({"order": name}, []))  # type: ignore[misc] # bound now, not later
    failed = settle_books(
        [record("training#1", 1), record("training#1", 2)], lambda name: services.book(name, Deadline.after(30))
    )
    services.usage.take()
    book.page(0, 10)

    assert failed == []
    assert services.usage.take().calls == 2


def test_each_book_once() -> None:
    """However many records a batch has of a book, it is settled once."""
    opened: list[str] = []

    def open_book(name: str) -> Any:
        opened.append(name)
        return Broken()

    settle_books([record("a", 1), record("b", 2), record("a", 3)], open_book)

    assert opened == ["a", "b"]


def test_one_books_trouble(services: Services) -> None:
    """A book that cannot be settled is told by its first record, and the others are settled all the same."""
    settled: list[str] = []

    def open_book(name: str) -> Any:
        if name == "broken":
            return Broken()
        settled.append(name)
        return services.book(name, Deadline.after(30))

    failed = settle_books([record("a", 1), record("broken", 2), record("broken", 3), record("b", 4)], open_book)

    assert (failed, settled) == (["2"], ["a", "b"])


def test_what_is_no_entry() -> None:
    """Records of anything but entries are passed over."""
    other = {"dynamodb": {"Keys": {"pk": {"S": "HEAD#training#1"}, "sk": {"S": "-"}}, "SequenceNumber": "1"}}

    assert settle_books([other], lambda _: pytest.fail("opened")) == []


def test_delivered_twice(services: Services, book: OrderBook) -> None:
    """A batch that is delivered twice changes nothing the second time."""
    book.place(lambda _: Draft({"order": "a"}, []))

    def open_book(name: str) -> OrderBook:
        return services.book(name, Deadline.after(30))

    settle_books([record("training#1", 1)], open_book)
    first = book.page(0, 10)
    settle_books([record("training#1", 1)], open_book)

    assert book.page(0, 10) == first
