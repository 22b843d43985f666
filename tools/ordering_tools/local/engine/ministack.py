"""Runs MiniStack, and makes it save more of its state.

By default it loses its streams' records and the sent mails when it ends, and saves queues under URLs with its port, so
that it does not find them when it has another port. This module runs in MiniStack's environment.
"""

from __future__ import annotations

import copy
from typing import Any

from ministack.app import main  # type: ignore[import-not-found] # in MiniStack's environment
from ministack.services import dynamodb, ses, sqs  # type: ignore[import-not-found] # as above

_QUEUES_PORT = "4566"


def keep(service: Any, *names: str) -> None:
    """Save and load further attributes of a service with its state."""
    get_state, load_state = service.get_state, service.load_persisted_state

    def get() -> dict[str, Any]:
        return {**get_state(), **{name: copy.deepcopy(getattr(service, name)) for name in names}}

    def load(data: dict[str, Any] | None) -> None:
        load_state(data)
        for name in names:
            getattr(service, name).update((data or {}).get(name, {}))

    service.get_state, service.load_persisted_state = get, load


def use_stable_queue_urls() -> None:
    """Save queues under URLs that do not contain the port; responses have the URL of the request."""
    sqs.DEFAULT_PORT = _QUEUES_PORT
    sqs._CANONICAL_NETLOC = f"{sqs.DEFAULT_HOST}:{_QUEUES_PORT}"  # noqa: SLF001 - it has no setting for this


if __name__ == "__main__":
    keep(dynamodb, "_stream_records", "_stream_trimmed")
    keep(ses, "_sent_emails")
    use_stable_queue_urls()
    main()
