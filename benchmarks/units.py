"""What a create costs in write units, by the number of its items.

*Order book* (ours) is one order through `TrainingOrders.place`, ticket and idempotency record included, as the engine
charges it; *by arithmetic* is the same on the modelled service, which charges by the documented formula: the two must
agree. *One put a line* is what most would write: the order and each of its lines by a plain put, without a transaction,
entry, position or idempotency, from the same attributes; a crash in between leaves part of an order.
"""

from __future__ import annotations

from benchmarks import engine
from benchmarks.report import Results, Section
from benchmarks.service import Service
from benchmarks.shop import ORDERS, Cost, Shop, written_items
from ordering.aws.dynamodb import Item, Put, Send, Table

NAME = "units"
LINES = (1, 2, 5, 10, 50, 100, 200, 500)


def run() -> Section:
    """Measure it on the engine and on the model."""
    with engine.running() as connect:
        send = connect()
        measured = ours(send)
        naive = {lines: one_put_a_line(send, lines) for lines in LINES}
    computed = ours(Service())
    rows = [
        [
            f"{lines}",
            f"{len(written_items(lines)) + 1}",
            f"{measured[lines].units:.0f}",
            f"{computed[lines].units:.0f}",
            f"{naive[lines]:.0f}",
            f"{measured[lines].units / naive[lines]:.2f}",
        ]
        for lines in LINES
    ]
    return Section(NAME, "Write units of a create", _EXPLANATION, [Results("Write units", _COLUMNS, rows)])


_COLUMNS = ("lines", "items written", "order book", "by arithmetic", "one put a line", "ours ÷ its")
_EXPLANATION = """
*Order book*: ticket, entry, order, lines and idempotency record, as charged by the engine; in a transaction DynamoDB
charges each item twice, the search index takes two units, that of unfinished work one. *By arithmetic*: the same from
the items' sizes, by the documented formula. *One put a line*: order and lines by plain puts: no transaction, no
idempotency, no place in a list.
The order book packs lines into items of up to 64 KB, since writes are billed per started kilobyte.
"""


def ours(send: Send) -> dict[int, Cost]:
    """Place an order of each size; returns the costs by its number of lines."""
    shop = Shop(send, ids=range(len(LINES) + 1, 0, -1))
    shop.open()
    shop.place("first")
    shop.calls.take()
    costs = {}
    for lines in LINES:
        shop.place(f"order-{lines}", lines)
        costs[lines] = shop.calls.take()
    return costs


def one_put_a_line(send: Send, lines: int) -> float:
    """Put an order and its lines one by one; returns the write units."""
    _, order, *packs, _ = written_items(lines)
    table = Table(send, ORDERS)
    partition = f"NAIVE#{lines}"
    unpacked: list[Item] = [line for pack in packs for line in pack["lines"]]
    for item in (order, *unpacked):
        table.put(Put({**item, "pk": partition, "sk": f"{item.get('number', 'ORDER')}"}))
    return table.usage.take().writes
