"""Messages of dead-letter queues are read and replayed, against queues in memory."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering_tools import cli
from ordering_tools.installation import NotDone
from ordering_tools.local.engine.json_client import ServiceError
from ordering_tools.local.engine.queues import Queue
from ordering_tools.local.sources.batches import Batch, Record
from ordering_tools.local.sources.dead_letters import DeadLetters, FailedBatch, NotReplayedError
from ordering_tools.local.sources.event_sources import EventSource
from ordering_tools.local.sources.failures import failure_message
from ordering_tools.local.sources.workers import GivenUp
from ordering_tools.operations.dead_letters import age, find_message, replay

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/T/stream/1"
SOURCE = EventSource(name="F.Orders", function="F", table="T", on_failure="Given", reports_failures=True)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Site:
    """Queues and a stream in memory, and a log of the calls."""

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = {"Work": [], "Dead": [], "Given": []}
        self.stream: list[dict[str, Any]] = []
        self.first = 0
        """How many records of the stream have expired."""
        self.log: list[str] = []
        self.events: list[list[str]] = []
        self.answer: Callable[[], bytes] = lambda: b"{}"
        self.refuse: set[str] = set()
        self.hidden: set[str] = set()

    def letters(self, *sources: EventSource) -> DeadLetters:
        queues = {
            "Work": Queue("Work", {}, dead_letters="Dead", receives=4),
            "Dead": Queue("Dead", {}),
            "Given": Queue("Given", {}),
        }
        return DeadLetters(
            queues,
            sources or (SOURCE,),
            services="http://there",
            sqs=self,
            streams=self,
            peek=lambda queue: self.messages[queue],
            invoke=self.invoke,
        )

    def put(self, queue: str, body: str, *, source: str | None = None, sent: int = 0) -> str:
        number = f"m{sum(map(len, self.messages.values()))}"
        attributes = {"SentTimestamp": str(sent * 1000)}
        if source:
            attributes["DeadLetterQueueSourceArn"] = f"arn:aws:sqs:us-east-1:000000000000:{source}"
        message = {"MessageId": number, "Body": body, "ReceiveCount": 9, "Attributes": attributes}
        self.messages[queue].append(message)
        return number

    def give_up(self, *sequences: int) -> str:
        records = tuple(Record(str(sequence), 0, "", "") for sequence in sequences)
        given_up = GivenUp(Batch(records), "RetryAttemptsExhausted", 6, None)
        return self.put("Given", json.dumps(failure_message(given_up, "F", STREAM, "shard")))

    def invoke(self, name: str, event: bytes) -> bytes:
        assert name == "F"
        self.log.append("Invoke")
        self.events.append([record["dynamodb"]["SequenceNumber"] for record in json.loads(event)["Records"]])
        return self.answer()

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.log.append(operation)
        if operation in self.refuse:
            raise ServiceError("Refused", f"{operation} is refused")
        answer: dict[str, Any] = getattr(self, f"_{operation}")(arguments)
        return answer

    def _queue(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.messages[arguments["QueueUrl"].rpartition("/")[2]]

    def _ReceiveMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - the API's name
        for message in self._queue(arguments):
            if message["MessageId"] not in self.hidden:
                self.hidden.add(message["MessageId"])
                return {"Messages": [{**message, "ReceiptHandle": message["MessageId"]}]}
        return {}

    def _SendMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        self._queue(arguments).append({"MessageId": "new", "Body": arguments["MessageBody"]})
        return {}

    def _DeleteMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        queue = self._queue(arguments)
        queue[:] = [message for message in queue if message["MessageId"] != arguments["ReceiptHandle"]]
        return {}

    def _ChangeMessageVisibilityBatch(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        assert {entry["VisibilityTimeout"] for entry in arguments["Entries"]} == {0}
        self.hidden -= {entry["ReceiptHandle"] for entry in arguments["Entries"]}
        return {}

    def _GetShardIterator(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        assert (arguments["StreamArn"], arguments["ShardId"]) == (STREAM, "shard")
        if arguments["ShardIteratorType"] == "TRIM_HORIZON":
            return {"ShardIterator": str(self.first)}
        start = int(arguments["SequenceNumber"])
        if start < self.first:
            raise ServiceError("TrimmedDataAccessException", "gone")
        return {"ShardIterator": str(start)}

    def _GetRecords(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        start = int(arguments["ShardIterator"])
        return {"Records": self.stream[start : start + 2], "NextShardIterator": str(start + 2)}


@pytest.fixture
def site() -> Site:
    site = Site()
    for number in range(8):
        change = {"SequenceNumber": str(number), "ApproximateCreationDateTime": 1.0, "Keys": {"pk": {"S": "x"}}}
        site.stream.append({"eventName": "MODIFY" if number == 3 else "INSERT", "dynamodb": change})
    return site


def test_messages_with_their_reason(site: Site) -> None:
    """The messages of all dead-letter queues are read oldest first, each with its reason, without calls of SQS."""
    late = site.put("Dead", "{}", source="Work", sent=20)
    early = site.put("Dead", "text", sent=10)
    site.give_up(2, 3)
    letters = site.letters()

    assert letters.names == ["Dead", "Given"]
    assert [(message.id, message.reason) for message in letters.messages("Dead")] == [
        (early, "unknown origin"),
        (late, "failed after 4 attempts (Work)"),
    ]
    (given,) = letters.messages("Given")
    assert given.reason == "F gave up 2 records of T after 6 calls (RetryAttemptsExhausted)"
    assert site.log == []


@pytest.mark.parametrize("body", ["", "1", "[]", '{"requestContext": 1, "DDBStreamBatchInfo": {}}', "{}"])
def test_other_messages_name_no_records(body: str) -> None:
    """A body that is not an event source's message about a failed batch is not read as one."""
    assert FailedBatch.read(body) is None


def test_sent_before_it_is_deleted(site: Site) -> None:
    """A replay sends a message to its queue before it deletes it; other messages stay in place and visible."""
    first = site.put("Dead", "first", source="Work")
    site.put("Dead", "second", source="Work")
    letters = site.letters()

    assert replay(letters, letters.messages("Dead")[1]) == "sent back to Work"
    assert site.log.index("SendMessage") < site.log.index("DeleteMessage")
    assert [message["Body"] for message in site.messages["Work"]] == ["second"]
    assert [message["MessageId"] for message in site.messages["Dead"]] == [first]
    assert first not in site.hidden


@pytest.mark.parametrize("source", [None, "Work"])
def test_not_sent_not_deleted(site: Site, source: str | None) -> None:
    """A message that cannot be sent stays in the dead-letter queue, visible, and the error has the reason."""
    site.put("Dead", "body", source=source)
    site.refuse = {"SendMessage"}
    letters = site.letters()

    with pytest.raises(NotDone, match="SendMessage is refused" if source else "is of unknown origin"):
        replay(letters, letters.messages("Dead")[0])
    assert len(site.messages["Dead"]) == 1
    assert "DeleteMessage" not in site.log
    assert not site.hidden


def test_replayed_by_one_at_a_time(site: Site) -> None:
    """A message that another replay has received is not replayed a second time."""
    site.hidden = {site.put("Dead", "body", source="Work")}
    letters = site.letters()

    with pytest.raises(NotDone, match="another replay has it"):
        replay(letters, letters.messages("Dead")[0])
    assert site.messages["Work"] == []


def test_unreachable_engine(site: Site) -> None:
    """A failed request to the engine is an error of the command."""
    site.put("Dead", "body", source="Work")
    site.refuse = {"ReceiveMessage"}
    letters = site.letters()

    with pytest.raises(NotDone, match="the request to the local run failed"):
        replay(letters, letters.messages("Dead")[0])


def test_records_of_a_batch(site: Site) -> None:
    """The records of a batch are those between its first and its last that its event source selects."""
    site.give_up(2, 4)
    wanting = replace(SOURCE, patterns=({"eventName": ["INSERT"]},))
    letters = site.letters(replace(SOURCE, on_failure="Dead"), wanting)

    assert replay(letters, letters.messages("Given")[0]) == "F has processed 2 records"
    assert site.events == [["2", "4"]]
    assert site.messages["Given"] == []
    assert site.log[-2:] == ["Invoke", "DeleteMessage"]


def test_records_of_one_worker(site: Site) -> None:
    """If several workers process a shard, only the records of the worker that failed are replayed."""
    for number, record in enumerate(site.stream):
        record["dynamodb"]["Keys"]["pk"]["S"] = "ab"[number % 2]
    site.give_up(1, 3, 5)
    letters = site.letters(replace(SOURCE, parallelization=2))
    (message,) = letters.messages("Given")

    assert [record["dynamodb"]["SequenceNumber"] for record in letters.records(message)] == ["1", "3", "5"]


def test_expired_records(site: Site) -> None:
    """A batch of which some records have expired is shown without them, and cannot be replayed."""
    site.give_up(2, 3, 4)
    site.first = 4
    letters = site.letters()
    (message,) = letters.messages("Given")

    assert [record["dynamodb"]["SequenceNumber"] for record in letters.records(message)] == ["4"]
    with pytest.raises(NotReplayedError, match="the stream has only 1 of its 3 records left"):
        letters.replay(message)
    assert "Invoke" not in site.log
    assert len(site.messages["Given"]) == 1


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (b'{"batchItemFailures": [{"itemIdentifier": "3"}]}', "F failed again, from record 2"),
        (
            b'{"batchItemFailures": [{"itemIdentifier": "77"}]}',
            "F failed again: batchItemFailures does not name a record",
        ),
    ],
)
def test_records_that_fail_again(site: Site, result: bytes, text: str) -> None:
    """A batch that fails again stays in the dead-letter queue."""
    site.give_up(2, 3)
    site.answer = lambda: result
    letters = site.letters()

    with pytest.raises(NotReplayedError, match=text):
        letters.replay(letters.messages("Given")[0])
    assert len(site.messages["Given"]) == 1
    assert not site.hidden


def test_messages_by_the_start_of_their_id(site: Site) -> None:
    """A message can be named by the start of its id if that is unique."""
    for number in range(2):
        site.put("Dead", str(number))
    letters = site.letters()

    assert find_message(letters, "m1", None).body == "1"
    with pytest.raises(NotDone, match="2 messages have an id that starts with 'm'"):
        find_message(letters, "m", "Dead")
    with pytest.raises(NotDone, match="see `ordering dead list`"):
        find_message(letters, "m1", "Given")
    with pytest.raises(NotDone, match="'Work' is not a dead-letter queue; there are: Dead, Given"):
        find_message(letters, "m1", "Work")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7300, "2 h"), (200000, "2 d")]
)
def test_ages(seconds: int, text: str) -> None:
    """An age is given in the largest unit that gives one or more."""
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_not_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a local run the command says what starts it."""
    assert cli.main(["dead", "list", "--state", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "the local run is not running; start it with `make serve`\n"
