"""The messages that `ordering webhook listen` has received, which the local run's page shows."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

_FILE = "received.jsonl"


def keep_received(state: Path, message: Mapping[str, str]) -> None:
    """Append a message to those in the folder of a local run; without the folder nothing is kept.

    It has a `key`, different from those of others, a `line` that describes it, and its `body`.
    """
    if state.is_dir():
        with open(state / _FILE, "a", opener=partial(os.open, mode=0o600)) as file:
            file.write(json.dumps(message) + "\n")


def last_received(state: Path, most: int) -> list[dict[str, str]]:
    """The last messages, at most `most` and oldest first."""
    found: list[dict[str, str]] = []
    with suppress(FileNotFoundError), (state / _FILE).open(encoding="utf-8") as file:
        for line in deque(file, most):
            # The last line is incomplete while it is being written.
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
