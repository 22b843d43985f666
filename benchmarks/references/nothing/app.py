"""A function that does nothing: what the runtime client takes by itself."""

from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return {}
