"""EventBridge: puts events on a bus, the events of one group one after another.

EventBridge can accept some entries of a request and refuse others. So a request never has two entries of one group:
the first could be refused and the second accepted. After a lost response entries are sent again, so a consumer can
receive duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ordering.aws.calls import ServiceCall
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.values import Value

Bus = ServiceCall
"""Carries out one operation of EventBridge and returns the response."""

ENTRIES_AT_MOST = 10
BYTES_AT_MOST = 256 * 1024
"""The most entries and bytes of one request: limits of the service."""

_TIME = 14
"""Bytes that the service counts for an entry's time."""

_HOPELESS = frozenset(
    {
        "AccessDeniedException",
        "InvalidAccountIdException",
        "InvalidArgument",
        "MalformedDetail",
        "NotAuthorizedForDetailTypeException",
        "NotAuthorizedForSourceException",
        "OperationDisabledException",
        "ResourceNotFoundException",
    }
)
"""Codes of refused entries for which a retry cannot help."""


class Unpublished(Unavailable):
    """Not all entries of the groups in `groups` are on the bus; those of all other groups are."""

    def __init__(self, groups: Iterable[str]) -> None:
        """Keep the groups."""
        super().__init__("not published")
        self.groups = frozenset(groups)


class Entry(Value):
    """An entry for the bus. `detail` is a JSON text; entries of one group are put in order."""

    group: str
    source: str
    type: str
    time: datetime
    detail: str

    @property
    def size(self) -> int:
        """Its size in bytes, as the service counts it."""
        return _TIME + sum(len(text.encode()) for text in (self.source, self.type, self.detail))


class EventBus(Value):
    """A bus by its name or ARN.

    Args:
        pauses: Returns increasing pauses that end with `Unavailable` at the deadline; see `Table.pauses`.
        deadline: The time after which no request is begun, even if none has failed.
    """

    call: Bus
    name: str
    pauses: Callable[[], Iterator[None]]
    deadline: Deadline | None = None

    def put(self, entries: Iterable[Entry]) -> None:
        """Put entries on the bus, at least once. Within a group they are in order once duplicates are dropped.

        Raises:
            Unpublished: The deadline passed, or the service refused an entry for good.
        """
        waiting: dict[str, list[Entry]] = {}
        for entry in entries:
            waiting.setdefault(entry.group, []).append(entry)
        hopeless = [group for group, queue in waiting.items() if any(entry.size > BYTES_AT_MOST for entry in queue)]
        for group in hopeless:
            del waiting[group]
        pauses = self.pauses()
        while waiting:
            if self.deadline and self.deadline.remaining() <= 0:
                raise Unpublished([*waiting, *hopeless])
            batch = _heads(waiting)
            codes = self._send(batch)
            hopeless += _drop(waiting, batch, codes)
            if waiting and any(code is not None and code not in _HOPELESS for code in codes):
                try:
                    next(pauses)
                except Unavailable as error:
                    raise Unpublished([*waiting, *hopeless]) from error
        if hopeless:
            raise Unpublished(hopeless)

    def _send(self, batch: Sequence[Entry]) -> list[str | None]:
        """Send one request; returns for each entry the code with which it was refused, None if it was accepted."""
        entries = [
            {
                "Time": entry.time,
                "Source": entry.source,
                "DetailType": entry.type,
                "Detail": entry.detail,
                "EventBusName": self.name,
            }
            for entry in batch
        ]
        try:
            answer: dict[str, Any] = self.call("PutEvents", {"Entries": entries})
        except Unavailable:
            return ["NoAnswer"] * len(batch)
        results = answer.get("Entries", ())
        if len(results) != len(batch):
            return ["NoAnswer"] * len(batch)
        return [None if result.get("EventId") else result.get("ErrorCode", "Unknown") for result in results]


def _drop(waiting: dict[str, list[Entry]], batch: Sequence[Entry], codes: Sequence[str | None]) -> Iterator[str]:
    """Remove accepted entries from `waiting`, and the groups that were refused for good; yields those groups."""
    for entry, code in zip(batch, codes, strict=True):
        queue = waiting.pop(entry.group)
        left = queue[1:] if code is None else queue
        if code in _HOPELESS:
            yield entry.group
        elif left:
            waiting[entry.group] = left  # behind the other groups, which it must not delay


def _heads(waiting: dict[str, list[Entry]]) -> list[Entry]:
    """Return the entries of the next request: the first of each group, as many as fit."""
    batch: list[Entry] = []
    size = 0
    for entry, *_ in waiting.values():
        if len(batch) == ENTRIES_AT_MOST or size + entry.size > BYTES_AT_MOST:
            break
        batch.append(entry)
        size += entry.size
    return batch
