"""Finds in the orders table the work of stream records that the stream does not have any more.

A dead letter of the stream names records by their numbers and times, not the items that changed. So the whole table is
read, and each item whose work may have been lost is put on the queue of deferred items, as fulfilment puts one whose
task failed. Fulfilment then reads the item and does what is left to do; finished work is recognised and skipped. So an
item too many does no harm, and the same scan again is safe.

Queued are the items from which a task follows by fulfilment's own rules, if one of two conditions holds:

* A time in the item is within the span of the records: an order was placed then, or reached a status.
* The task is a context's own, such as issuing keys: it follows from what is not finished, or may not be. The record may
  be of a later step, which leaves no time.

An item that is newer than the records is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from ordering import clock
from ordering.aws.dynamodb import Item, Table
from ordering.book.changes import MAIL, PUBLISH, SETTLE
from ordering.contexts import derivations
from ordering.fulfilment.stream import deferred, tasks_of_item
from ordering_tools.installation import NotDone
from ordering_tools.local.dead_letters import DeadLetters, FailedBatch

FOLLOWED = ("ORDER#", "BOOK#", "MAILHISTORY#", "BALANCE#", "STOCK#")
"""The beginnings of the partition keys whose records fulfilment takes, as the template's filters have them."""

LATER_QUEUE = "LaterQueue"
"""The logical id of the queue of deferred items."""

AT_ONCE = 10
"""Messages that SQS takes with one request."""

_SHARED = frozenset({SETTLE, MAIL, PUBLISH})
_AROUND = timedelta(minutes=5)
"""A time in an item is that of the process that wrote it, before its first attempt; those of records are rounded."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Span:
    """The time in which the records of a dead letter were written."""

    first: datetime
    last: datetime

    @classmethod
    def of(cls, batch: FailedBatch) -> Span | None:
        """Read it from a message; None if the message has no times."""
        times = batch.records.approximate_arrival_of_first_record, batch.records.approximate_arrival_of_last_record
        try:
            return cls(*(datetime.fromisoformat(str(one)) for one in times))
        except ValueError:
            return None

    def has(self, at: datetime) -> bool:
        """Whether something that happened at a time can be in the records."""
        return self.first - _AROUND <= at <= self.last + _AROUND


@dataclass
class Recovery:
    """Puts the work of dead letters whose records have expired back on the queue, with one scan for all of them.

    Args:
        spans: Those of all dead letters that it may be called for.
        advance: Called with the number of items that were read.
    """

    letters: DeadLetters
    table: Table
    spans: Collection[Span]
    advance: Callable[[int], None]
    _queued: int | None = field(default=None, init=False)

    def __call__(self, batch: FailedBatch) -> str:
        """Queue the work of a dead letter, and return a description of the outcome.

        Raises:
            NotDone: The message has no times, it arrived later, or not all of the work could be queued. Call again.
        """
        span = Span.of(batch)
        if span is None:
            raise NotDone("it does not say when its records were written, so their work cannot be found")
        if span not in self.spans:
            raise NotDone("it arrived after the scan began; run the command again")
        if self._queued is None:
            self._queued = self._queue_all()
        return f"its records have expired; the scan has put {self._queued:,} items back to work"

    def _queue_all(self) -> int:
        count = 0
        found = self._lost()
        while some := list(islice(found, AT_ONCE)):
            self._send(some)
            count += len(some)
        return count

    def _lost(self) -> Iterator[str]:
        """Yield the messages of the items whose work may have been lost."""
        derive = derivations()
        for item in self.table.scan(*FOLLOWED):
            self.advance(1)
            key = item["pk"], item["sk"]
            tasks = {name for name, _ in tasks_of_item(key, item, derive)}
            if tasks and self._may_be_lost(item, own=bool(tasks - _SHARED)):
                yield deferred(key)

    def _may_be_lost(self, item: Item, *, own: bool) -> bool:
        times = [clock.from_text(text) for text in _times(item)]
        newer = bool(times) and all(min(times) > span.last + _AROUND for span in self.spans)
        return not newer and (own or any(span.has(at) for span in self.spans for at in times))

    def _send(self, bodies: Sequence[str]) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        answer = self.letters.sqs.send_message_batch(QueueUrl=self.letters.url(LATER_QUEUE), Entries=entries)
        if failed := answer.get("Failed"):
            raise NotDone(
                f"{LATER_QUEUE} did not take {len(failed)} items ({failed[0]['Code']}); run the command again"
            )


def _times(value: Any) -> Iterator[str]:
    """Yield all texts within an item that are times, as they are stored."""
    match value:
        case str() if _TIME.fullmatch(value):
            yield value
        case dict():
            for one in value.values():
                yield from _times(one)
        case list():
            for one in value:
                yield from _times(one)
