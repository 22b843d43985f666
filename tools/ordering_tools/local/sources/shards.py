"""Reads one shard of a table's stream page by page, filters the records, and gives them to workers."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.runtime.functions import FunctionError
from ordering_tools.local.sources.batches import Batch, Progress, Record
from ordering_tools.local.sources.event_patterns import matches
from ordering_tools.local.sources.workers import GivenUp, Worker

if TYPE_CHECKING:
    from ordering_tools.local.sources.checkpoints import Checkpoints
    from ordering_tools.local.sources.event_sources import EventSource
    from ordering_tools.local.sources.failures import FailureQueue

POLL_SECONDS = 0.25
"""The time between two reads of a shard without new records."""
_PAGE = 1000
_READ_AHEAD = 5000
"""The largest number of records in memory; the next ones are read later."""


class Shard:
    """A shard and the function that receives its records."""

    def __init__(  # noqa: PLR0913 - the source's parts, which its shards share
        self,
        source: EventSource,
        stream: str,
        shard: str,
        *,
        start: str,
        client: JsonClient,
        invoke: Callable[[bytes], bytes],
        checkpoints: Checkpoints,
        queue: FailureQueue | None,
        stopping: threading.Event,
    ) -> None:
        self._source = source
        self._stream = stream
        self._shard = shard
        self.key = (stream, shard)
        self._start = start
        self._client = client
        self._checkpoints = checkpoints
        self._queue = queue
        self._stopping = stopping
        self._last = checkpoints.last(stream, shard)
        """The sequence number of the last record that was read."""
        self._progress = Progress(self._last)
        self._changed = threading.Lock()
        self._workers = [Worker(source, invoke, self, stopping) for _ in range(source.parallelization)]

    def run(self) -> None:
        """Read until the shard is closed and all its records are done, or until it is stopped."""
        threads = [threading.Thread(target=worker.run, daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        try:
            ended = self._read()
        finally:
            for worker in self._workers:
                worker.end()
        for thread in threads:
            thread.join()
        if ended and not self._stopping.is_set():
            self._checkpoints.finish(self._stream, self._shard)

    def _read(self) -> bool:
        """Read page by page; returns whether the shard is closed."""
        iterator: str | None = None
        while not self._stopping.is_set():
            try:
                iterator = iterator or self._iterator()
                page = self._client.call("GetRecords", ShardIterator=iterator, Limit=_PAGE)
            except ServiceError as error:
                if error.code == "ResourceNotFoundException":
                    return False
                # The iterator has expired, or the engine does not respond: the next one starts behind the last record.
                iterator, page = None, {"Records": []}
            else:
                iterator = page.get("NextShardIterator")
                self._take(page["Records"])
                if iterator is None:
                    return True
            pause = 0 if page["Records"] else POLL_SECONDS
            while not self._stopping.wait(pause) and len(self._progress) >= _READ_AHEAD:
                pause = POLL_SECONDS
        return False

    def _iterator(self) -> str:
        position = {"StreamArn": self._stream, "ShardId": self._shard}
        try:
            if self._last is None:
                found = self._client.call("GetShardIterator", **position, ShardIteratorType=self._start)
            else:
                found = self._client.call(
                    "GetShardIterator", **position, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=self._last
                )
        except ServiceError as error:
            if error.code != "TrimmedDataAccessException":
                raise
            found = self._client.call("GetShardIterator", **position, ShardIteratorType="TRIM_HORIZON")
        iterator: str = found["ShardIterator"]
        return iterator

    def _take(self, page: Sequence[Mapping[str, Any]]) -> None:
        """Give the records that pass the filters to the workers, and mark the others as done."""
        events = [stream_event(raw, self._stream) for raw in page if self._is_new(raw["dynamodb"]["SequenceNumber"])]
        if not events:
            return
        wanted: list[Record] = []
        filtered_out: list[Record] = []
        for event in events:
            record = stream_record(event)
            (wanted if selects(self._source, event) else filtered_out).append(record)
            self._last = record.sequence
        with self._changed:
            self._progress.read(event["dynamodb"]["SequenceNumber"] for event in events)
        self.done(filtered_out)
        for number, worker in enumerate(self._workers):
            if share := [record for record in wanted if worker_of(self._source, record) == number]:
                worker.put(share)

    def _is_new(self, sequence: str) -> bool:
        # After a loss of data the shard is read from its start again.
        return self._last is None or int(sequence) > int(self._last)

    def done(self, records: Iterable[Record]) -> None:
        """Mark records as done, and save the checkpoint if it has moved."""
        with self._changed:
            if self._progress.finish(record.sequence for record in records) and self._progress.checkpoint:
                self._checkpoints.save(self._stream, self._shard, self._progress.checkpoint)

    def report(self, batch: Batch, seconds: float, failed: int | None, error: Exception | None) -> None:
        """Print a line about a call."""
        source = self._source
        ending = "" if failed is None else f", failed from record {failed + 1}"
        echo(f"{source.name} {count(batch)} {seconds * 1000:.0f} ms{ending}", sys.stdout)
        if error:
            echo(f"  {source.function}: {describe(error)}")

    def give_up(self, given_up: GivenUp) -> None:
        """Send a message to the on-failure destination, and print a line about it."""
        source, records = self._source, given_up.batch.records
        outcome = "not sent: there is no on-failure destination"
        if self._queue:
            outcome = self._queue.put(given_up, self._stream, self._shard)
        echo(
            f"  {source.name}: gave up {count(given_up.batch)} of {source.table} after {given_up.calls} calls "
            f"({given_up.condition}), {records[0].sequence} to {records[-1].sequence}; {outcome}"
        )


def selects(source: EventSource, event: Mapping[str, Any]) -> bool:
    """Whether an event passes the filters of a source."""
    return not source.patterns or any(matches(pattern, event) for pattern in source.patterns)


def worker_of(source: EventSource, record: Record) -> int:
    """The index of the worker for the changes of an item."""
    # With a checksum, keys that differ in one character could all have the same worker.
    return int.from_bytes(hashlib.sha256(record.key.encode()).digest()[:4], "big") % source.parallelization


def stream_event(raw: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """A record of the Streams API as a record of a function's event."""
    change = dict(raw["dynamodb"])
    change["ApproximateCreationDateTime"] = int(change["ApproximateCreationDateTime"])
    event = {**raw, "dynamodb": change, "eventSourceARN": stream}
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    return event


def stream_record(event: Mapping[str, Any]) -> Record:
    """The record of an event, with the properties that its delivery needs."""
    change = event["dynamodb"]
    return Record(
        sequence=change["SequenceNumber"],
        created=change["ApproximateCreationDateTime"],
        key=json.dumps(change["Keys"], sort_keys=True),
        text=json.dumps(event),
    )


def describe(error: Exception) -> str:
    """An error in one line, in the same form as for calls of the gateway."""
    return f"{error.kind if isinstance(error, FunctionError) else type(error).__name__}: {error}"


def count(batch: Batch) -> str:
    """The number of records as text."""
    return f"{len(batch.records)} record{'s' if len(batch.records) > 1 else ''}"


def echo(line: str, stream: Any = None) -> None:
    """Print a line to the terminal, by default to stderr."""
    stream = stream or sys.stderr
    stream.write(f"{line}\n")
    stream.flush()
