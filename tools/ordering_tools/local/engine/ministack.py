"""MiniStack, with what it would forget kept as its tables are.

As shipped it forgets, when it ends, what nobody has read of its streams yet, and the mails that were sent. Its queues
it keeps under the port that it then had, and does not find them under the next one. It runs where MiniStack is
installed.
"""

from __future__ import annotations

import copy
from typing import Any

from ministack.app import main  # type: ignore[import-not-found] # where MiniStack is installed
from ministack.services import dynamodb, ses, sqs  # type: ignore[import-not-found] # as above

_QUEUES_PORT = "4566"


def keep(service: Any, *names: str) -> None:
    """Save and load more of a service with the rest of its state."""
    get_state, load_state = service.get_state, service.load_persisted_state

    def get() -> dict[str, Any]:
        return {**get_state(), **{name: copy.deepcopy(getattr(service, name)) for name in names}}

    def load(data: dict[str, Any] | None) -> None:
        load_state(data)
        for name in names:
            getattr(service, name).update((data or {}).get(name, {}))

    service.get_state, service.load_persisted_state = get, load


def name_queues_alike() -> None:
    """Keep queues under names that do not change with the port; callers are told the one that they called."""
    sqs.DEFAULT_PORT = _QUEUES_PORT
    sqs._CANONICAL_NETLOC = f"{sqs.DEFAULT_HOST}:{_QUEUES_PORT}"  # noqa: SLF001 - it has no setting for this


if __name__ == "__main__":
    keep(dynamodb, "_stream_records", "_stream_trimmed")
    keep(ses, "_sent_emails")
    name_queues_alike()
    main()
