"""Parts of the delivery of streams without a process: patterns, event sources, batches, workers, checkpoints."""

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
    """A record matches if it has an allowed value for each part of the pattern."""
    assert matches(read_pattern(pattern), INSERT) is expected


@pytest.mark.parametrize(
    ("pattern", "text"),
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
def test_unknown_patterns_are_refused(pattern: Any, text: str) -> None:
    """An invalid pattern, or one with an unsupported comparison, is refused, and the error names the part."""
    with pytest.raises(PatternError) as refused:
        read_pattern(pattern)

    assert text in str(refused.value)


def resources(**properties: Any) -> dict[str, Any]:
    stream = {"Stream": {"Fn::GetAtt": ["T", "StreamArn"]}, "StartingPosition": "TRIM_HORIZON"}
    event = {"Type": "DynamoDB", "Properties": stream | properties}
    return {
        "F": {"Type": "AWS::Serverless::Function", "Properties": {"Events": {"Orders": event, "A": {"Type": "Api"}}}},
        "Q": {"Type": "AWS::SQS::Queue", "Properties": {}},
    }


def test_event_source_defaults() -> None:
    """An event with only the required settings has Lambda's defaults; a disabled one is ignored."""
    assert declared_event_sources(resources()) == (SOURCE,)
    assert declared_event_sources(resources(MaximumRetryAttempts=-1, MaximumRecordAgeInSeconds=-1)) == (SOURCE,)
    assert declared_event_sources(resources(Enabled=False)) == ()


def test_event_source_settings() -> None:
    """All settings of an event are read, including numbers that parameters have as text."""
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
    ("properties", "text"),
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
def test_unknown_settings_are_refused(properties: dict[str, Any], text: str) -> None:
    """An unsupported setting of a stream event is refused, and the error names the event."""
    with pytest.raises(SettingsError, match=r"^F\.Orders: ") as refused:
        declared_event_sources(resources(**properties))

    assert text in str(refused.value)


@pytest.mark.parametrize("result", [b"", b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}'])
def test_reports_of_success(result: bytes) -> None:
    """A missing report, an empty one, and one without failures all mean that the batch is done."""
    assert reported_failure(result, records(3)) is None


def test_lowest_reported_record_counts() -> None:
    """The function is called again from the first record that it reports, in any order of the report."""
    report = json.dumps({"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "1"}]})

    assert reported_failure(report.encode(), records(3)) == 1


@pytest.mark.parametrize("identifier", ["", None, "99", ["1"]])
def test_reports_of_unknown_records(identifier: Any) -> None:
    """A report of a record that was not in the batch fails the whole batch."""
    report = json.dumps({"batchItemFailures": [{"itemIdentifier": identifier}]})

    with pytest.raises(BadReportError):
        reported_failure(report.encode(), records(3))


def test_batches_after_a_failure() -> None:
    """A batch continues from the failed record, or in halves with bisection, or whole until its retries are used up."""
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


def test_pauses_grow_up_to_a_limit() -> None:
    """The first call is at once; each retry waits twice as long as the one before, and at most 5 s."""
    assert [Batch((), failures).pause for failures in (0, 1, 2, 3, 7, 500)] == [0, 0.1, 0.2, 0.4, 5, 5]


def test_old_records_are_split_off() -> None:
    """Records that exceed the record age are not tried; those behind them are."""
    source = EventSource(name="", function="", table="", record_age=60)
    batch = Batch((*records(2, created=100), *records(1, created=150)), 3)

    assert split_old(batch, source, 170) == (Batch(batch.records[:2], 3), Batch(batch.records[2:]))
    assert split_old(batch, source, 160) == (None, batch)
    assert split_old(batch, source, 999) == (batch, None)
    assert split_old(batch, SOURCE, 1e12) == (None, batch)


def test_checkpoint_waits_for_the_first_open_record() -> None:
    """The checkpoint does not pass a record that is not done, even if later ones are."""
    progress = Progress("0")
    progress.read("1234")

    assert not progress.finish("24")
    assert progress.checkpoint == "0"
    assert progress.finish("1")
    assert progress.checkpoint == "2"
    assert progress.finish("3")
    assert (progress.checkpoint, len(progress)) == ("4", 0)


def test_checkpoints_are_kept(tmp_path: Path) -> None:
    """The checkpoints of all shards are loaded from the file, without those of earlier streams of the table."""
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
def test_unreadable_checkpoints(tmp_path: Path, text: str) -> None:
    """A file that cannot be read counts as missing, so that the whole stream is delivered again."""
    (tmp_path / "F.json").write_text(text)

    assert Checkpoints(tmp_path / "F.json").last("stream", "shard") is None


class RecordedOutcomes:
    """Records the outcomes that a worker reports."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.given_up: list[tuple[str, list[str], int]] = []

    def report(self, batch: Batch, seconds: float, failed: int | None, error: Exception | None) -> None:
        """Ignored in these tests."""

    def done(self, records: Sequence[Record]) -> None:
        self.settled += [record.sequence for record in records]

    def give_up(self, given_up: GivenUp) -> None:
        sequences = [record.sequence for record in given_up.batch.records]
        self.given_up.append((given_up.condition, sequences, given_up.calls))


def settle(
    source: EventSource, function: Callable[[list[str]], Any], now: float = 0
) -> tuple[RecordedOutcomes, list[list[str]]]:
    outcomes, calls = RecordedOutcomes(), []

    def invoke(event: bytes) -> bytes:
        calls.append(json.loads(event)["Records"])
        return json.dumps(function(calls[-1])).encode()

    Worker(source, invoke, outcomes, threading.Event(), lambda: now).settle(records(4))
    return outcomes, calls


def test_failing_record_does_not_affect_others() -> None:
    """A record that always fails is given up alone; all other records are done, in order."""
    source = EventSource(name="", function="", table="", bisect=True, retries=1, reports_failures=True)

    def function(given: list[str]) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "1"}] if "1" in given else []}

    outcomes, calls = settle(source, function)

    assert calls == [["0", "1", "2", "3"], ["1", "2", "3"], ["1", "2"], ["1"], ["1"], ["2"], ["3"]]
    assert outcomes.settled == ["0", "1", "2", "3"]
    assert outcomes.given_up == [("RetryAttemptsExhausted", ["1"], 2)]


def test_old_records_are_given_up_untried() -> None:
    """Records that exceed the record age are given up without a call."""
    outcomes, calls = settle(EventSource(name="", function="", table="", record_age=60), lambda _: None, now=61)

    assert calls == []
    assert outcomes.given_up == [("RecordAgeExceeded", ["0", "1", "2", "3"], 0)]
    assert outcomes.settled == ["0", "1", "2", "3"]


def test_failure_while_stopping_is_ignored() -> None:
    """If a call fails because its process was killed, its records are left to the next run."""
    stopping, outcomes = threading.Event(), RecordedOutcomes()

    def invoke(_: bytes) -> bytes:
        stopping.set()
        raise ConnectionError

    Worker(EventSource(name="", function="", table="", retries=0), invoke, outcomes, stopping).settle(records(2))

    assert (outcomes.settled, outcomes.given_up) == ([], [])


def test_batches_have_limits() -> None:
    """A batch has at most the batch size, and at most as many records as fit into an event."""
    stopping, outcomes, sizes = threading.Event(), RecordedOutcomes(), []

    def invoke(event: bytes) -> bytes:
        sizes.append(len(json.loads(event)["Records"]))
        return b""

    worker = Worker(EventSource(name="", function="", table="", batch_size=3), invoke, outcomes, stopping)
    large = json.dumps("x" * 2_500_000)
    worker.put([*records(4), *(Record(str(number), 0, "", large) for number in range(4, 8))])
    worker.end()
    worker.run()

    assert sizes == [3, 3, 2]
    assert outcomes.settled == [str(number) for number in range(8)]


def test_identity_of_deletions() -> None:
    """The user identity of a deletion has the property names of Lambda's events."""
    raw = {
        "eventID": "1",
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        "dynamodb": {"ApproximateCreationDateTime": 1.5e9, "SequenceNumber": "1"},
    }

    event = stream_event(raw, "arn")

    assert event["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert (event["eventSourceARN"], event["dynamodb"]["ApproximateCreationDateTime"]) == ("arn", 1_500_000_000)


class ScriptedClient:
    """A client with a response for each operation."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self._answers = answers
        self.calls: list[tuple[str, Any]] = []

    def call(self, operation: str, **arguments: Any) -> Any:
        self.calls.append((operation, arguments.get("ShardIteratorType")))
        return self._answers[operation](**arguments)


def refuse(code: str) -> Callable[..., Any]:
    def answer(**_: Any) -> Any:
        raise ServiceError(code, code)

    return answer


def test_lost_position_in_a_shard(tmp_path: Path) -> None:
    """If the engine does not have the last record any more, the shard is read from its start, without done records."""

    def iterator(*, ShardIteratorType: str, **_: Any) -> dict[str, str]:  # noqa: N803 - the API's name
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            raise ServiceError("TrimmedDataAccessException", "gone")
        return {"ShardIterator": "start"}

    change = {"ApproximateCreationDateTime": 0, "Keys": {}}
    page = {"Records": [{"dynamodb": {**change, "SequenceNumber": str(number)}} for number in (6, 7, 8, 9)]}
    client: Any = ScriptedClient(GetShardIterator=iterator, GetRecords=lambda **_: page)
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
        ScriptedClient(DescribeTable=lambda **_: {"Table": {}}),
        ScriptedClient(
            DescribeTable=lambda **_: {"Table": {"LatestStreamArn": "arn"}},
            DescribeStream=refuse("UnknownOperationException"),
        ),
    ],
)
def test_endpoint_without_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str], client: Any) -> None:
    """A missing stream is reported once, and its event source is skipped."""
    follower = Follower(SOURCE, Any, "http://there", tmp_path, threading.Event())  # type: ignore[arg-type] # not called
    follower._client = client

    follower.run()

    assert capfd.readouterr().err == "  F.Orders: http://there has no stream of T; F receives no records\n"


def test_children_wait_for_their_parent(tmp_path: Path) -> None:
    """A shard is read only after all records of its parent are done."""
    shards = [{"ShardId": "parent"}, {"ShardId": "child", "ParentShardId": "parent"}]
    client: Any = ScriptedClient(
        DescribeTable=lambda **_: {"Table": {"LatestStreamArn": "arn"}},
        DescribeStream=lambda **_: {"StreamDescription": {"Shards": shards}},
    )
    started: list[str] = []
    follower = Follower(SOURCE, Any, "http://there", tmp_path, threading.Event())  # type: ignore[arg-type] # not called
    follower._client = client
    follower._start = lambda _, shard, __: started.append(shard["ShardId"])  # type: ignore[method-assign,assignment]
    checkpoints = Checkpoints(tmp_path / "F.json")

    follower._start_shards(checkpoints)
    checkpoints.finish("arn", "parent")
    follower._start_shards(checkpoints)

    assert started == ["parent", "child"]
