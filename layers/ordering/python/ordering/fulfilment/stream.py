"""The consumer of the orders table's stream: collects changed items and dispatches each to the context that owns it.

The stream delivers at least once. A record only points to an item: the item's context derives the tasks that follow the
change, and each task reads the table to find out what is left to do.

A stream does not move past a record that fails. So the key of an item whose task failed is deferred: it is put on a
queue, which delivers it a little later for a retry. After too many retries it becomes a dead letter. Only records of
items that cannot be deferred are reported to the stream as failed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ordering.aws.dynamodb import Item, Key, Table, plain_item
from ordering.aws.sqs import Enqueue, handle_each
from ordering.book.changes import SETTLE, Change, Derive, Do, Follower, Task
from ordering.book.correlation import correlation_of
from ordering.book.names import name_of
from ordering.book.positions import book_of
from ordering.logs import about, correlate
from ordering.values import Value

DEFER_SECONDS = 10
"""Seconds after which a deferred item is retried."""

_log = logging.getLogger("ordering")

Record = Mapping[str, Any]
"""A record of a DynamoDB stream, as Lambda delivers it."""


def tasks_that_follow(change: Change, derivations: Sequence[Derive]) -> Iterator[Task]:
    """Yield the tasks that follow a change: its context's, and for a new entry the settling of its book."""
    partition, _ = change.key
    book = book_of(partition)
    if book is not None and change.before is None:
        yield SETTLE, (book,)
    for derive in derivations:
        yield from derive(change)


def tasks_of_item(key: Key, item: Item, derivations: Sequence[Derive]) -> list[Task]:
    """Return the tasks that follow whatever changed an item last: it may have been inserted or updated."""
    changes = Change(key, None, item), Change(key, {}, item)
    return [*dict.fromkeys(task for change in changes for task in tasks_that_follow(change, derivations))]


def deferred(key: Key) -> str:
    """Return the body of the message that has an item, by its key, followed again."""
    return json.dumps(key)


class StreamConsumer(Value):
    """Follows the orders table, for one invocation.

    Args:
        table: The orders table.
        followers: The followers of all contexts.
        handlers: The handlers of the tasks that contexts share, by name.
        defer: Puts keys on the queue of deferred items.
    """

    table: Table
    followers: Sequence[Follower]
    handlers: Mapping[str, Do]
    defer: Enqueue

    def follow(self, records: Iterable[Record]) -> list[str]:
        """Carry out the tasks that follow the changes in records of the stream.

        Returns:
            For each item whose task failed and that could not be deferred, the sequence number of its first record:
            the stream must deliver again from there.
        """
        first: dict[Key, str] = {}
        tasks: dict[Task, set[Key]] = {}
        failed: set[Key] = set()
        for record in records:
            change = record["dynamodb"]
            key = change["Keys"]["pk"]["S"], change["Keys"]["sk"]["S"]
            first.setdefault(key, change["SequenceNumber"])
            try:
                for task in self._tasks_of_record(key, record):
                    tasks.setdefault(task, set()).add(key)
            except Exception:  # noqa: BLE001 - an unreadable record must not keep the others from being handled
                _log.exception("stream record unreadable", extra={"key": key, "order": name_of(key)})
                failed.add(key)
        for task in self._do(tasks):
            failed |= tasks[task]
        return [first[key] for key in self._defer([key for key in first if key in failed])]

    def retry(self, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Carry out the tasks of deferred items; returns the ids of messages that must be delivered again."""
        return handle_each(messages, self._retry)

    def _retry(self, body: str) -> None:
        key: Key = tuple(json.loads(body))
        with about(key=key, order=name_of(key)):
            self._follow_item(key)

    def _follow_item(self, key: Key) -> None:
        item = self.table.get(key)
        if item is None:
            return
        correlate(correlation_of(item))
        tasks = tasks_of_item(key, item, self._derivations)
        if failed := self._do(tasks):
            raise RuntimeError(f"deferred tasks failed: {[name for name, _ in failed]}")

    @property
    def _derivations(self) -> Sequence[Derive]:
        return [follower.tasks_of for follower in self.followers]

    def _tasks_of_record(self, key: Key, record: Record) -> list[Task]:
        change = record["dynamodb"]
        if record["eventName"] == "REMOVE":
            return []
        before = plain_item(change["OldImage"]) if record["eventName"] == "MODIFY" else None
        found = Change(key, before, plain_item(change["NewImage"]))
        return [] if found.is_of_progress else [*tasks_that_follow(found, self._derivations)]

    def _do(self, tasks: Iterable[Task]) -> list[Task]:
        """Carry out tasks, all of one name at a time, and return those that failed."""
        failed: list[Task] = []
        wanted = list(tasks)
        for name, do in self._in_order():
            if subjects := [subject for one, subject in wanted if one == name]:
                try:
                    left = do(subjects)
                except Exception:  # noqa: BLE001 - tasks of other names must still be carried out
                    _log.exception("tasks failed", extra={"task": name})
                    left = subjects
                failed += [(name, subject) for subject in left]
        return failed

    def _in_order(self) -> Iterator[tuple[str, Do]]:
        """Yield all handlers: settling first, then each context's own, mails and events, and the slow ones last."""
        yield SETTLE, self.handlers[SETTLE]
        for follower in self.followers:
            yield from follower.handlers.items()
        yield from ((name, do) for name, do in self.handlers.items() if name != SETTLE)
        for follower in self.followers:
            yield from follower.slow_handlers.items()

    def _defer(self, keys: Sequence[Key]) -> Sequence[Key]:
        """Defer keys; returns those that could not be deferred. After one failure no further key is tried."""
        for index, key in enumerate(keys):
            try:
                self.defer(deferred(key), DEFER_SECONDS)
            except Exception:  # noqa: BLE001 - it is reported to the stream
                _log.exception("items not deferred", extra={"keys": len(keys) - index})
                return keys[index:]
        return ()
