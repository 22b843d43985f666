"""The health of a webhook: what the delivery of events notes about it, apart from its registration.

It is an item of its own, so that deliveries and a partner's changes of the webhook never wait for each other.

Key of the accounts table: `WEBHOOKS#<partner>` with `-HEALTH#<webhook>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ordering.aws.dynamodb import Key
from ordering.values import Value, field

HEALTH_KEPT = timedelta(days=30)
"""How long the notes outlive the last of them."""


class Health(Value):
    """The notes about one webhook."""

    look: int = 0
    """When the queued look at its missed events is due (Unix time); 0 if none is queued."""
    slots: Mapping[str, int] = field(default_factory=dict)
    """The slots that are taken, by name, each with the end of its lease in milliseconds of Unix time."""
    failures: int = 0
    """Failed tries in a row."""
    paused_until: int = 0
    """The end of the pause, or of the lease of the process that has the probe, in milliseconds; 0 if not paused."""
    pauses: int = 0
    """Pauses in a row: the present one, and those that ended with a failed try."""

    def is_paused(self, now: datetime) -> bool:
        """Return whether nothing may be sent now. If it is false and there is a pause, one probe may be sent."""
        return self.paused_until > int(now.timestamp() * 1000)


def health_key(partner: str, webhook_id: str) -> Key:
    """Return the key of a webhook's health. It sorts before all ids of webhooks."""
    return f"WEBHOOKS#{partner}", f"-HEALTH#{webhook_id}"


def read_health(item: Mapping[str, Any] | None) -> Health:
    """Convert an item; what it does not have is as if nothing had ever been noted."""
    if item is None:
        return Health()
    return Health(
        look=item.get("look", 0),
        slots={name: until for name, until in item.items() if name.startswith("slot")},
        failures=item.get("failures", 0),
        paused_until=item.get("pausedUntil", 0),
        pauses=item.get("pauses", 0),
    )
