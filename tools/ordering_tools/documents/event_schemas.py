"""`ordering dev schemas`: the JSON Schemas (2020-12) of all published and received events, in `docs/events`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from ordering.contexts import event_shapes, event_types, mail_event_types
from ordering.events import incoming
from ordering.events.shapes import EventEnvelope
from ordering.events.types import VERSION
from ordering.fulfilment.incoming import envelopes
from ordering_tools.documents.components import Described

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ORDER = (
    *("type", "format", "minLength", "maxLength", "pattern", "contentEncoding", "minimum", "maximum", "const", "enum"),
    *("anyOf", "description", "required", "properties", "items"),
)
"""The keywords of schemas, in the order in which they are written."""

FILES = "docs/events/*"


def schema(event_type: str) -> dict[str, Any]:
    """The JSON Schema of the events of a type."""
    if event_type in envelopes():
        whole = _schema_of(envelopes()[event_type])
    else:
        shape: Any = EventEnvelope[Literal[event_type], event_shapes()[event_type]]  # type: ignore[valid-type, misc] # known at run time only
        whole = _schema_of(TypeAdapter(shape))
        if event_type not in mail_event_types():
            order = whole["properties"]["data"]["properties"]["order"]
            order["properties"]["status"] = {"const": str(event_types()[event_type])}
    return {"$schema": _DIALECT, "title": event_type, **whole}


def messages() -> dict[str, Any]:
    """The shapes of the messages that webhooks receive, by name: events of several types have the same one."""
    types: dict[str, list[str]] = {}
    for event_type in event_types():
        types.setdefault(message_of(event_type), []).append(event_type)
    return {
        name: EventEnvelope[Literal[tuple(ones)], event_shapes()[ones[0]]]  # type: ignore[misc] # as above
        for name, ones in types.items()
    }


def message_of(event_type: str) -> str:
    """The name of the message for an event."""
    return event_shapes()[event_type].__name__.removesuffix("Data")


def _schema_of(shape: TypeAdapter[Any]) -> dict[str, Any]:
    """The schema of a shape as one document, without the Python names of its parts."""
    generated = shape.json_schema(schema_generator=Described)
    return _plain(generated, generated.get("$defs", {}))


def _plain(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return _plain(definitions[part["$ref"].removeprefix("#/$defs/")], definitions)
    found = {name: value for name, value in part.items() if name not in {"$defs", "discriminator", "title"}}
    if choices := found.pop("oneOf", found.get("anyOf")):
        found["anyOf"] = [_plain(choice, definitions) for choice in choices]
    if "properties" in found:
        found["properties"] = {name: _plain(one, definitions) for name, one in found["properties"].items()}
    if "items" in found:
        found["items"] = _plain(found["items"], definitions)
    if "enum" in found:
        found.pop("description", None)  # the docstring of the enum
    if "description" in found:
        found["description"] = " ".join(found["description"].split())
    return {name: found[name] for name in sorted(found, key=_ORDER.index)}


def documents() -> dict[str, str]:
    """The text of each schema by its path from the project's root."""
    versions = {**dict.fromkeys(event_types(), VERSION), **dict.fromkeys(envelopes(), incoming.VERSION)}
    return {
        f"docs/events/{event_type}.v{version}.json": json.dumps(schema(event_type), indent=2, ensure_ascii=False) + "\n"
        for event_type, version in versions.items()
    }
