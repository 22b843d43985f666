"""The health of a webhook: what the delivery of events notes about it, apart from its registration.

It is an item of its own, so that deliveries and a partner's changes of the webhook never wait for each other.

Key of the accounts table: `WEBHOOKS#<partner>` with `-HEALTH#<webhook>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ordering.aws.dynamodb import Key

HEALTH_KEPT = timedelta(days=30)
"""How long the notes outlive the last of them."""


@dataclass(frozen=True, slots=True)
class Health:
    """The notes about one webhook."""

    look: int = 0
    """When the queued look at its missed events is due (Unix time); 0 if none is queued."""
    slots: Mapping[str, int] = field(default_factory=dict)
    """The slots that are taken, by name, each with the end of its lease in milliseconds of Unix time."""


def health_key(partner: str, webhook_id: str) -> Key:
    """Return the key of a webhook's health. It sorts before all ids of webhooks."""
    return f"WEBHOOKS#{partner}", f"-HEALTH#{webhook_id}"


def read_health(item: Mapping[str, Any] | None) -> Health:
    """Convert an item; what it does not have is as if nothing had ever been noted."""
    if item is None:
        return Health()
    return Health(item.get("look", 0), {name: until for name, until in item.items() if name.startswith("slot")})
