"""How far an event source has come, in a file, so that a new process goes on from there."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_FINISHED = True


class Checkpoints:
    """The shards of one event source: the last record done of each, or that all of it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._streams: dict[str, dict[str, Any]] = {}
        # A file that cannot be read is as none: everything in the stream is delivered again.
        with suppress(OSError, ValueError):
            self._streams = json.loads(file.read_text(encoding="utf-8"))

    def keep_only(self, stream: str) -> None:
        """Forget the streams that a table had before this one."""
        with self._lock:
            self._streams = {stream: self._streams.get(stream, {})}

    def last(self, stream: str, shard: str) -> str | None:
        """The sequence number of the last record that is done; None if there is none."""
        value = self._streams.get(stream, {}).get(shard)
        return value if isinstance(value, str) else None

    def finished(self, stream: str, shard: str) -> bool:
        """Whether a shard has ended and all of it is done."""
        return self._streams.get(stream, {}).get(shard) is _FINISHED

    def save(self, stream: str, shard: str, sequence: str) -> None:
        """Keep how far a shard is done."""
        self._keep(stream, shard, sequence)

    def finish(self, stream: str, shard: str) -> None:
        """Keep that all of a shard is done."""
        self._keep(stream, shard, _FINISHED)

    def _keep(self, stream: str, shard: str, value: str | bool) -> None:  # noqa: FBT001 - as the file has it
        with self._lock:
            self._streams.setdefault(stream, {})[shard] = value
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self._streams, indent=1), encoding="utf-8")
            fresh.replace(self._file)
