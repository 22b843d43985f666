"""How many round trips a request makes, which is what it waits for: counted at the connection, one after the other.

Ours goes through `TrainingOrders` with everything that a function needs, the catalogue too. *Warm* is a process that
has served before: it has read within the last two seconds which version of the catalogue is in force, knows the feature
set, and has some left of the order ids that it reserved. *Cold* is a process's first request.

The references do the least for the same answer: Powertools' idempotency around one put; cursors followed from page 1,
and a COUNT; one read of what is wanted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import creates, pages
from benchmarks.engine import IDEMPOTENCY, IDEMPOTENCY_KEY
from benchmarks.report import Must, Results, Section
from benchmarks.service import Service
from benchmarks.shop import Counted, Shop

NAME = "trips"
HELD = 300
PAGE = 20
PROMISED = {"create": 2, "list page": 2, "single order": 1}
"""Of a warm process, where nothing interferes."""

_OTHER = "jane.doe@example.com"
"""An address that is not the caller's own, so that its name is looked up."""

Request = Callable[[Shop], object]


@dataclass(frozen=True, slots=True)
class Trips:
    """The round trips of a request, warm and cold, and those of a reference."""

    warm: int
    cold: int
    reference: str
    otherwise: int


def run() -> Section:
    """Count them, on the modelled service."""
    counted = count()
    rows = [
        [name, f"{each.warm}", f"{each.cold}", each.reference, f"{each.otherwise}", f"{each.warm / each.otherwise:.2f}"]
        for name, each in counted.items()
    ]
    musts = [
        Must(
            f"{name}, warm, in {promised} round trip{'s' * (promised > 1)}",
            f"{counted[name].warm}",
            counted[name].warm == promised,
        )
        for name, promised in PROMISED.items()
    ]
    return Section(NAME, "Round trips", _EXPLANATION, [Results(_TITLE, _COLUMNS, rows)], musts)


_TITLE = "Calls of DynamoDB, one after the other"
_COLUMNS = ("<request", "warm", "cold", "<reference", "its trips", "warm ÷ its")
_EXPLANATION = f"""
Every call of DynamoDB that a request waits for; those that go out at the same time are one. *Cold* is a process's first
request: a create then also reads the unit's name, the catalogue's pointer and the feature set, and reserves ten order
ids. A warm process reads the pointer again after two seconds and the name after a minute, and reserves ids at every
tenth create. The page is page {PAGE}, of {pages.SIZE} orders.
"""


def count() -> dict[str, Trips]:
    """Count the round trips of each kind of request, in a book that becomes what the request needs."""
    service = Service()
    # Its clock stands still, so that it never reads the pointer again, however slow the machine is.
    warm = Shop(service, ids=range(3 * HELD, HELD, -1), seconds=float)
    warm.open()
    *_, order = (warm.place(f"order {number}").resource_id for number in range(HELD))
    warm.orders.settle()
    cursors = "cursors from page 1, COUNT", _by_cursors(service)
    first, again = _by_library()

    def trips(reference: str, otherwise: int, request: Request, cold: Request | None = None) -> Trips:
        return Trips(_calls(warm, request), _calls(Shop(service), cold or request), reference, otherwise)

    counted = {
        "list page": trips(*cursors, _page),
        "single order": trips("GetItem", 1, lambda shop: shop.orders.order(order)),
        "lines of an order": trips("Query", 1, lambda shop: shop.orders.lines(order, 0, 10)),
        "create": trips("Powertools, put", first, _create("a"), _create("b")),
        "create, another's address": trips("Powertools, put", first, _create("c", _OTHER), _create("d", _OTHER)),
        "list page, not yet settled": trips(*cursors, _page),
        "create, sent again": trips("Powertools", again, _create("a")),
    }
    warm.orders.settle()
    counted["list page, void in its segment"] = trips(*cursors, _page)
    return counted


def _calls(shop: Shop, request: Request) -> int:
    shop.calls.take()
    request(shop)
    return shop.calls.take().calls


def _page(shop: Shop) -> object:
    return shop.page(PAGE)


def _create(key: str, contact: str | None = None) -> Request:
    return lambda shop: shop.place(key, contact=contact)


def _by_library() -> tuple[int, int]:
    """Count the calls of Powertools for a key that is new, and for the same again."""
    calls = Counted(Service(schemas={IDEMPOTENCY: (IDEMPOTENCY_KEY,)}))
    place = creates.powertools(calls)
    place("key")
    first = calls.take().calls
    place("key")
    return first, calls.take().calls


def _by_cursors(service: Service) -> int:
    """Count the calls that lead to the page by cursors, and the one to the total."""
    pages.copy_entries(service)
    calls = Counted(service)
    for _ in itertools.islice(pages.follow_cursors(calls), PAGE):
        pass
    pages.count_all(calls)
    return calls.take().calls
