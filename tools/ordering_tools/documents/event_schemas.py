"""The JSON Schemas (2020-12) of all events, those that are published and those that are received: docs/events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ordering.contexts import event_shapes, event_types
from ordering.events import incoming_shapes
from ordering.events.incoming_shapes import SHAPES, IncomingEnvelope
from ordering.events.json_schema import event_schema, schema_of
from ordering.events.shapes import EventEnvelope
from ordering.events.types import VERSION


def schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema of a type's events."""
    if event_type in SHAPES:
        return event_schema(event_type, IncomingEnvelope, schema_of(SHAPES[event_type]))
    data = schema_of(event_shapes()[event_type])
    data["properties"]["order"]["properties"]["status"] = {"const": str(event_types()[event_type])}
    return event_schema(event_type, EventEnvelope, data)


def documents(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each schema's file and its text."""
    versions = {**dict.fromkeys(event_types(), VERSION), **dict.fromkeys(SHAPES, incoming_shapes.VERSION)}
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
