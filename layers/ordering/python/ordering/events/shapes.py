"""The envelope of all events, and the texts and numbers in it."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from ordering.events.types import SOURCE, VERSION

Instant = Annotated[str, {"format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}]
Uuid = Annotated[str, {"format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}]
Amount = Annotated[str, {"pattern": r"^-?\d+(\.\d+)?$"}]
Count = Annotated[int, {"minimum": 1}]


class EventEnvelope(TypedDict):
    """An event. It may be delivered more than once, always with the same id and content."""

    id: Uuid
    type: str
    version: Annotated[int, {"const": VERSION}]
    time: Instant
    source: Annotated[str, {"const": SOURCE}]
    sequence: Annotated[Count, {"description": "Its place in the order's history, from 1 without gaps."}]
    data: dict[str, Any]
