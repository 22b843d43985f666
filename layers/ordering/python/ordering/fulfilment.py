"""What happens after an order is taken, driven by the stream of the orders table.

The stream delivers at least once and in order per item, so every part must do no harm when it is done again. Parts:

* Books are settled: their heads follow what was placed, so that lists find short tails.
* What is left of removed deal orders is swept away: their line items, which nothing leads to any more.
* Training orders get their access keys, and are completed with the last one. A large order takes several steps. Each
  leaves the order's item changed, so that the stream brings it again, behind what came in meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ordering.certificates import Sealer
from ordering.clock import Deadline
from ordering.deal_orders import Lines, account_of
from ordering.lifecycle import TrainingStatus
from ordering.orderbook import OrderBook, book_of
from ordering.principal import BusinessUnit
from ordering.training_orders import TrainingOrders, order_of

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


def issue_keys(
    records: Iterable[Record], open_orders: Callable[[BusinessUnit], TrainingOrders], sealer: Sealer, deadline: Deadline
) -> list[str]:
    """Issue the access keys of each training order that the records say is new, or has not all of its keys yet.

    The time that is left is shared evenly, so that no order keeps others waiting.

    Args:
        open_orders: Opens the orders of a business unit.

    Returns:
        The sequence number of the first record of each order that got no further.
    """
    first: dict[int, tuple[str, BusinessUnit]] = {}
    for record in records:
        if (order_id := _to_be_issued(record)) is not None:
            change = record["dynamodb"]
            unit = change["NewImage"]["order"]["M"]["unit"]["M"]
            first.setdefault(order_id, (change["SequenceNumber"], BusinessUnit(unit["id"]["S"], unit["name"]["S"])))
    failed = []
    for waiting, (order_id, (sequence_number, unit)) in zip(range(len(first), 0, -1), first.items(), strict=True):
        if (left := deadline.remaining()) <= 0:
            failed.append(sequence_number)
            continue
        try:
            open_orders(unit).issue_keys(order_id, sealer, Deadline.after(left / waiting))
        except Exception:  # noqa: BLE001 - whatever it is, the other orders must not suffer
            _log.exception("keys not issued", extra={"order": order_id})
            failed.append(sequence_number)
    return failed


def _to_be_issued(record: Record) -> int | None:
    """Return the id of the training order that a record says has the status in which keys are issued."""
    change = record["dynamodb"]
    order_id = order_of(change["Keys"]["pk"]["S"], change["Keys"]["sk"]["S"])
    if order_id is None or record["eventName"] not in {"INSERT", "MODIFY"}:
        return None
    return order_id if change["NewImage"]["order"]["M"]["status"]["S"] == TrainingStatus.NEW else None
