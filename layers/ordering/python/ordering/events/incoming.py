"""Inbound events: their envelope, how an event is validated, and how it can fail.

EventBridge puts inbound events on a queue, which delivers each at least once, in any order, and to several consumers
at a time. So a context carries out an event idempotently, by a key in its data: a payment's operation, a batch of
certificates, an order. The key is never the event's own id, because a producer that lost the response may send the
same payment under another id.

A delivery ends in one of four ways:

    no error         it is carried out, now or by an earlier delivery
    MalformedEvent   no delivery can carry it out: after some retries it becomes a dead letter
    EventRefused     it is well formed, but can never be carried out: it is logged, counted and not retried
    any other error  it came too early (`NotFound`), met a concurrent change (`Conflict`) or a service was unavailable:
                     the queue delivers it again

Patterns state every rule of a string, so that the schemas in docs/events, which are made from these shapes, accept
exactly what this module accepts. Members that a shape does not name are ignored. pydantic keeps the type of a JSON
number: 1.0 is not an integer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.book.lifecycle import Lifecycle
from ordering.errors import Conflict, OrderingError
from ordering.identifiers import LARGEST_NUMBER
from ordering.values import Value, field

VERSION = 1
"""The version of the schemas; it rises with a change that producers must follow."""

CANCELLATION = "ordering.order.cancellation_requested"
"""The one type that several contexts receive: each cancels its own kind of orders."""

EVENTS_REFUSED = "EventsRefused"
"""The metric of events that are refused, except cancellations."""

CANCELLATIONS_REFUSED = "CancellationsRefused"
"""The metric of cancellations that are refused."""

_PLACES_AT_MOST = 10

Data = TypeVar("Data")
Name = TypeVar("Name")
Order = TypeVar("Order")
_Value = TypeVar("_Value")
_Status = TypeVar("_Status")

Handle = Callable[[Any], None]
"""Carries out an event, given its data."""


class MalformedEvent(OrderingError):
    """An event is malformed, or its type or version is unknown. The message names places, never values."""


class EventRefused(Exception):
    """An event is well formed, but can never be carried out.

    Args:
        metric: The metric that counts it.
        reason: The reason, without codes or addresses.
    """

    def __init__(self, metric: str, reason: object) -> None:
        super().__init__(str(reason))
        self.metric = metric


# Shapes


Uuid = Annotated[
    str,
    Field(
        pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        json_schema_extra={"format": "uuid"},
    ),
]
Instant = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Number = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name that a producer chose."""

# Bounds, since pydantic's literals compare as Python does: there `1 == True == 1.0`.
_Version = Annotated[int, Field(ge=VERSION, le=VERSION), WithJsonSchema({"type": "integer", "const": VERSION})]


class InboundEvent(TypedDict, Generic[Name, Data]):
    """An inbound event. It may be delivered more than once, and in any order with others."""

    id: Uuid
    type: Name
    version: _Version
    time: Instant
    data: Data


class CancellationRequested(TypedDict, Generic[Order]):
    """A request to cancel an order. For a cancelled order it has no effect; one that cannot be cancelled is refused."""

    order: Order


Delivered = TypedDict("Delivered", {"detail-type": str, "source": str, "time": str, "detail": dict[str, Any]})
"""An event as EventBridge delivers it."""

_DELIVERED = TypeAdapter(Delivered)


def envelope(event_type: str, data: Any) -> TypeAdapter[Any]:
    """Return the validator of a type's events.

    Args:
        data: The shape of their data.
    """
    return TypeAdapter(InboundEvent[Literal[event_type], data])  # type: ignore[valid-type] # both are known at run time only


def cancellation_of(orders: Any) -> Any:
    """Return the shape of a cancellation's data.

    Args:
        orders: The union of the contexts' shapes of an order, which differ in `kind`.
    """
    return CancellationRequested[Annotated[orders, Field(discriminator="kind")]]


# Receivers


class Receiver(Value):
    """The handlers of one context's inbound events, for one invocation."""

    kind: str
    """The context's kind of orders in cancellations."""
    cancel: Handle
    """Cancels an order, given `order` of a cancellation's data."""
    handlers: Mapping[str, Handle] = field(default_factory=dict)
    """The handlers of the types that only this context receives."""


def cancel_once(
    cancel: Callable[[], object], status: Callable[[], _Status], lifecycle: Lifecycle[Any], cancelled: _Status
) -> None:
    """Cancel an order if it is not cancelled already.

    Args:
        status: Reads the order's status.

    Raises:
        EventRefused: It can no longer be cancelled.
        Conflict: It changed concurrently. A retry is safe.
    """
    try:
        cancel()
    except Conflict as conflict:
        now = status()
        if now is cancelled:
            return
        if cancelled not in lifecycle.targets(now):
            raise EventRefused(CANCELLATIONS_REFUSED, conflict) from conflict
        raise


# Validation


def read_delivered(body: str) -> Delivered:
    """Read an event as EventBridge delivers it to a queue.

    Raises:
        MalformedEvent: It is malformed.
    """
    return validate(_DELIVERED, read_json(body), "EventBridge's event")


def read_json(text: str | bytes) -> Any:
    """Parse JSON whose strings are valid Unicode.

    Raises:
        MalformedEvent: The text is not such JSON.
    """
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can hold half a surrogate pair, DynamoDB cannot
    except (ValueError, RecursionError):
        # Not chained: a parser's error carries the whole text, which may hold codes.
        raise MalformedEvent("it is not valid JSON") from None
    return value


def validate(shape: TypeAdapter[_Value], value: Any, what: str) -> _Value:
    """Return a value of a shape, without the members that the shape does not name.

    Args:
        what: The name of the value in the error's message.

    Raises:
        MalformedEvent: The value does not fit the shape; the message lists the first ten places.
    """
    try:
        return shape.validate_python(value, strict=True)
    except ValidationError as error:
        places = ", ".join(itertools.islice(_places(error, value), _PLACES_AT_MOST))
    # Not chained: pydantic's error carries the value.
    raise MalformedEvent(f"{what} does not fit its schema at {places}")


def misfits(shape: TypeAdapter[Any], value: Any) -> list[str]:
    """Return the places at which a value does not fit a shape, such as `data.amount`; none if it fits."""
    try:
        shape.validate_python(value, strict=True)
    except ValidationError as error:
        return [*_places(error, value)]
    return []


def _places(error: ValidationError, value: Any) -> Iterator[str]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    yield from dict.fromkeys(_place(one["loc"], value) for one in errors)


def _place(location: tuple[int | str, ...], value: Any) -> str:
    place, last = "", len(location) - 1
    for index, part in enumerate(location):
        if isinstance(part, int):
            place, value = f"{place}[{part}]", value[part]
        elif part in value or index == last:  # else it is the tag by which pydantic chose a shape of a union
            place, value = f"{place}.{part}", value.get(part)
    return place.lstrip(".") or "it"
