"""What happens after an order is taken, driven by the stream of the orders table.

The stream delivers at least once, and a record only says where to look: what is to be done, the table says. So a change
of an item becomes tasks, each of a part of this module's clients, and every task can be done by anybody at any time,
any number of times:

* `SETTLE` Books' heads follow what was placed, so that lists find short tails.
* `SWEEP` What is left of removed deal orders is deleted: their line items, which nothing leads to any more.
* `ADVANCE`, `PAY`, `STOCK` E-card orders get their certificates, or give them back; a balance or a stock that rose
  moves on the orders that wait for it.
* `MAIL` Orders whose access keys or certificates are ready are told to whoever mails them.
* `PUBLISH` What happened to orders is passed on, as events.
* `ISSUE` Training orders get their access keys, and are completed with the last one. A large order takes several steps.
  Each leaves the order's item changed, so that the stream brings it again, behind what came in meanwhile.

A task that fails must not hold up the records behind it, as a stream does that waits for a record. So the key of its
item is put aside, onto a queue, and the item is looked at again a little later, until that was tried often enough and
the queue's dead letters keep it. Only what cannot even be put aside is told to the stream as failed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ordering.aws.dynamodb import Item, Key, Table, plain_item
from ordering.aws.sqs import Send, handle_each
from ordering.book.orderbook import book_of
from ordering.clock import Deadline
from ordering.deals.orders import account_of
from ordering.ecards import balance as ecard_balance
from ordering.ecards import records as ecard_records
from ordering.ecards.certificates import Stock, read_ranges, size, stock_of
from ordering.ecards.statuses import EcardStatus
from ordering.events.stories import key_of, name_of
from ordering.principal import BusinessUnit
from ordering.sealing import Sealer
from ordering.training import orders as training_orders
from ordering.training.orders import TrainingOrders
from ordering.training.statuses import TrainingStatus

PUT_ASIDE_SECONDS = 10
"""How long an item that was put aside is left alone."""

_log = logging.getLogger("ordering")

Record = Mapping[str, Any]
"""A record of a DynamoDB stream, as Lambda delivers it."""

Subject = tuple[str, ...]
"""What a task is about, by ids; which ones, its part says."""

Do = Callable[[Sequence[Subject]], Collection[Subject]]
"""Does the tasks of one part and returns those that failed; if it raises, all of them did."""


class Part(StrEnum):
    """The parts, in the order in which they are done; with what they are about."""

    SETTLE = "settle"
    """A book's name."""
    SWEEP = "sweep"
    """An account and the id of its order."""
    ADVANCE = "advance"
    """A company and the id of its order."""
    PAY = "pay"
    """A company."""
    STOCK = "stock"
    """A card's id and a face value."""
    MAIL = "mail"
    """An order's name, as events have it."""
    PUBLISH = "publish"
    """As above."""
    ISSUE = "issue"
    """An order's id, and id and name of its unit. Last, because it takes whatever time there is."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an item was before and is after a change; before it was made it was None."""

    key: Key
    before: Item | None
    after: Item


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """Follows the orders table, for one invocation.

    Args:
        table: The orders table.
        later: Puts keys aside.
    """

    table: Table
    parts: Mapping[Part, Do]
    later: Send

    def follow(self, records: Iterable[Record]) -> list[str]:
        """Do what records of the stream say.

        Returns:
            The sequence number of the first record of each item that something failed for and that could not be put
            aside: where delivery must begin again.
        """
        first: dict[Key, str] = {}
        tasks: dict[tuple[Part, Subject], set[Key]] = {}
        failed: set[Key] = set()
        for record in records:
            change = record["dynamodb"]
            key = change["Keys"]["pk"]["S"], change["Keys"]["sk"]["S"]
            first.setdefault(key, change["SequenceNumber"])
            try:
                for task in _tasks_of_record(key, record):
                    tasks.setdefault(task, set()).add(key)
            except Exception:  # noqa: BLE001 - whatever is wrong with it, the others must not suffer
                _log.exception("not read", extra={"key": key})
                failed.add(key)
        for task in self._do(tasks):
            failed |= tasks[task]
        return [first[key] for key in self._put_aside([key for key in first if key in failed])]

    def look_again(self, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Do what is to be done for items that were put aside; returns the ids of messages that must come again."""
        return handle_each(messages, self._look_again)

    def _look_again(self, body: str) -> None:
        key: Key = tuple(json.loads(body))
        item = self.table.get(key)
        if item is None:
            return
        # What the change was is not known any more.
        changes = Change(key, None, item), Change(key, {}, item)
        tasks = dict.fromkeys(task for change in changes for task in tasks_of(change))
        if failed := self._do(tasks):
            raise RuntimeError(f"failed again: {[str(part) for part, _ in failed]}")

    def _do(self, tasks: Iterable[tuple[Part, Subject]]) -> list[tuple[Part, Subject]]:
        """Do tasks, part by part, and return those that failed."""
        failed: list[tuple[Part, Subject]] = []
        wanted = list(tasks)
        for part, do in self.parts.items():
            if subjects := [subject for one, subject in wanted if one is part]:
                try:
                    left = do(subjects)
                except Exception:  # noqa: BLE001 - whatever it is, the other parts must not suffer
                    _log.exception("failed", extra={"part": str(part)})
                    left = subjects
                failed += [(part, subject) for subject in left]
        return failed

    def _put_aside(self, keys: Sequence[Key]) -> Sequence[Key]:
        """Put keys aside and return those for which that failed: the first one's trouble is every other one's too."""
        for index, key in enumerate(keys):
            try:
                self.later(json.dumps(key), PUT_ASIDE_SECONDS)
            except Exception:  # noqa: BLE001 - it is told to the stream
                _log.exception("not put aside", extra={"keys": len(keys) - index})
                return keys[index:]
        return ()


def each(do: Callable[..., object]) -> Do:
    """Make a part of what does one task, given its subject."""

    def all_of(subjects: Sequence[Subject]) -> list[Subject]:
        failed = []
        for subject in subjects:
            try:
                do(*subject)
            except Exception:  # noqa: BLE001 - whatever it is, the other subjects must not suffer
                _log.exception("failed", extra={"subject": subject})
                failed.append(subject)
        return failed

    return all_of


def tasks_of(change: Change) -> Iterator[tuple[Part, Subject]]:
    """Say what is to be done after a change."""
    partition, sort = change.key
    book = book_of(partition)
    if book is not None:
        yield from _tasks_of_entry(book, sort, change)
    elif (name := name_of(partition)) is not None and change.key == key_of(name):
        yield Part.PUBLISH, (name,)
        yield from _tasks_of_order(name, change)
    elif (company := ecard_balance.company_of(partition)) is not None:
        if _rose(change, ecard_balance.hundredths_of):
            yield Part.PAY, (company,)
    elif (stock := stock_of(partition)) is not None and _rose(change, _free):
        yield Part.STOCK, (str(stock.card_id), stock.face_value)


def _tasks_of_entry(book: str, sort: str, change: Change) -> Iterator[tuple[Part, Subject]]:
    if change.before is None:
        yield Part.SETTLE, (book,)
    elif (account := account_of(book)) is not None and "void" in change.after:
        yield Part.SWEEP, (account, str(int(sort)))


def _tasks_of_order(name: str, change: Change) -> Iterator[tuple[Part, Subject]]:
    partition, sort = change.key
    if (order_id := training_orders.order_of(partition, sort)) is not None:
        order = change.after["order"]
        if order["status"] == TrainingStatus.NEW:
            yield Part.ISSUE, (str(order_id), order["unit"]["id"], order["unit"]["name"])
        if order["emailKeys"] and _came_to(change, TrainingStatus.COMPLETED):
            yield Part.MAIL, (name,)
    elif (found := ecard_records.order_of(partition)) is not None:
        # One that waits may have been given a part of what it needs, and died before the rest.
        if change.after["status"] in {EcardStatus.PAYED, EcardStatus.AWAITING} or change.after["returning"]:
            yield Part.ADVANCE, found
        if _came_to(change, EcardStatus.READY) or _came_to(change, EcardStatus.PARTIALLY_DELIVERED):
            yield Part.MAIL, (name,)


def issue_keys(
    subjects: Sequence[Subject],
    open_orders: Callable[[BusinessUnit], TrainingOrders],
    sealer: Sealer,
    deadline: Deadline,
) -> list[Subject]:
    """Issue the access keys of training orders that have not all of them yet.

    The time that is left is shared evenly, so that no order keeps others waiting.

    Args:
        open_orders: Opens the orders of a business unit.

    Returns:
        The orders that got no further.
    """
    failed = []
    for waiting, subject in zip(range(len(subjects), 0, -1), subjects, strict=True):
        order_id, *unit = subject
        try:
            orders = open_orders(BusinessUnit(*unit))
            orders.issue_keys(int(order_id), sealer, Deadline.after(deadline.remaining() / waiting))
        except Exception:  # noqa: BLE001 - whatever it is, the other orders must not suffer
            _log.exception("keys not issued", extra={"order": order_id})
            failed.append(subject)
    return failed


def stock_named(card_id: str, face_value: str) -> Stock:
    """Return the stock that a task is about."""
    return Stock(int(card_id), face_value)


def _tasks_of_record(key: Key, record: Record) -> list[tuple[Part, Subject]]:
    change = record["dynamodb"]
    if record["eventName"] == "REMOVE":
        return []
    before = plain_item(change["OldImage"]) if record["eventName"] == "MODIFY" else None
    return [*tasks_of(Change(key, before, plain_item(change["NewImage"])))]


def _rose(change: Change, amount: Callable[[Item | None], int]) -> bool:
    return amount(change.after) > amount(change.before)


def _free(item: Item | None) -> int:
    return size(read_ranges((item or {}).get("unassigned", [])))


def _came_to(change: Change, status: StrEnum) -> bool:
    def status_of(item: Item | None) -> Any:
        whole = item or {}
        return whole.get("order", whole).get("status")

    return bool(status_of(change.after) == status != status_of(change.before))
