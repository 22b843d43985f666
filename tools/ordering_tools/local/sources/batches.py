"""What becomes of a batch of stream records: done, tried again in part or in halves, or given up.

Lambda's rules for streams, and what they leave open, decided: a batch that got further starts its retries anew; with
bisection only a record that stands alone uses them up; and a failing record that is not alone is halved off even
where the function has reported it, so that the good ones behind it are not given up with it.
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
    """One change of an item."""

    sequence: str
    created: float
    """Seconds since the epoch."""
    key: str
    """The item's, so that its changes stay in order."""
    text: str
    """As the function is handed it, in JSON."""


@dataclass(frozen=True)
class Batch:
    """Records for one call, and how many calls with just these have failed."""

    records: tuple[Record, ...]
    failures: int = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the call: doubled from retry to retry."""
        return min(_FIRST_PAUSE_SECONDS * 2 ** (self.failures - 1), _LONGEST_PAUSE_SECONDS) if self.failures else 0

    @property
    def event(self) -> bytes:
        """What the function is handed."""
        return f'{{"Records":[{",".join(record.text for record in self.records)}]}}'.encode()


class BadReportError(Exception):
    """A function's result does not say, as it should, which records failed: all of them count as failed."""


def reported_failure(result: bytes, records: Sequence[Record]) -> int | None:
    """The index of the first record that a function reports as failed, which is where it is called again from.

    Raises:
        BadReportError: It names a record that it was not handed, or has another shape.
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
        raise BadReportError("batchItemFailures names no record of the batch") from error


def after_failure(batch: Batch, failed: int, source: EventSource) -> list[Batch]:
    """What to try next, in order, when a batch was done up to a record; nothing if it is to be given up."""
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
    """The records at the start of a batch that are too old to be tried, and those that are not."""
    if source.record_age is None:
        return None, batch
    oldest = now - source.record_age
    count = next((index for index, record in enumerate(batch.records) if record.created >= oldest), len(batch.records))
    if not count:
        return None, batch
    rest = batch.records[count:]
    return Batch(batch.records[:count], batch.failures), Batch(rest) if rest else None


class Progress:
    """How far a shard is done: up to the first record that is not, whatever is done behind it."""

    def __init__(self, checkpoint: str | None) -> None:
        self.checkpoint = checkpoint
        """The last sequence number up to which everything is done."""
        self._open: deque[str] = deque()
        self._done: set[str] = set()

    def __len__(self) -> int:
        """How many records have been read and not been left behind."""
        return len(self._open)

    def read(self, sequences: Iterable[str]) -> None:
        """Note records in the order of the shard."""
        self._open.extend(sequences)

    def finish(self, sequences: Iterable[str]) -> bool:
        """Note that records are done, in any order; whether the checkpoint has moved."""
        self._done.update(sequences)
        before = self.checkpoint
        while self._open and self._open[0] in self._done:
            self.checkpoint = self._open.popleft()
            self._done.remove(self.checkpoint)
        return self.checkpoint != before
