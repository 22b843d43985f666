"""JSON Schema (2020-12) of event shapes, and whether a value fits one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict


def event_schema(event_type: str, envelope: type, data: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type's events, from the shape of their envelope and the schema of their data."""
    whole = schema_of(envelope)
    whole["properties"] |= {"type": {"const": event_type}, "data": data}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": event_type, **whole}


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


def schema_of(kind: Any) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of hint
    """Say in JSON Schema what a type hint says; of what the shapes above are made of."""
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        properties = {name: schema_of(hint) for name, hint in hints.items()}
        text = re.sub(r"\s+", " ", kind.__doc__ or "").strip()
        return {"type": "object", "description": text, "required": [*hints], "properties": properties}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return schema_of(arguments[0]) | {name: value for extra in arguments[1:] for name, value in extra.items()}
    if origin is dict:
        return {"type": "object"}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin in {Union, UnionType}:
        return {"anyOf": [schema_of(argument) for argument in arguments]}
    if kind in _NAMES:
        return {"type": _NAMES[kind]}
    if issubclass(kind, StrEnum):
        return {"enum": [str(one) for one in kind]}
    raise TypeError(f"no schema for {kind}")
