"""The envelope of all events, the texts and numbers in it, and the shape of a mail."""

from __future__ import annotations

from typing import Annotated, Generic, NotRequired, TypeVar

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.events.types import SOURCE, VERSION

Instant = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Uuid = Annotated[
    str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"})
]
Amount = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Count = Annotated[int, Field(ge=1)]


Name = TypeVar("Name")
Data = TypeVar("Data")


class EventEnvelope(TypedDict, Generic[Name, Data]):
    """An event. It may be delivered more than once, always with the same id and content."""

    id: Uuid
    """The event's id, the same in every delivery."""
    type: Name
    """What happened."""
    version: Annotated[int, Field(json_schema_extra={"const": VERSION})]
    """The version of the event's schema."""
    time: Instant
    """When it happened."""
    source: Annotated[str, Field(json_schema_extra={"const": SOURCE})]
    """Where the event comes from."""
    sequence: Annotated[
        Count, Field(description="Its place in the history of the order, or of the order's mails, from 1 without gaps.")
    ]
    correlationId: NotRequired[
        Annotated[
            Uuid,
            Field(
                description="The `X-Request-Id` of the response to the request that created the order. Missing if the "
                "order has none, as orders of earlier releases."
            ),
        ]
    ]
    data: Data


class EventMail(TypedDict):
    """A mail of the order. Its number is the rank of its first certificate within the order, and 1 if it has keys."""

    number: Count
    """The rank of the mail's first certificate within the order; 1 if the mail has access keys."""
    to: Annotated[str, Field(description="The address that this attempt went to.")]
    reason: Annotated[str | None, Field(description="Why it bounced or was refused; null if it was sent.")]
