"""`python -m benchmarks.cost`: what a million of each call costs with all that follows from it, as docs/cost.md.

The real code runs in the simulated AWS of the tests: it counts the requests, invocations, capacity units, messages and
events. Only the time that functions run, and the size of their logs, are assumptions. Prices are in prices.yaml.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from benchmarks.decisions import measure
from benchmarks.service import Service
from ordering.aws.dynamodb import Usage
from ordering.clock import Deadline
from ordering.identity.clients import Client as TokenClient
from ordering.identity.clients import Clients
from ordering_tools.installation import Installation
from ordering_tools.operations import signing_keys
from support.aws.simulated_aws import Do, SimulatedAws, Step, Streamed
from support.deals import ACCOUNT, Crm
from support.ecards import AUDIENCE, COMPANY, HUNDRED, ISSUER, ask, card, credentials
from support.ecards import new_order as new_ecard_order
from support.gateway import Client, Reply
from support.orders import new_item, new_order, target
from support.scenarios import Day
from support.training import READER

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "cost.md"
PRICES = Path(__file__).with_name("prices.yaml")

GIGABYTES = 0.5
"""Memory of a function."""
OWN_MS = 15
"""Assumed milliseconds of an invocation for its own work, at 512 MB."""
WAITING_MS = {"read": 4, "write": 6, "transaction": 12, "kms": 12, "sqs": 8, "events": 12, "ses": 60, "webhook": 150}
"""Assumed milliseconds that a call of each service takes."""
LOG_BYTES = 1_500
"""Assumed bytes of logs of an invocation: a line of ours, and those of Lambda."""
QUEUE_REQUESTS = 3
"""Requests for a message: it is sent, received and deleted, each alone."""

Units = Counter[str]
"""Numbers of what prices are for, by their names in prices.yaml."""

_READS = ("GetItem", "BatchGetItem", "Query")
_API = "test"
"""What the simulated AWS calls the caller that is none of its functions: here the API's function."""


class Tables(Streamed, Service):
    """Tables with a stream that charge as DynamoDB does, and count what each call takes."""

    def __init__(self, units: Units) -> None:
        super().__init__()
        self._counted = units

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a call, and count it."""
        answer = super().__call__(operation, request)
        reads = operation in _READS
        self._counted["read" if reads else "write"] += answer["ConsumedCapacity"]["CapacityUnits"]
        kind = "read" if reads else "transaction" if operation == "TransactWriteItems" else "write"
        self._counted["ms"] += WAITING_MS[kind]
        return answer


class Metered(SimulatedAws):
    """The simulated AWS, which counts what its functions use."""

    units: Units

    def _invoke(self, name: str, batch: list[dict[str, Any]]) -> list[str] | None:
        self.units["invocation"] += 1
        self.units["ms"] += OWN_MS
        return super()._invoke(name, batch)

    def _enqueue(self, queue: str, body: str, due: Any) -> None:
        self.units["queue"] += QUEUE_REQUESTS
        super()._enqueue(queue, body, due)


def counting(units: Units) -> Callable[[Step, Do], dict[str, Any]]:
    """Count the calls of functions to all services but DynamoDB."""

    def step(step: Step, do: Do) -> dict[str, Any]:
        units["ms"] += WAITING_MS.get(step.service, 0)
        units["seal"] += step.service == "kms"
        units["mail"] += step.service == "ses"
        units["event"] += len(step.request["Entries"]) if step.service == "events" else 0
        return do()

    return step


class Shop:
    """All that works behind the API, after a day of orders, and one warm process of each of the API's functions."""

    def __init__(self) -> None:
        """Let the day pass, so that nothing is the first of its kind."""
        self.units = Units()
        day = Day.__new__(Day)
        self.world = Metered(tables=Tables(self.units))
        self.world.units, self.world.mishap = self.units, counting(self.units)
        day.live_in(self.world)
        day.begin()
        self.world.run()
        day.rewards.load(1_000, HUNDRED, "more")
        day.rewards.top_up(100_000, "more")
        self.world.run()
        self.services = replace(self.world.services, issuer=ISSUER, audience=AUDIENCE)
        self.school, self.company = Client(self.services, READER), Client(self.services, COMPANY)
        self.crm = Crm(self.services, ACCOUNT)
        site = Installation(self.world.tables, self.world.kms, None, ISSUER, AUDIENCE)
        signing_keys.use(site, signing_keys.add(site, "alias/A"), wait=False)
        client = TokenClient("shop", COMPANY.partner, COMPANY.user.id, frozenset({"ecards"}))
        self.credentials = credentials("shop", Clients(site.accounts).add(client))

    def cost(self, call: Callable[[], Reply], decided: Units | None = None) -> Units:
        """The units of a call of the API, and of all that follows from it. It is made twice, the first time to warm up.

        Args:
            decided: What the authorizer's decision took; nothing if the gateway had it.
        """
        for _ in range(2):
            self.units.clear()
            signed = len(self.world.kms.calls)
            answer = call()
            if not 200 <= answer.status < 300:
                raise AssertionError(answer.text)
            self.units.update({"gateway": 1, "firewall": 1, "invocation": 1, "ms": OWN_MS})
            if signatures := sum(name == "Sign" for name, _ in self.world.kms.calls[signed:]):
                self.units.update({"sign": signatures, "ms": signatures * WAITING_MS["kms"]})
            self.world.run()
        return self.units + (decided or Units())


def calls() -> Iterator[tuple[str, Units]]:
    """The calls that are priced, each with its units."""
    shop = Shop()
    usage = {name: spent.usage for name, spent in measure().items()}
    limited, decided = (decision(usage[name]) for name in ("JWT on /v2", "JWT on /api/v2, when not cached"))
    numbers = count(1)

    def seats() -> Reply:
        body = new_order(orderItems=[new_item()], emailKeys=True, contactEmail="ann@example.com")
        return shop.school.post(target("orders"), body)

    def deal() -> Reply:
        return shop.crm.post("/v2/orders", {"data": {"deal_id": next(numbers), "discount": 5}})

    def cards() -> Reply:
        return shop.company.post("/v1/orders", new_ecard_order(100 + next(numbers), card()))

    for place in (seats, deal):
        for _ in range(12):
            place()
    placed = [cards().json["id"] for _ in range(21)]
    shop.world.run()
    number = seats().json["id"]
    shop.world.run()
    yield "training: a list of 10", shop.cost(lambda: shop.school.get(target("orders", _pageSize=10)))
    yield "training: one order", shop.cost(lambda: shop.school.get(target(f"orders/{number}")))
    yield "training: create, keys mailed, a webhook", shop.cost(seats)
    yield "deals: a list of 10", shop.cost(lambda: shop.crm.get("/v2/orders?per_page=10"), limited)
    yield "deals: one order", shop.cost(lambda: shop.crm.get("/v2/orders/1"), limited)
    yield "deals: create", shop.cost(deal, limited)
    yield "e-cards: a page of the list", shop.cost(lambda: shop.company.get("/v1/orders"), decided)
    path = f"/v1/orders/{placed[0]}"
    yield "e-cards: one order", shop.cost(lambda: shop.company.get(path), decided)
    yield "e-cards: create, a certificate mailed, a webhook", shop.cost(cards, decided)
    yield "token", shop.cost(lambda: ask(shop.services, shop.credentials))
    yield "authorizer's decision, when the gateway has none", decided
    yield "webhook: one event", delivery(shop, seats)


def decision(usage: Usage) -> Units:
    """The units of a decision of the authorizer."""
    waiting = usage.calls * WAITING_MS["read"] + (WAITING_MS["write"] - WAITING_MS["read"]) * (usage.writes > 0)
    return Units({"invocation": 1, "read": usage.reads, "write": usage.writes, "ms": OWN_MS + waiting})


def delivery(shop: Shop, place: Callable[[], Reply]) -> Units:
    """The units of one event's delivery: what an order costs more with the webhook than without it, for each event."""
    with_webhook = shop.cost(place)
    deadline = Deadline.after(60)
    webhooks = shop.services.webhooks(deadline)
    (webhook,) = webhooks.all(READER.partner)
    webhooks.remove(READER.partner, webhook.id)
    without = shop.cost(place)
    events = with_webhook["event"]
    return Units({name: (with_webhook[name] - without[name]) / events for name in with_webhook})


def prices() -> dict[str, Any]:
    """The list prices, with their date and regions."""
    found: dict[str, Any] = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    return found


def priced(units: Units, listed: Mapping[str, Any], region: str) -> dict[str, float]:
    """What units cost, in USD for a million of them, by their names in prices.yaml."""
    billed = {
        **units,
        "memory": units["ms"] / 1_000 * GIGABYTES,
        "log": units["invocation"] * LOG_BYTES,
    }
    return {name: billed.get(name, 0) * price[region] / price["per"] * 1_000_000 for name, price in listed.items()}


def document() -> str:
    """The page."""
    listed = prices()
    regions, table = listed["regions"], listed["prices"]
    rows, used = [], []
    for name, units in calls():
        costs = {region: priced(units, table, region) for region in regions}
        first = costs[regions[0]]
        parts = [sum(first[name] for name in names) for names in _PARTS.values()]
        totals = [sum(costs[region].values()) for region in regions]
        rows.append([name, *map(_dollars, parts), *(f"**{_dollars(total)}**" for total in totals)])
        used.append([name, *(f"{units[one]:,.1f}".removesuffix(".0") for one in _USED.values())])
    return _PAGE.format(
        date=listed["date"],
        own=OWN_MS,
        waiting=", ".join(f"{name} {ms}" for name, ms in WAITING_MS.items()),
        log=LOG_BYTES,
        requests=QUEUE_REQUESTS,
        costs=_table(("call", *_PARTS, *(f"**{region}**" for region in regions)), rows),
        units=_table(
            ("call", *_USED),
            used,
        ),
        prices=_table(
            ("what", *regions, "page"),
            [
                [_what(price), *(_price(price[region]) for region in regions), f"[AWS]({price['page']})"]
                for price in table.values()
            ],
        ),
    )


_PARTS = {
    "gateway, web ACL": ("gateway", "firewall"),
    "Lambda": ("invocation", "memory"),
    "DynamoDB": ("read", "write"),
    "KMS": ("seal", "sign"),
    "SQS, EventBridge": ("queue", "event"),
    "SES": ("mail",),
    "logs": ("log",),
}
"""The columns of costs."""

_USED = {
    "invocations": "invocation",
    "ms": "ms",
    "read units": "read",
    "write units": "write",
    "KMS": "seal",
    "signatures": "sign",
    "SQS requests": "queue",
    "events": "event",
    "mails": "mail",
}
"""The columns of units."""

_PAGE = """\
# What a million calls cost

`python -m benchmarks.cost` writes this page: the real code runs in a simulated AWS, which counts what each call uses,
with all that follows from it: fulfilment, mails, SES's events about them, webhooks. A test compares the page with
what the command writes.

## USD for a million calls

Parts are for the first region. A call of `/api/v2` whose decision the gateway has cached, which is most of them,
needs no authorizer; on `/v1` and `/v2` every call has one, and it is in their rows.

{costs}

Storage, backups, the web ACL itself, alarms, a trail, and data that leaves AWS are not in it: they do not follow the
number of calls. Nor are cold starts, each of which reads half a unit more.

## What each call uses

{units}

Invocations, units, messages and events are counted, each call alone: fulfilment takes up to 100 records of the stream
at a time, so at high rates there are fewer invocations of it for each order. **Time is assumed**: {own} ms of an
invocation's own work at 512 MB, and the time of each call to a service in ms ({waiting}). So are {log:,} bytes of
logs for an invocation and {requests} requests for a message. Twice the time adds the Lambda column once more, less
the price of invocations. Of SES's events about a mail the first is counted; each further one is a message, an
invocation and a write.

## Prices

AWS's list prices in USD, without free tiers and discounts. [prices.yaml](../benchmarks/prices.yaml) says which were
checked on {date}; compare the others with AWS's pages before you rely on a sum.

{prices}
"""


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}"


def _what(price: Mapping[str, Any]) -> str:
    return f"{price['what']}, for {price['per']:,}" if price["per"] > 1 else str(price["what"])


def _price(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.10f}".rstrip("0")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Write the page."""
    DOCUMENT.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
