"""The messages that `ordering webhook listen` has received, which the local run's page shows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

_FILE = "received.jsonl"
_READ = 1 << 20
"""Bytes at the end of the file that are read."""


def keep_received(state: Path, message: Mapping[str, str]) -> None:
    """Append a message to those in the folder of a local run; without the folder nothing is kept.

    It has a `key`, different from those of others, a `line` that describes it, and its `body`.
    """
    if state.is_dir():
        descriptor = os.open(state / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")


def last_received(state: Path, most: int) -> list[dict[str, str]]:
    """The last messages, at most `most` and oldest first."""
    try:
        with (state / _FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _READ))
            # The first line is cut off if the file is longer, and the last one while it is being written.
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    return [message for line in lines[-most:] if (message := _read(line)) is not None]


def _read(line: bytes) -> dict[str, str] | None:
    try:
        message: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return message
