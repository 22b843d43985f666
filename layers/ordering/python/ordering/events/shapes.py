"""What events look like: their types, their shapes, and the JSON Schemas that are made of these.

The schemas in docs/events leave room for more properties: an event may get some without a new version of its schema.
Shapes of events that come in stand in `incoming_shapes`; what says whether they fit reads the very same schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from ordering.ecards.statuses import EcardStatus
from ordering.events import incoming_shapes
from ordering.events.incoming_shapes import SHAPES, IncomingEnvelope
from ordering.training.statuses import TrainingStatus

VERSION = 1
"""Version of the schemas: raised by a change that a consumer would have to know of."""

SOURCE = "ordering"

_Instant = Annotated[str, {"format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}]
_Uuid = Annotated[str, {"format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}]
_Amount = Annotated[str, {"pattern": r"^-?\d+(\.\d+)?$"}]
_Count = Annotated[int, {"minimum": 1}]


class TrainingMoment(TypedDict):
    """When an order came to a status."""

    status: TrainingStatus
    at: _Instant


class EcardMoment(TypedDict):
    """When an order came to a status."""

    status: EcardStatus
    at: _Instant


class Unit(TypedDict):
    """The business unit that ordered."""

    id: str
    name: str


class TrainingLine(TypedDict):
    """One thing as it was ordered; the number counts from 1 within the order."""

    number: _Count
    featureSetId: str
    description: str
    quantity: _Count
    sourceReference: str | None
    feedbackLinkUri: str | None
    feedbackLinkText: str | None
    enableFeedbackLink: bool
    achievementCode: str | None


class Training(TypedDict):
    """A training order as it was right after the move.

    Of an order with very many lines, `lines` has the first ones; `lineCount` counts all of them.
    """

    id: _Count
    businessUnit: Unit
    createdByUserId: str
    orderSourceId: str
    purchasingOrderReference: str
    contactForename: str
    contactSurname: str
    contactEmail: str
    emailKeys: bool
    created: _Instant
    status: TrainingStatus
    history: list[TrainingMoment]
    lines: list[TrainingLine]
    lineCount: int


class ParticipantData(TypedDict):
    """Who gets the certificates."""

    email: str
    name: str
    phone: str


class EcardLine(TypedDict):
    """One thing as it was ordered; the price is that of one."""

    cardId: _Count
    name: str
    faceValue: str
    quantity: _Count
    price: _Amount


class Ecards(TypedDict):
    """An e-card order as it was right after the move, without its certificates."""

    id: _Uuid
    number: _Count
    participant: ParticipantData
    login: str
    total: _Amount
    quantity: _Count
    created: _Instant
    status: EcardStatus
    history: list[EcardMoment]
    lines: list[EcardLine]
    lineCount: int


class TrainingData(TypedDict):
    """Whose order it is, and the order."""

    partner: str
    order: Training


class EcardData(TypedDict):
    """Whose order it is, and the order."""

    partner: str
    order: Ecards


class EventEnvelope(TypedDict):
    """An event. It may come more than once, always with the same id and the same content."""

    id: _Uuid
    type: str
    version: Annotated[int, {"const": VERSION}]
    time: _Instant
    source: Annotated[str, {"const": SOURCE}]
    sequence: Annotated[_Count, {"description": "Its place in the order's history, from 1 without gaps."}]
    data: TrainingData | EcardData


def type_of(status: StrEnum) -> str:
    """Name the event of an order's coming to a status: `ordering.ecard_order.ready_for_delivery`."""
    kind = "training_order" if isinstance(status, TrainingStatus) else "ecard_order"
    words = re.findall("[A-Z][a-z]*", status)
    return f"{SOURCE}.{kind}.{'_'.join(words).lower()}"


STATUSES: dict[str, StrEnum] = {type_of(status): status for kind in (TrainingStatus, EcardStatus) for status in kind}
"""The status that each type of event tells of."""

TYPES = frozenset(STATUSES)
"""The types of events that go out."""


def schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a type's events, be it of those that go out or of those that come in."""
    if event_type in SHAPES:
        whole, data = _schema(IncomingEnvelope), _schema(SHAPES[event_type])
    else:
        whole, data = _schema(EventEnvelope), _outgoing_data(STATUSES[event_type])
    whole["properties"] |= {"type": {"const": event_type}, "data": data}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": event_type}
    return {**head, **whole}


def _outgoing_data(status: StrEnum) -> dict[str, Any]:
    data = _schema(TrainingData if isinstance(status, TrainingStatus) else EcardData)
    data["properties"]["order"]["properties"]["status"] = {"const": str(status)}
    return data


def documents(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each schema's file and its text."""
    versions = {**dict.fromkeys(TYPES, VERSION), **dict.fromkeys(SHAPES, incoming_shapes.VERSION)}
    for event_type, version in sorted(versions.items()):
        text = json.dumps(schema(event_type), indent=2, ensure_ascii=False) + "\n"
        yield folder / f"{event_type}.v{version}.json", text


def write(folder: Path) -> None:
    """Write all schemas into a folder, which holds nothing else, in place of those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dict(documents(folder))
    for path in folder.glob("*.json"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


def stale(folder: Path) -> list[Path]:
    """Return the files of a folder that are not what `write` would write, missing and surplus ones among them."""
    wanted = dict(documents(folder))
    there = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def misfits(schema: Mapping[str, Any], value: Any, place: str = "") -> Iterator[str]:
    """Tell at which places a value does not fit a schema; what stands there is told to nobody.

    It knows what schemas of this module are made of, and is a little stricter than JSON Schema: 1.0 is no integer.
    """
    if not all(_KEYWORDS[name](wanted, value) for name, wanted in schema.items()):
        yield place or "it"
        return
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from misfits(part, value[name], f"{place}.{name}".lstrip("."))
    if isinstance(value, list) and "items" in schema:
        for index, one in enumerate(value):
            yield from misfits(schema["items"], one, f"{place}[{index}]")


_NAMES = {str: "string", int: "integer", bool: "boolean", NoneType: "null"}
_KINDS = {name: kind for kind, name in _NAMES.items()} | {"object": dict, "array": list}


def _anything(_: Any, __: Any) -> bool:
    return True


_KEYWORDS: dict[str, Callable[[Any, Any], bool]] = {
    # Where there are others, the type comes first: they can count on it.
    "type": lambda name, value: type(value) is _KINDS[name],
    "const": lambda wanted, value: bool(value == wanted),
    "enum": lambda choices, value: value in choices,
    "minimum": lambda least, value: bool(value >= least),
    "maximum": lambda most, value: bool(value <= most),
    "minLength": lambda least, value: len(value) >= least,
    "maxLength": lambda most, value: len(value) <= most,
    "pattern": lambda pattern, value: re.fullmatch(pattern, value) is not None,
    "minItems": lambda least, value: len(value) >= least,
    "required": lambda names, value: all(name in value for name in names),
    "anyOf": lambda choices, value: any(not any(True for _ in misfits(choice, value)) for choice in choices),
    **dict.fromkeys(("$schema", "title", "description", "format", "contentEncoding", "properties", "items"), _anything),
}
"""Whether a value fits what stands under a keyword of a schema."""


def _schema(kind: Any) -> dict[str, Any]:
    """Say in JSON Schema what a type hint says; of what the shapes above are made of."""
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        properties = {name: _schema(hint) for name, hint in hints.items()}
        text = re.sub(r"\s+", " ", kind.__doc__ or "").strip()
        return {"type": "object", "description": text, "required": [*hints], "properties": properties}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _schema(arguments[0]) | {name: value for extra in arguments[1:] for name, value in extra.items()}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin in {Union, UnionType}:
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if kind in _NAMES:
        return {"type": _NAMES[kind]}
    if issubclass(kind, StrEnum):
        return {"enum": [str(one) for one in kind]}
    raise TypeError(f"no schema for {kind}")
