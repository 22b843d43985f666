"""The parts of stream delivery that need no process: patterns, event sources, batches, workers, checkpoints."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.local.engine.json_client import ServiceError
from ordering_tools.local.runtime.functions import SettingsError
from ordering_tools.local.sources.batches import (
    BadReportError,
    Batch,
    Progress,
    Record,
    after_failure,
    reported_failure,
    split_old,
)
from ordering_tools.local.sources.checkpoints import Checkpoints
from ordering_tools.local.sources.event_patterns import PatternError, matches, read_pattern
from ordering_tools.local.sources.event_sources import EventSource, declared_event_sources
from ordering_tools.local.sources.shards import Shard, stream_event
from ordering_tools.local.sources.streams import Follower
from ordering_tools.local.sources.workers import GivenUp, Worker

INSERT = {
    "eventName": "INSERT",
    "userIdentity": None,
    "dynamodb": {
        "Keys": {"pk": {"S": "BOOK#1"}},
        "NewImage": {"state": {"S": "new"}, "tags": {"SS": ["a", "b"]}, "gift": {"BOOL": True}, "total": {"N": "5"}},
        "SizeBytes": 120,
    },
}
SOURCE = EventSource(name="F.Orders", function="F", table="T")


def records(count: int, created: float = 0) -> tuple[Record, ...]:
    return tuple(Record(str(number), created, f"key {number}", f'"{number}"') for number in range(count))


def image(pattern: str) -> str:
    return f'{{"dynamodb": {{"NewImage": {pattern}}}}}'


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{"eventName": ["INSERT"]}', True),
        ('{"eventName": ["REMOVE", "MODIFY"]}', False),
        ('{"eventName": ["INSERT"], "dynamodb": {"Keys": {"pk": {"S": [{"prefix": "BOOK#"}]}}}}', True),
        ('{"eventName": ["INSERT"], "dynamodb": {"Keys": {"pk": {"S": [{"prefix": "ORDER#"}]}}}}', False),
        ('{"eventName": [{"suffix": "ERT"}]}', True),
        ('{"eventName": [{"equals-ignore-case": "insert"}]}', True),
        ('{"userIdentity": [null]}', True),
        (image('{"state": {"S": [{"anything-but": ["new", "old"]}]}}'), False),
        (image('{"state": {"S": [{"anything-but": "old"}]}}'), True),
        (image('{"absent": {"S": [{"anything-but": "old"}]}}'), False),
        (image('{"state": {"S": [{"exists": true}]}}'), True),
        (image('{"state": {"S": [{"exists": false}]}}'), False),
        (image('{"absent": {"S": [{"exists": true}]}}'), False),
        (image('{"absent": {"S": [{"exists": false}]}}'), True),
        (image('{"tags": {"SS": ["b"]}}'), True),
        (image('{"tags": {"SS": ["c"]}}'), False),
        (image('{"gift": {"BOOL": [true]}}'), True),
        (image('{"gift": {"BOOL": [1]}}'), False),
        (image('{"total": {"N": ["5"]}}'), True),
        (image('{"total": {"N": [5]}}'), False),
        ('{"dynamodb": {"SizeBytes": [{"numeric": [">", 100, "<=", 120]}]}}', True),
        ('{"dynamodb": {"SizeBytes": [{"numeric": ["=", 100]}]}}', False),
        ('{"eventName": [{"numeric": ["=", 100]}]}', False),
        ('{"$or": [{"eventName": ["REMOVE"]}, {"dynamodb": {"SizeBytes": [120]}}]}', True),
        ('{"$or": [{"eventName": ["REMOVE"]}, {"dynamodb": {"SizeBytes": [121]}}]}', False),
    ],
)
def test_patterns(pattern: str, *, expected: bool) -> None:
    """A record comes through if each part of the pattern allows what it has there."""
    assert matches(read_pattern(pattern), INSERT) is expected


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{", "is not JSON"),
        ({"Fn::Sub": "x"}, "is not JSON"),
        ("[]", "is not an object with keys"),
        ("{}", "is not an object with keys"),
        ('{"eventName": "INSERT"}', 'eventName: "INSERT" is neither a list of values nor an object'),
        ('{"eventName": []}', "neither a list"),
        ('{"eventName": [["INSERT"]]}', "neither a value nor one comparison"),
        (
            '{"eventName": [{"wildcard": "IN*"}]}',
            'eventName: the local run does not support the comparison {"wildcard": "IN*"}',
        ),
        ('{"eventName": [{"prefix": 1}]}', "does not support the comparison"),
        ('{"eventName": [{"exists": "yes"}]}', "does not support the comparison"),
        ('{"eventName": [{"anything-but": {"prefix": "IN"}}]}', "does not support the comparison"),
        ('{"eventName": [{"numeric": ["~", 1]}]}', "does not support the comparison"),
        ('{"$or": {}}', "is not a list of patterns"),
        (image('{"total": {"N": [{"numeric": ["=", 5]}]}}'), "cannot compare numbers of DynamoDB"),
    ],
)
def test_unknown_patterns_are_refused(pattern: Any, said: str) -> None:
    """What is no pattern, or asks for a comparison that is not known, is refused with the part that does."""
    with pytest.raises(PatternError) as refused:
        read_pattern(pattern)

    assert said in str(refused.value)


def resources(**properties: Any) -> dict[str, Any]:
    stream = {"Stream": {"Fn::GetAtt": ["T", "StreamArn"]}, "StartingPosition": "TRIM_HORIZON"}
    event = {"Type": "DynamoDB", "Properties": stream | properties}
    return {
        "F": {"Type": "AWS::Serverless::Function", "Properties": {"Events": {"Orders": event, "A": {"Type": "Api"}}}},
        "Q": {"Type": "AWS::SQS::Queue", "Properties": {}},
    }


def test_event_source_defaults() -> None:
    """An event that says only where to read has Lambda's defaults; one that is switched off is none."""
    assert declared_event_sources(resources()) == (SOURCE,)
    assert declared_event_sources(resources(MaximumRetryAttempts=-1, MaximumRecordAgeInSeconds=-1)) == (SOURCE,)
    assert declared_event_sources(resources(Enabled=False)) == ()


def test_event_source_settings() -> None:
    """What an event says is taken as it says it, numbers from parameters included."""
    (source,) = declared_event_sources(
        resources(
            BatchSize="7",
            MaximumBatchingWindowInSeconds=2,
            ParallelizationFactor=3,
            BisectBatchOnFunctionError=True,
            MaximumRetryAttempts=5,
            MaximumRecordAgeInSeconds=3600,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            FilterCriteria={"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]},
            DestinationConfig={"OnFailure": {"Type": "SQS", "Destination": "arn:aws:x:us-east-1:1:function:Q"}},
        )
    )

    assert source == EventSource(
        name="F.Orders",
        function="F",
        table="T",
        batch_size=7,
        window=2,
        parallelization=3,
        bisect=True,
        retries=5,
        record_age=3600,
        reports_failures=True,
        patterns=({"eventName": ["INSERT"]},),
        on_failure="Q",
    )


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"TumblingWindowInSeconds": 9}, "does not support TumblingWindowInSeconds of a stream"),
        ({"StartingPosition": "AT_TIMESTAMP"}, "cannot read a stream from AT_TIMESTAMP"),
        ({"Stream": {"Ref": "T"}}, "is not the stream of a table"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"a": [{"cidr": "::1"}]}'}]}}, "does not support the comparison"),
        (
            {"DestinationConfig": {"OnFailure": {"Type": "SNS", "Destination": "arn:x:Topic"}}},
            "must be a queue of the template",
        ),
    ],
)
def test_unknown_settings_are_refused(properties: dict[str, Any], said: str) -> None:
    """What a stream event asks for and the local run does not have is refused, with the event's name."""
    with pytest.raises(SettingsError, match=r"^F\.Orders: ") as refused:
        declared_event_sources(resources(**properties))

    assert said in str(refused.value)


@pytest.mark.parametrize("result", [b"", b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}'])
def test_reports_of_success(result: bytes) -> None:
    """No report, an empty one, and one of nothing all mean that the batch is done."""
    assert reported_failure(result, records(3)) is None


def test_lowest_reported_record_counts() -> None:
    """The function is called again from the first record that it reports, in whatever order it reports them."""
    report = json.dumps({"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "1"}]})

    assert reported_failure(report.encode(), records(3)) == 1


@pytest.mark.parametrize("identifier", ["", None, "99", ["1"]])
def test_reports_that_name_nothing(identifier: Any) -> None:
    """A report of a record that was not in the batch fails the whole batch."""
    report = json.dumps({"batchItemFailures": [{"itemIdentifier": identifier}]})

    with pytest.raises(BadReportError):
        reported_failure(report.encode(), records(3))


def test_what_follows_a_failure() -> None:
    """A batch goes on from where it got, else in halves if it may, else whole again until its retries are used up."""
    halving = EventSource(name="", function="", table="", bisect=True, retries=1)
    retrying = EventSource(name="", function="", table="", retries=1)
    four, one = records(4), records(1)

    assert after_failure(Batch(four, 1), 3, retrying) == [Batch(four[3:])]
    assert after_failure(Batch(four), 0, halving) == [Batch(four[:2]), Batch(four[2:])]
    assert after_failure(Batch(four[:3]), 0, halving) == [Batch(four[:2]), Batch(four[2:3])]
    assert after_failure(Batch(one), 0, halving) == [Batch(one, 1)]
    assert after_failure(Batch(four), 0, retrying) == [Batch(four, 1)]
    assert after_failure(Batch(four, 1), 0, retrying) == []
    assert after_failure(Batch(four, 1000), 0, SOURCE) == [Batch(four, 1001)]


def test_pauses_grow_and_end_growing() -> None:
    """The first call is at once, each retry waits twice as long as the one before, and none over 5 s."""
    assert [Batch((), failures).pause for failures in (0, 1, 2, 3, 7, 500)] == [0, 0.1, 0.2, 0.4, 5, 5]


def test_old_records_are_split_off() -> None:
    """Records over the age are not tried; those behind them are."""
    source = EventSource(name="", function="", table="", record_age=60)
    batch = Batch((*records(2, created=100), *records(1, created=150)), 3)

    assert split_old(batch, source, 170) == (Batch(batch.records[:2], 3), Batch(batch.records[2:]))
    assert split_old(batch, source, 160) == (None, batch)
    assert split_old(batch, source, 999) == (batch, None)
    assert split_old(batch, SOURCE, 1e12) == (None, batch)


def test_progress_waits_for_the_first_that_is_open() -> None:
    """What is done behind a record that is not does not move the checkpoint past it."""
    progress = Progress("0")
    progress.read("1234")

    assert not progress.finish("24")
    assert progress.checkpoint == "0"
    assert progress.finish("1")
    assert progress.checkpoint == "2"
    assert progress.finish("3")
    assert (progress.checkpoint, len(progress)) == ("4", 0)


def test_checkpoints_are_kept(tmp_path: Path) -> None:
    """How far each shard is comes back from the file, without what an earlier stream of the table left."""
    before = Checkpoints(tmp_path / "F.json")
    before.save("old stream", "shard", "1")
    before.save("stream", "one", "7")
    before.finish("stream", "two")

    after = Checkpoints(tmp_path / "F.json")
    after.keep_only("stream")

    assert (after.last("stream", "one"), after.finished("stream", "one")) == ("7", False)
    assert (after.last("stream", "two"), after.finished("stream", "two")) == (None, True)
    assert after.last("old stream", "shard") is None


@pytest.mark.parametrize("text", ["", "{"])
def test_unreadable_checkpoints_are_none(tmp_path: Path, text: str) -> None:
    """A file that cannot be read means that all of the stream is delivered again."""
    (tmp_path / "F.json").write_text(text)

    assert Checkpoints(tmp_path / "F.json").last("stream", "shard") is None


class Told:
    """What a worker has told of."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.given_up: list[tuple[str, list[str], int]] = []

    def report(self, batch: Batch, seconds: float, failed: int | None, error: Exception | None) -> None:
        """Not asked about here."""

    def done(self, records: Sequence[Record]) -> None:
        self.settled += [record.sequence for record in records]

    def give_up(self, given_up: GivenUp) -> None:
        sequences = [record.sequence for record in given_up.batch.records]
        self.given_up.append((given_up.condition, sequences, given_up.calls))


def settle(source: EventSource, function: Callable[[list[str]], Any], now: float = 0) -> tuple[Told, list[list[str]]]:
    told, calls = Told(), []

    def invoke(event: bytes) -> bytes:
        calls.append(json.loads(event)["Records"])
        return json.dumps(function(calls[-1])).encode()

    Worker(source, invoke, told, threading.Event(), lambda: now).settle(records(4))
    return told, calls


def test_poison_costs_its_retries_and_no_other_record() -> None:
    """A record that fails whatever it comes with is given up alone; all others are done, in order."""
    source = EventSource(name="", function="", table="", bisect=True, retries=1, reports_failures=True)

    def function(given: list[str]) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "1"}] if "1" in given else []}

    told, calls = settle(source, function)

    assert calls == [["0", "1", "2", "3"], ["1", "2", "3"], ["1", "2"], ["1"], ["1"], ["2"], ["3"]]
    assert told.settled == ["0", "1", "2", "3"]
    assert told.given_up == [("RetryAttemptsExhausted", ["1"], 2)]


def test_old_records_are_given_up_untried() -> None:
    """Records over the age are told as given up, without a call."""
    told, calls = settle(EventSource(name="", function="", table="", record_age=60), lambda _: None, now=61)

    assert calls == []
    assert told.given_up == [("RecordAgeExceeded", ["0", "1", "2", "3"], 0)]
    assert told.settled == ["0", "1", "2", "3"]


def test_failure_while_stopping_counts_for_nothing() -> None:
    """A call that fails because its process was ended leaves its records to the next run."""
    stopping, told = threading.Event(), Told()

    def invoke(_: bytes) -> bytes:
        stopping.set()
        raise ConnectionError

    Worker(EventSource(name="", function="", table="", retries=0), invoke, told, stopping).settle(records(2))

    assert (told.settled, told.given_up) == ([], [])


def test_full_batches_are_cut() -> None:
    """A worker calls with no more than a batch's size, and with no more than fits into an event."""
    stopping, told, sizes = threading.Event(), Told(), []

    def invoke(event: bytes) -> bytes:
        sizes.append(len(json.loads(event)["Records"]))
        return b""

    worker = Worker(EventSource(name="", function="", table="", batch_size=3), invoke, told, stopping)
    large = json.dumps("x" * 2_500_000)
    worker.put([*records(4), *(Record(str(number), 0, "", large) for number in range(4, 8))])
    worker.end()
    worker.run()

    assert sizes == [3, 3, 2]
    assert told.settled == [str(number) for number in range(8)]


def test_deletes_by_time_to_live_say_who() -> None:
    """The identity behind a deletion has the names that Lambda gives it."""
    raw = {
        "eventID": "1",
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        "dynamodb": {"ApproximateCreationDateTime": 1.5e9, "SequenceNumber": "1"},
    }

    event = stream_event(raw, "arn")

    assert event["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert (event["eventSourceARN"], event["dynamodb"]["ApproximateCreationDateTime"]) == ("arn", 1_500_000_000)


class ScriptedWire:
    """Answers of an endpoint, by operation."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, Any]] = []

    def call(self, operation: str, **arguments: Any) -> Any:
        self.asked.append((operation, arguments.get("ShardIteratorType")))
        return self._answers[operation](**arguments)


def refuse(code: str) -> Callable[..., Any]:
    def answer(**_: Any) -> Any:
        raise ServiceError(code, code)

    return answer


def test_lost_place_in_a_shard(tmp_path: Path) -> None:
    """Where the engine no longer knows the last record, reading starts over and skips what was done."""

    def iterator(*, ShardIteratorType: str, **_: Any) -> dict[str, str]:  # noqa: N803 - the API's name
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            raise ServiceError("TrimmedDataAccessException", "gone")
        return {"ShardIterator": "start"}

    change = {"ApproximateCreationDateTime": 0, "Keys": {}}
    page = {"Records": [{"dynamodb": {**change, "SequenceNumber": str(number)}} for number in (6, 7, 8, 9)]}
    client: Any = ScriptedWire(GetShardIterator=iterator, GetRecords=lambda **_: page)
    checkpoints = Checkpoints(tmp_path / "F.json")
    checkpoints.save("stream", "shard", "7")
    calls: list[list[str]] = []

    def invoke(event: bytes) -> bytes:
        calls.append([record["dynamodb"]["SequenceNumber"] for record in json.loads(event)["Records"]])
        return b""

    Shard(
        SOURCE,
        "stream",
        "shard",
        start="TRIM_HORIZON",
        client=client,
        invoke=invoke,
        checkpoints=checkpoints,
        queue=None,
        stopping=threading.Event(),
    ).run()

    assert calls == [["8", "9"]]
    assert checkpoints.finished("stream", "shard")


@pytest.mark.parametrize(
    "client",
    [
        ScriptedWire(DescribeTable=lambda **_: {"Table": {}}),
        ScriptedWire(
            DescribeTable=lambda **_: {"Table": {"LatestStreamArn": "arn"}},
            DescribeStream=refuse("UnknownOperationException"),
        ),
    ],
)
def test_endpoint_without_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str], client: Any) -> None:
    """Where there is no stream that is said once, and the rest goes on without it."""
    follower = Follower(SOURCE, Any, "http://there", tmp_path, threading.Event())  # type: ignore[arg-type] # not called
    follower._client = client

    follower.run()

    assert capfd.readouterr().err == "  F.Orders: http://there has no stream of T; F receives no records\n"


def test_children_wait_for_their_parent(tmp_path: Path) -> None:
    """A shard is read only once all of the one that it continues is done."""
    shards = [{"ShardId": "parent"}, {"ShardId": "child", "ParentShardId": "parent"}]
    client: Any = ScriptedWire(
        DescribeTable=lambda **_: {"Table": {"LatestStreamArn": "arn"}},
        DescribeStream=lambda **_: {"StreamDescription": {"Shards": shards}},
    )
    begun: list[str] = []
    follower = Follower(SOURCE, Any, "http://there", tmp_path, threading.Event())  # type: ignore[arg-type] # not called
    follower._client = client
    follower._start = lambda _, shard, __: begun.append(shard["ShardId"])  # type: ignore[method-assign,assignment]
    checkpoints = Checkpoints(tmp_path / "F.json")

    follower._start_shards(checkpoints)
    checkpoints.finish("arn", "parent")
    follower._start_shards(checkpoints)

    assert begun == ["parent", "child"]
