"""Collects stream records into batches, and calls the function until each record is done or given up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ordering_tools.local.sources.batches import Batch, Record, after_failure, reported_failure, split_old

if TYPE_CHECKING:
    from ordering_tools.local.sources.event_sources import EventSource

_EVENT_LIMIT = 6 * 1024 * 1024
"""Bytes; Lambda's quota for an event."""


@dataclass(frozen=True)
class GivenUp:
    """A batch that is not retried any more."""

    batch: Batch
    condition: str
    """The reason, as Lambda names it."""
    calls: int
    error: Exception | None


class Outcomes(Protocol):
    """Receives the outcomes of a worker's calls."""

    def report(self, batch: Batch, seconds: float, failed: int | None, error: Exception | None) -> None:
        """Report a call; `failed` is the index of the first record that failed, None if none did."""

    def done(self, records: Sequence[Record]) -> None:
        """Mark records as done or given up."""

    def give_up(self, given_up: GivenUp) -> None:
        """Report a batch that is given up."""


class Worker:
    """Processes records of one shard in their order, one batch at a time."""

    def __init__(
        self,
        source: EventSource,
        invoke: Callable[[bytes], bytes],
        outcomes: Outcomes,
        stopping: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._invoke = invoke
        self._outcomes = outcomes
        self._stopping = stopping
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Record]] = deque()
        self._ended = False

    def put(self, records: Sequence[Record]) -> None:
        """Add records to the end of those that wait."""
        arrived = time.monotonic()
        with self._changed:
            self._waiting.extend((arrived, record) for record in records)
            self._changed.notify_all()

    def end(self) -> None:
        """Announce that no more records follow; waiting ones are still processed, unless it is stopping."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def run(self) -> None:
        """Process batches until no more records follow."""
        while records := self._collect():
            self.settle(records)

    def settle(self, records: Sequence[Record]) -> None:
        """Call the function until each of these records is done or given up, or until it is stopped."""
        pending = [Batch(tuple(records))]
        while pending and not self._stopping.wait(pending[0].pause):
            pending[:1] = self._attempt(pending[0])

    def _collect(self) -> list[Record]:
        """The next batch, once it is full or its window has passed; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                rest = self._waiting[0][0] + self._source.window - time.monotonic()
                self._changed.wait_for(lambda: self._ended or self._full() is not None, max(rest, 0))
            if self._stopping.is_set():
                return []
            count = self._full() or len(self._waiting)
            return [self._waiting.popleft()[1] for _ in range(count)]

    def _full(self) -> int | None:
        """How many of the waiting records are a full batch; None if there are too few."""
        size = 0
        for count, (_, record) in enumerate(self._waiting, 1):
            size += len(record.text)
            if size > _EVENT_LIMIT and count > 1:
                return count - 1
            if count == self._source.batch_size:
                return count
        return None

    def _attempt(self, batch: Batch) -> list[Batch]:
        """Make one call with a batch; returns the batches that are still to be done."""
        old, fresh = split_old(batch, self._source, self._clock())
        if old:
            self._abandon(GivenUp(old, "RecordAgeExceeded", old.failures, None))
        if not fresh:
            return []
        failed, error = self._call(fresh)
        if failed is None:
            self._outcomes.done(fresh.records)
            return []
        if self._stopping.is_set():
            # The call may have failed because its process was killed.
            return [fresh]
        self._outcomes.done(fresh.records[:failed])
        again = after_failure(fresh, failed, self._source)
        if not again:
            self._abandon(GivenUp(fresh, "RetryAttemptsExhausted", fresh.failures + 1, error))
        return again

    def _call(self, batch: Batch) -> tuple[int | None, Exception | None]:
        """Make one call; returns the index of the first record that failed, and the exception, or None."""
        failed: int | None = 0
        error: Exception | None = None
        began = time.monotonic()
        try:
            result = self._invoke(batch.event)
            failed = reported_failure(result, batch.records) if self._source.reports_failures else None
        except Exception as caught:  # noqa: BLE001 - the shard is processed on after any exception
            error = caught
        self._outcomes.report(batch, time.monotonic() - began, failed, error)
        return failed, error

    def _abandon(self, given_up: GivenUp) -> None:
        self._outcomes.give_up(given_up)
        self._outcomes.done(given_up.batch.records)
