"""`ordering book check` finds each promise that a book does not keep, and nothing in books that keep them."""

from __future__ import annotations

import json
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Delete, Key, Put, Table, Update
from ordering.book.orderbook import Draft, OrderBook
from ordering.book.positions import BookKeys
from ordering_tools.installation import Installation
from ordering_tools.operations import books
from ordering_tools.operations.books import BookFault, TableCheck, lasting
from support.aws.memory import Memory
from support.commands import Run
from support.ecards import Rewards
from support.partners import UK

BOOK = "ecards#granite"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for the grace time."""
    monkeypatch.setattr(books, "GRACE", timedelta(0))


@pytest.fixture
def table(company: Rewards, installation: Installation) -> Table:
    """A table with a book of three orders and a void, all settled."""
    for number in range(1, 4):
        company.place(number)
    table = installation.orders
    book = OrderBook(table, BOOK, grace=timedelta(0))
    book._take_ticket()  # by a writer that crashes
    book.settle()
    return table


def entry(position: int) -> Key:
    return BookKeys(BOOK).entry(position)


def found(run: Run) -> list[tuple[str, int | None, str]]:
    done = run("book", "check", "--json")
    assert done.code == 1
    assert "nothing was changed" in done.errors
    return [(one["book"], one["position"], one["fault"]) for one in json.loads(done.output)]


@pytest.mark.usefixtures("table")
def test_books_that_keep_their_promises(run: Run) -> None:
    """A void, orders, and positions that are still open are no faults."""
    done = run("book", "check")

    assert (done.code, done.output) == (0, "1 books with 4 entries keep their promises\n")
    assert json.loads(run("book", "check", "--json").output) == []


def test_an_entry_that_is_not_there(run: Run, table: Table) -> None:
    """A settled position without an entry is found, and its order too."""
    table.transact([Delete(entry(2))])
    name = table.get(entry(2))
    assert name is None

    (gap, order) = sorted(found(run), key=lambda fault: len(fault[2]))
    assert gap == (BOOK, 2, "it has no entry")
    assert order[:2] == (BOOK, 2)
    assert order[2].startswith("the order ecards#granite#")


def test_an_order_that_is_not_there(run: Run, table: Table) -> None:
    """An entry whose order is missing is found."""
    order = next(item for item in table.scan("ORDER#") if item["number"] == 3)
    table.transact([Delete((order["pk"], order["sk"]))])

    assert found(run) == [(BOOK, 3, f"the order ecards#granite#{order['id']} of its entry is not there")]


@pytest.mark.parametrize(
    "write",
    [
        Update(("VOIDS#" + BOOK, "0000000000"), "ADD positions :more", values={":more": {2}}),
        Put({"pk": "VOIDS#" + BOOK, "sk": "0000000000", "positions": {1_004}}),
        Delete(("VOIDS#" + BOOK, "0000000000")),
    ],
)
def test_miscounted_voids(run: Run, table: Table, write: Update | Put | Delete) -> None:
    """Voids, their marks and their count in the head must agree."""
    table.transact([write])

    ((book, position, text),) = found(run)
    assert (book, position) == (BOOK, None)
    assert text.startswith("segment 0 has 1 voids, marks ")


@pytest.mark.parametrize(
    ("key", "counter", "faults"),
    [
        (("HEAD#" + BOOK, "-"), "r0", ["range 0 counts 1 voids and the head 2"]),
        (("HEAD#" + BOOK, "-"), "r1", ["range 1 counts 0 voids and the head 1"]),
        (
            ("VOIDS#" + BOOK, "R0000000000"),
            "s0",
            ["range 0 counts 2 voids and the head 1", "segment 0 has 1 voids, marks 1 and counts 2"],
        ),
    ],
)
def test_voids_that_do_not_add_up(run: Run, table: Table, key: Key, counter: str, faults: list[str]) -> None:
    """The counts of a range's segments must be those that are there, and add up to the head's count."""
    table.update(Update(key, f"ADD {counter} :one", values={":one": 1}))

    assert [text.partition(":")[0] for _, _, text in found(run)] == faults


def test_more_settled_than_issued(run: Run, table: Table) -> None:
    """A head behind the last ticket is found, with the positions that it counts and that do not exist."""
    table.update(Update(("HEAD#" + BOOK, "-"), "SET settled = :to", values={":to": 6}))

    texts = [text for _, _, text in found(run)]
    assert texts == ["it is settled up to 6, but only 4 tickets were issued", "none up to 6 has an entry"]


def test_books_of_other_orders(run: Run, installation: Installation) -> None:
    """Entries that are the whole order have no other item."""
    book = OrderBook(installation.orders, "deals#one")
    book.place(lambda _: Draft({"order": {"id": 1}}, [Put({"pk": "DEAL#one#1", "sk": "-"})]))

    assert run("book", "check").output == "1 books with 1 entries keep their promises\n"


class Answers:
    """A connection to a table with a book of so many orders; like AWS it answers by pages and with new objects."""

    def __init__(self, orders: int) -> None:
        self._memory = Memory(query_page=100)
        for number in range(1, orders + 1):
            order = {"id": number, "unit": {"id": UK.id}, "position": number}
            self._put(f"ORDER#training#{number}", "ORDER", order=order)
            self._put(*BookKeys(f"training#{UK.id}").entry(number), order=order)
        self._put(f"TICKETS#training#{UK.id}", "-", issued=orders)
        self._put(f"HEAD#training#{UK.id}", "-", settled=orders)
        self._scanned = [item for _, item in self._memory.scan("OrdersTable")]

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._scan(request) if operation == "Scan" else self._memory(operation, request)
        new: dict[str, Any] = json.loads(json.dumps(answer))
        return new

    def _put(self, pk: str, sk: str, **values: Any) -> None:
        Table(self._memory, "OrdersTable").put(Put({"pk": pk, "sk": sk, **values}))

    def _scan(self, request: dict[str, Any]) -> dict[str, Any]:
        start = int(request.get("ExclusiveStartKey", {}).get("pk", 0))
        page = self._scanned[start : start + 100]
        found = [item for item in page if item["pk"]["S"].startswith(("TICKETS#", "ORDER#"))]
        return {"Items": found, **({"LastEvaluatedKey": {"pk": start + 100}} if page else {})}


def test_bounded_memory() -> None:
    """Checking a book of three times as many orders takes no more memory."""
    peaks = []
    for orders in (3_200, 9_600):
        check = TableCheck(Table(Answers(orders), "OrdersTable"))
        tracemalloc.start()
        assert [*check.faults()] == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (check.books, check.entries) == (1, orders)

    assert peaks[1] < 1.25 * peaks[0], peaks


def test_what_was_in_flight() -> None:
    """A fault that is gone when it is read again is not reported."""
    lasts, gone = BookFault(BOOK, 1, "lasts"), BookFault(BOOK, 2, "gone")
    answers, waited = [[lasts, gone], [lasts]], list[float]()

    assert lasting(lambda: answers.pop(0), waited.append) == [lasts]
    assert waited == [0.0]
