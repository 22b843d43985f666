"""The retries of a batch of stream records: whole, from the failed record on, or in halves, until it is given up.

Lambda's rules for streams, with these decisions where its documentation is not precise: after progress in a batch its
retries start at zero; with bisection only a batch of one record uses up retries; and a failed record is isolated by
bisection even if the function has reported it, so that the records behind it are not given up with it.
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ordering_tools.local.sources.event_sources import EventSource

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Record:
    """A stream record: one change of an item."""

    sequence: str
    created: float
    """Seconds since the epoch."""
    key: str
    """The key of the item, whose changes must stay in order."""
    text: str
    """The record in the function's event, in JSON."""


@dataclass(frozen=True)
class Batch:
    """Records for one call, and how many calls with exactly these records have failed."""

    records: tuple[Record, ...]
    failures: int = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the call, doubled for each retry."""
        return min(_FIRST_PAUSE_SECONDS * 2 ** (self.failures - 1), _LONGEST_PAUSE_SECONDS) if self.failures else 0

    @property
    def event(self) -> bytes:
        """The event for the function, in JSON."""
        return f'{{"Records":[{",".join(record.text for record in self.records)}]}}'.encode()


class BadReportError(Exception):
    """A function's report of failed records is invalid, so that all of them count as failed."""


def reported_failure(result: bytes, records: Sequence[Record]) -> int | None:
    """The index of the first record that a function reports as failed, from which it is called again.

    Raises:
        BadReportError: The report names a record that is not in the batch, or is malformed.
    """
    report: Any = json.loads(result or b"null")
    if not isinstance(report, dict | None):
        raise BadReportError(f"batchItemFailures cannot be read from {type(report).__name__}")
    places = {record.sequence: index for index, record in enumerate(records)}
    try:
        return min(
            (places[item["itemIdentifier"]] for item in (report or {}).get("batchItemFailures") or []), default=None
        )
    except (KeyError, TypeError) as error:
        raise BadReportError("batchItemFailures does not name a record of the batch") from error


def after_failure(batch: Batch, failed: int, source: EventSource) -> list[Batch]:
    """The batches to try next, in order, after a batch failed at a record; empty if it is to be given up."""
    rest = batch.records[failed:]
    if failed:
        return [Batch(rest)]
    if source.bisect and len(rest) > 1:
        middle = (len(rest) + 1) // 2
        return [Batch(rest[:middle]), Batch(rest[middle:])]
    if source.retries is None or batch.failures < source.retries:
        return [Batch(rest, batch.failures + 1)]
    return []


def split_old(batch: Batch, source: EventSource, now: float) -> tuple[Batch | None, Batch | None]:
    """Split a batch into the records at its start that exceed the record age, and the others; None if empty."""
    if source.record_age is None:
        return None, batch
    oldest = now - source.record_age
    count = next((index for index, record in enumerate(batch.records) if record.created >= oldest), len(batch.records))
    if not count:
        return None, batch
    rest = batch.records[count:]
    return Batch(batch.records[:count], batch.failures), Batch(rest) if rest else None


class Progress:
    """The checkpoint of a shard: all records up to it are done, even if later ones are done too."""

    def __init__(self, checkpoint: str | None) -> None:
        self.checkpoint = checkpoint
        """The last sequence number up to which all records are done."""
        self._open: deque[str] = deque()
        self._done: set[str] = set()

    def __len__(self) -> int:
        """How many of the records that were read come after the checkpoint."""
        return len(self._open)

    def read(self, sequences: Iterable[str]) -> None:
        """Add records that were read, in the order of the shard."""
        self._open.extend(sequences)

    def finish(self, sequences: Iterable[str]) -> bool:
        """Mark records as done, in any order; returns whether the checkpoint has moved."""
        self._done.update(sequences)
        before = self.checkpoint
        while self._open and self._open[0] in self._done:
            self.checkpoint = self._open.popleft()
            self._done.remove(self.checkpoint)
        return self.checkpoint != before
