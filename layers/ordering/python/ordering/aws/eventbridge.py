"""EventBridge: puts events onto a bus, each after those of the same group that come before it.

EventBridge takes some entries of a request and refuses others, so a request never has two entries of one group: the
second could be taken and the first refused. What a request leaves unsure is sent again; a consumer sees it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ordering.aws.calls import Call
from ordering.clock import Deadline
from ordering.errors import Unavailable

Bus = Call
"""Carries out one operation of EventBridge and returns its answer."""

ENTRIES_AT_MOST = 10
BYTES_AT_MOST = 256 * 1024
"""What one request may have: limits of the service."""

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
"""Codes of refused entries that no second try can mend."""


class Unpublished(Unavailable):
    """Some groups' entries are not all on the bus; `groups` says which, all other groups' are."""

    def __init__(self, groups: Iterable[str]) -> None:
        """Keep the groups."""
        super().__init__("not published")
        self.groups = frozenset(groups)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is put onto the bus: `detail` is a JSON text."""

    group: str
    source: str
    type: str
    time: datetime
    detail: str

    @property
    def size(self) -> int:
        """Its size in bytes, as the service counts it."""
        return _TIME + sum(len(text.encode()) for text in (self.source, self.type, self.detail))


@dataclass(frozen=True, slots=True)
class EventBus:
    """A bus by its name or ARN.

    Args:
        pauses: Waits ever longer at each step, and raises `Unavailable` when the deadline comes; see `Table.pauses`.
        deadline: When no further request is begun, however well they go.
    """

    call: Bus
    name: str
    pauses: Callable[[], Iterator[None]]
    deadline: Deadline | None = None

    def put(self, entries: Iterable[Entry]) -> None:
        """Put entries onto the bus: at least once, and in order within a group as who drops doubles sees it.

        Raises:
            Unpublished: The deadline passed, or the service will not have an entry.
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
        """Send one request; returns the code by which each entry was refused, None where it was taken."""
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
    """Drop what was taken from what waits, and groups that cannot be mended; yields those."""
    for entry, code in zip(batch, codes, strict=True):
        queue = waiting.pop(entry.group)
        left = queue[1:] if code is None else queue
        if code in _HOPELESS:
            yield entry.group
        elif left:
            waiting[entry.group] = left  # behind the others, which it must not hold up


def _heads(waiting: dict[str, list[Entry]]) -> list[Entry]:
    """Choose what the next request has: the first of each group, as many as fit."""
    batch: list[Entry] = []
    size = 0
    for entry, *_ in waiting.values():
        if len(batch) == ENTRIES_AT_MOST or size + entry.size > BYTES_AT_MOST:
            break
        batch.append(entry)
        size += entry.size
    return batch
