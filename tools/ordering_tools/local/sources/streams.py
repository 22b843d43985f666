"""Delivers records of tables' streams to functions, like Lambda's event source mappings.

For each event source a `Follower` finds the shards of the table's stream. For each shard a `Shard` reads records and
gives those that pass the filters to its workers, and a `Worker` calls the function. A record is delivered at least
once: each shard has a checkpoint (see `checkpoints`), and records in flight at a stop are delivered again.

The engine's own event source mapping is not used, because it drops batches that fail.
"""

from __future__ import annotations

import fcntl
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.sources.checkpoints import Checkpoints
from ordering_tools.local.sources.failures import FailureQueue
from ordering_tools.local.sources.shards import Shard, echo

if TYPE_CHECKING:
    from ordering_tools.local.runtime.functions import Runner
    from ordering_tools.local.sources.event_sources import EventSource

_REFRESH_SECONDS = 10.0
"""The time between two searches for new shards; after the end of a shard the next search is at once."""
_FAULT_SECONDS = 5.0
_RETRY_SECONDS = 0.2
_PATIENCE_SECONDS = 15.0
"""How long the engine or a table may be missing, as at the start, before that is reported."""
_NO_SUCH_OPERATION = {"UnknownOperationException", "InvalidAction", "NotImplemented", "404", "501"}


class Streams:
    """The stream event sources of a template, while this process delivers them."""

    def __init__(
        self, sources: Sequence[EventSource], runner: Runner, endpoint: str, folder: Path, services: str | None = None
    ) -> None:
        """Start to deliver, in threads; the endpoint of queues is `services`, or else `endpoint`."""
        self._folder = folder
        self._stopping = threading.Event()
        self._followers = [
            Follower(source, runner, endpoint, folder, self._stopping, services or endpoint) for source in sources
        ]
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        if sources:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Start no more calls, and wait up to some seconds for those in flight."""
        self._stopping.set()
        for follower in self._followers:
            follower.wake()
        if self._thread.ident:
            self._thread.join(seconds)

    def _run(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            # While one gateway replaces another both run, and only one may deliver.
            while not _lock(lock.fileno()):
                if self._stopping.wait(0.05):
                    return
            threads = [threading.Thread(target=follower.run, daemon=True) for follower in self._followers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


class Follower:
    """Follows the stream of one event source."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a source needs
        self,
        source: EventSource,
        runner: Runner,
        endpoint: str,
        folder: Path,
        stopping: threading.Event,
        services: str = "",
    ) -> None:
        self._source = source
        self._runner = runner
        self._endpoint = endpoint
        self._stopping = stopping
        self._awake = threading.Event()
        self._shards: dict[tuple[str, str], threading.Thread] = {}
        self._trouble: float | None = None
        self._client = JsonClient(endpoint)
        self._queue = FailureQueue(source.on_failure, source.function, services) if source.on_failure else None
        self._file = folder / f"{source.name}.json"
        self._checkpoints: Checkpoints | None = None

    def run(self) -> None:
        """Follow the table's stream until it is stopped, or if the endpoint has no such stream."""
        self._checkpoints = Checkpoints(self._file)
        pause: float | None = 0
        while pause is not None and not self._stopping.is_set():
            pause = self._start_shards(self._checkpoints)
            if self._awake.wait(pause or 0):
                self._awake.clear()
        for thread in list(self._shards.values()):
            thread.join()

    def wake(self) -> None:
        """Search for new shards now."""
        self._awake.set()

    def _start_shards(self, checkpoints: Checkpoints) -> float | None:
        """Start to read the shards whose parents are done; returns the seconds until the next search, or None."""
        try:
            stream = self._client.call("DescribeTable", TableName=self._source.table)["Table"].get("LatestStreamArn")
            shards = _shards(self._client, stream) if stream else []
        except ServiceError as error:
            return self._handle_failure(error)
        if not stream:
            self._report_no_stream()
            return None
        self._trouble = None
        if not self._shards:
            checkpoints.keep_only(stream)
        for shard in shards:
            parents = [other["ShardId"] for other in shards if other["ShardId"] == shard.get("ParentShardId")]
            waits = not all(checkpoints.finished(stream, parent) for parent in parents)
            started = (stream, shard["ShardId"]) in self._shards or checkpoints.finished(stream, shard["ShardId"])
            if not waits and not started:
                self._start(stream, shard, checkpoints)
        return _REFRESH_SECONDS

    def _start(self, stream: str, description: Mapping[str, Any], checkpoints: Checkpoints) -> None:
        shard = Shard(
            self._source,
            stream,
            description["ShardId"],
            # A child continues its parent, so it is always read from its start.
            start="TRIM_HORIZON" if "ParentShardId" in description else self._source.start,
            client=JsonClient(self._endpoint),
            invoke=partial(self._runner.invoke, self._source.function),
            checkpoints=checkpoints,
            queue=self._queue,
            stopping=self._stopping,
        )
        thread = threading.Thread(target=self._read, args=(shard,), name=self._source.name, daemon=True)
        self._shards[shard.key] = thread
        thread.start()

    def _read(self, shard: Shard) -> None:
        try:
            shard.run()
        except Exception:  # noqa: BLE001 - the shard is read on after any exception
            traceback.print_exc()
            self._stopping.wait(_FAULT_SECONDS)
        del self._shards[shard.key]
        self.wake()

    def _handle_failure(self, error: ServiceError) -> float | None:
        """Retry soon, and report the failure once if it lasts; returns as `_start_shards` does."""
        if error.code in _NO_SUCH_OPERATION:
            self._report_no_stream()
            return None
        now = time.monotonic()
        self._trouble = now if self._trouble is None else self._trouble
        if now - self._trouble > _PATIENCE_SECONDS:
            echo(f"  {self._source.name}: the stream cannot be read, retrying: {error}")
            self._trouble = float("inf")
        return _RETRY_SECONDS

    def _report_no_stream(self) -> None:
        source = self._source
        echo(
            f"  {source.name}: {self._endpoint} has no stream of {source.table}; {source.function} receives no records"
        )


def _shards(client: JsonClient, stream: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        description = client.call("DescribeStream", StreamArn=stream, **more)["StreamDescription"]
        found += description["Shards"]
        if not (last := description.get("LastEvaluatedShardId")):
            return found
        more = {"ExclusiveStartShardId": last}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
