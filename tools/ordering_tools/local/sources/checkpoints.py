"""The checkpoints of an event source, in a file, so that a new process continues from there."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_FINISHED = True


class Checkpoints:
    """For each shard of an event source the last record that is done, or that the whole shard is done."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._streams: dict[str, dict[str, Any]] = {}
        # A file that cannot be read counts as missing: all records of the stream are delivered again.
        with suppress(OSError, ValueError):
            self._streams = json.loads(file.read_text(encoding="utf-8"))

    def keep_only(self, stream: str) -> None:
        """Drop the checkpoints of earlier streams of the table."""
        with self._lock:
            self._streams = {stream: self._streams.get(stream, {})}

    def last(self, stream: str, shard: str) -> str | None:
        """The sequence number of the last record that is done; None if there is none."""
        value = self._streams.get(stream, {}).get(shard)
        return value if isinstance(value, str) else None

    def finished(self, stream: str, shard: str) -> bool:
        """Whether a shard is closed and all its records are done."""
        return self._streams.get(stream, {}).get(shard) is _FINISHED

    def save(self, stream: str, shard: str, sequence: str) -> None:
        """Save the checkpoint of a shard."""
        self._keep(stream, shard, sequence)

    def finish(self, stream: str, shard: str) -> None:
        """Save that a shard is closed and all its records are done."""
        self._keep(stream, shard, _FINISHED)

    def _keep(self, stream: str, shard: str, value: str | bool) -> None:  # noqa: FBT001 - the values of the file
        with self._lock:
            self._streams.setdefault(stream, {})[shard] = value
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self._streams, indent=1), encoding="utf-8")
            fresh.replace(self._file)
