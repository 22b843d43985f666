"""Event patterns, of rules and of event source mappings' filters, as EventBridge matches them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.events.models import EventPattern


def read_pattern(text: str) -> EventPattern:
    """Read a pattern.

    Raises:
        InvalidEventPatternException: EventBridge would refuse it.
    """
    return EventPattern.load(text)


def matches(pattern: EventPattern, event: Mapping[str, Any]) -> bool:
    """Whether an event matches a pattern; bytes, which are in no pattern, may be in it."""
    return bool(pattern.matches_event(json.loads(json.dumps(event, default=repr))))
