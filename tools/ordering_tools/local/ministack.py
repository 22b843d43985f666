"""MiniStack, with its streams kept as its tables are.

As shipped it forgets, when it ends, what nobody has read of them yet. It runs where MiniStack is installed.
"""

from __future__ import annotations

import copy
from typing import Any

from ministack.app import main  # type: ignore[import-not-found] # where MiniStack is installed
from ministack.services import dynamodb  # type: ignore[import-not-found] # as above

_KEPT = ("_stream_records", "_stream_trimmed")


def keep_streams() -> None:
    """Save and load the streams with the rest of DynamoDB's state."""
    get_state, load_state = dynamodb.get_state, dynamodb.load_persisted_state

    def get() -> dict[str, Any]:
        return {**get_state(), **{name: copy.deepcopy(getattr(dynamodb, name)) for name in _KEPT}}

    def load(data: dict[str, Any] | None) -> None:
        load_state(data)
        for name in _KEPT:
            getattr(dynamodb, name).update((data or {}).get(name, {}))

    dynamodb.get_state, dynamodb.load_persisted_state = get, load


if __name__ == "__main__":
    keep_streams()
    main()
