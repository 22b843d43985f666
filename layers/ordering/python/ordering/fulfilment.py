"""What happens after an order is taken, driven by the stream of the orders table.

The stream delivers at least once and in order per item, so every part must do no harm when it is done again. Parts:

* Books are settled: their heads follow what was placed, so that lists find short tails.
* What is left of removed deal orders is swept away: their line items, which nothing leads to any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ordering.deal_orders import Lines, account_of
from ordering.orderbook import OrderBook, book_of

_log = logging.getLogger("ordering")

Record = Mapping[str, Any]
"""A record of a DynamoDB stream, as Lambda delivers it."""


def settle_books(records: Iterable[Record], open_book: Callable[[str], OrderBook]) -> list[str]:
    """Settle each book that the records touch, once.

    Args:
        open_book: Opens a book by its name.

    Returns:
        The sequence number of the first record of each book that could not be settled: where delivery must begin
        again. One book's trouble does not keep the others from being settled.
    """
    first: dict[str, str] = {}
    for record in records:
        change = record["dynamodb"]
        name = book_of(change["Keys"]["pk"]["S"])
        if name and record["eventName"] == "INSERT":
            first.setdefault(name, change["SequenceNumber"])
    failed = []
    for name, sequence_number in first.items():
        try:
            open_book(name).settle()
        except Exception:  # noqa: BLE001 - whatever it is, the other books must not suffer
            _log.exception("not settled", extra={"book": name})
            failed.append(sequence_number)
    return failed


def sweep_orders(records: Iterable[Record], open_lines: Callable[[str, int], Lines]) -> list[str]:
    """Delete the line items of each deal order that the records say was removed.

    Args:
        open_lines: Opens the line items of an account's order.

    Returns:
        The sequence numbers of the records whose order could not be swept.
    """
    failed = []
    for record in records:
        change = record["dynamodb"]
        account = account_of(book_of(change["Keys"]["pk"]["S"]) or "")
        if account and record["eventName"] == "MODIFY" and "void" in change["NewImage"]:
            order_id = int(change["Keys"]["sk"]["S"])
            try:
                open_lines(account, order_id).sweep()
            except Exception:  # noqa: BLE001 - whatever it is, the other orders must not suffer
                _log.exception("not swept", extra={"account": account, "order": order_id})
                failed.append(change["SequenceNumber"])
    return failed
