"""Delivers messages of queues to functions, like Lambda's event source mappings.

For each event source a `Poller` receives messages, collects them into batches and calls the function with them, with
several calls at a time. Messages that succeeded are deleted. A failed message becomes visible again after the queue's
visibility timeout, and is moved to the dead-letter queue after too many attempts; both is done by the engine.

A message is delivered at least once. At a stop, calls in flight may finish; messages of those that do not are made
visible again at once.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.sources.messages import message_record, passes_filters, reported_messages, split_by_size
from ordering_tools.local.sources.shards import describe, echo

if TYPE_CHECKING:
    from ordering_tools.local.runtime.functions import Runner
    from ordering_tools.local.sources.queue_sources import QueueSource

POLL_SECONDS = 0.25
"""The time between two polls of an empty queue."""
_PAGE = 10
"""The largest number of messages in a request or a response."""
_RETRY_SECONDS = 0.2
_PATIENCE_SECONDS = 15.0
"""How long the engine or a queue may be missing, as at the start, before that is reported."""

Record = Mapping[str, Any]


class Queues:
    """The queue event sources of a template."""

    def __init__(self, sources: Sequence[QueueSource], runner: Runner, services: str) -> None:
        """Start to deliver, in threads."""
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=poller.run, name=poller.name, daemon=True)
            for poller in (Poller(source, runner, services, self._stopping) for source in sources)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Start no more calls, and wait up to some seconds for those in flight."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))


class Poller:
    """Polls the queue of one event source."""

    def __init__(self, source: QueueSource, runner: Runner, services: str, stopping: threading.Event) -> None:
        self._source = source
        self._runner = runner
        self._services = services
        self._stopping = stopping
        self.name = source.name
        self._client = JsonClient(services, "sqs")
        self._queue = QueueClient(self._client, services, source.queue)
        self._free = threading.Semaphore(source.calls)
        self._trouble: float | None = None

    def run(self) -> None:
        """Receive messages and call the function until it is stopped and all calls have ended."""
        calls: list[threading.Thread] = []
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=POLL_SECONDS):
                continue
            records = self._collect()
            if not records:
                self._free.release()
                continue
            calls = [thread for thread in calls if thread.is_alive()]
            calls.append(threading.Thread(target=self._settle, args=(records,), name=self.name, daemon=True))
            calls[-1].start()
        for thread in calls:
            thread.join()

    def _collect(self) -> list[Record]:
        """The next batch, once it is full or its window has passed; empty after a stop."""
        records: list[Record] = []
        deadline: float | None = None
        while not self._stopping.is_set():
            page = self._receive(min(_PAGE, self._source.batch_size - len(records)))
            records += page
            if records and deadline is None:
                deadline = time.monotonic() + self._source.window
            if deadline is not None and (len(records) >= self._source.batch_size or time.monotonic() >= deadline):
                return records
            if not page:
                self._stopping.wait(POLL_SECONDS)
        # If the engine is gone they become visible after the visibility timeout.
        with suppress(ServiceError):
            self._queue.release(records)
        return []

    def _receive(self, count: int) -> list[Record]:
        """Receive messages that pass the filters; the others are deleted, as in Lambda."""
        try:
            records = self._queue.receive(count)
            filtered_out = [record for record in records if not passes_filters(self._source.patterns, record)]
            self._queue.delete(filtered_out)
        except ServiceError as error:
            self._handle_failure(error)
            return []
        self._trouble = None
        return [record for record in records if record not in filtered_out]

    def _settle(self, records: Sequence[Record]) -> None:
        try:
            for part in split_by_size(records):
                self._call(part)
        finally:
            self._free.release()

    def _call(self, records: Sequence[Record]) -> None:
        """Call the function with a batch, and delete the messages that succeeded."""
        source = self._source
        failed = {record["messageId"] for record in records}
        error: Exception | None = None
        began = time.monotonic()
        try:
            result = self._runner.invoke(source.function, json.dumps({"Records": records}).encode())
            failed = reported_messages(result, records) if source.reports_failures else set()
        except Exception as caught:  # noqa: BLE001 - the queue is polled on after any exception
            error = caught
        undone = [record for record in records if record["messageId"] in failed]
        try:
            with JsonClient(self._services, "sqs") as client:
                queue = QueueClient(client, self._services, source.queue)
                queue.delete([record for record in records if record["messageId"] not in failed])
                if error and self._stopping.is_set():
                    # The call may have failed because its process was killed: the next run can receive it at once.
                    queue.release(undone)
        except ServiceError as trouble:
            echo(f"  {source.name}: processed messages could not be deleted and will be received again: {trouble}")
        self._report(records, undone, time.monotonic() - began, error)

    def _report(
        self, records: Sequence[Record], undone: Sequence[Record], seconds: float, error: Exception | None
    ) -> None:
        source = self._source
        ending = f", failed {len(undone)}" if undone else ""
        echo(f"{source.name} {count(records)} {seconds * 1000:.0f} ms{ending}", sys.stdout)
        if error:
            echo(f"  {source.function}: {describe(error)}")
        for record in undone:
            if source.receives and int(record["attributes"]["ApproximateReceiveCount"]) >= source.receives:
                echo(
                    f"  {source.name}: gave up message {record['messageId']} of {source.queue} after {source.receives} "
                    f"calls; it goes to {source.dead_letters}"
                )

    def _handle_failure(self, error: ServiceError) -> None:
        """Wait before the next attempt, and report the failure once if it lasts."""
        now = time.monotonic()
        self._trouble = now if self._trouble is None else self._trouble
        if now - self._trouble > _PATIENCE_SECONDS:
            echo(f"  {self.name}: {self._source.queue} cannot be read, retrying: {error}")
            self._trouble = float("inf")
        self._stopping.wait(_RETRY_SECONDS)


class QueueClient:
    """A queue of the engine, by a client of one thread."""

    def __init__(self, client: JsonClient, services: str, name: str) -> None:
        self._client = client
        self._name = name
        self._url = queue_url(services, name)

    def receive(self, count: int) -> list[Record]:
        """Receive visible messages, which makes them invisible for the queue's visibility timeout.

        Raises:
            ServiceError: There is no such queue, or no engine.
        """
        answer = self._client.call(
            "ReceiveMessage",
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            # With long polling the engine would also receive messages for a caller that has disconnected.
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [message_record(message, self._name) for message in answer.get("Messages", [])]

    def delete(self, records: Sequence[Record]) -> None:
        """Delete messages, except those that were received again after their visibility timeout.

        Raises:
            ServiceError: There is no such queue, or no engine.
        """
        self._in_batches("DeleteMessageBatch", records, {})

    def release(self, records: Sequence[Record]) -> None:
        """Make messages visible again at once.

        Raises:
            ServiceError: There is no such queue, or no engine.
        """
        self._in_batches("ChangeMessageVisibilityBatch", records, {"VisibilityTimeout": 0})

    def _in_batches(self, operation: str, records: Sequence[Record], more: Mapping[str, Any]) -> None:
        for start in range(0, len(records), _PAGE):
            entries = [
                {"Id": str(number), "ReceiptHandle": record["receiptHandle"], **more}
                for number, record in enumerate(records[start : start + _PAGE])
            ]
            self._client.call(operation, QueueUrl=self._url, Entries=entries)


def count(records: Sequence[Record]) -> str:
    """The number of messages as text."""
    return f"{len(records)} message{'s' if len(records) > 1 else ''}"
