"""Messages of dead-letter queues are read and replayed, against queues in memory."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.installation import ROOT, Installation, NotDone
from ordering_tools.local.dead_letters import DeadLetters, FailedBatch
from ordering_tools.operations import commands, dead_letters
from ordering_tools.operations.dead_letters import age, find_message, open_dead_letters, remedy
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.training import School

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/stack-T-1/stream/1"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:stack-F-1"
QUEUES = "arn:aws:sqs:us-east-1:000000000000:stack-"
NAMES = ("Work", "Dead", "Given", "LaterQueue")
STACK = Stack(
    {},
    {
        "F": "stack-F-1",
        "T": "stack-T-1",
        **{name: f"http://localhost:4566/000000000000/stack-{name}" for name in NAMES},
    },
)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Site:
    """Queues and a stream in memory, and a log of the calls."""

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
        self.stream: list[dict[str, Any]] = []
        self.first = 0
        """How many records of the stream have expired."""
        self.log: list[str] = []
        self.events: list[list[str]] = []
        self.answer: dict[str, Any] = {"Payload": io.BytesIO(b"{}")}
        self.refuse: set[str] = set()
        self.hidden: set[str] = set()

    def letters(self) -> DeadLetters:
        return DeadLetters(
            STACK,
            sqs=self,
            functions=self,
            invoker=self,
            streams=self,
            peek=lambda url: self.messages[url.rpartition("/stack-")[2]],
            services="http://there",
        )

    def put(self, queue: str, body: str, *, source: str | None = None, sent: int = 0) -> str:
        number = f"m{sum(map(len, self.messages.values()))}"
        attributes = {"SentTimestamp": str(sent * 1000)}
        if source:
            attributes["DeadLetterQueueSourceArn"] = f"{QUEUES}{source}"
        message = {"MessageId": number, "Body": body, "Attributes": attributes}
        self.messages[queue].append(message)
        return number

    def give_up(self, *sequences: int, at: datetime | None = None) -> str:
        request = {"functionArn": FUNCTION, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6}
        batch = {"streamArn": STREAM, "shardId": "shard", "batchSize": len(sequences)}
        batch |= {"startSequenceNumber": str(sequences[0]), "endSequenceNumber": str(sequences[-1])}
        if at:
            ends = ("approximateArrivalOfFirstRecord", "approximateArrivalOfLastRecord")
            batch |= dict.fromkeys(ends, f"{at:%Y-%m-%dT%H:%M:%SZ}")
        return self.put("Given", json.dumps({"requestContext": request, "DDBStreamBatchInfo": batch}))

    def __getattr__(self, operation: str) -> Any:
        """An operation of a client, by botocore's name for it."""
        name = "".join(word.capitalize() for word in operation.split("_"))
        do = getattr(type(self), f"_{name}", None)
        if do is None:
            raise AttributeError(operation)

        def call(**arguments: Any) -> Any:
            self.log.append(name)
            if name in self.refuse:
                raise refusal("Refused", f"{name} is refused")
            return do(self, arguments)

        return call

    def get_queue_attributes(self, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - the API's name
        policy = {"deadLetterTargetArn": f"{QUEUES}Dead", "maxReceiveCount": 4}
        return {"Attributes": {"RedrivePolicy": json.dumps(policy)}} if QueueUrl.endswith("Work") else {}

    def list_event_source_mappings(self) -> dict[str, Any]:
        failed = {"DestinationConfig": {"OnFailure": {"Destination": f"{QUEUES}Given"}}}
        return {"EventSourceMappings": [{"FunctionArn": "of a queue"}, failed]}

    def _queue(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        assert arguments["QueueUrl"].startswith(("http://there/000000000000/stack-", "https://sqs/000000000000/stack-"))
        return self.messages[arguments["QueueUrl"].rpartition("/stack-")[2]]

    def _ReceiveMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - the API's name
        visible = [one for one in self._queue(arguments) if one["MessageId"] not in self.hidden]
        given = visible[: arguments["MaxNumberOfMessages"]]
        self.hidden |= {message["MessageId"] for message in given}
        return {"Messages": [{**message, "ReceiptHandle": message["MessageId"]} for message in given]}

    def _SendMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        self._queue(arguments).append({"MessageId": "new", "Body": arguments["MessageBody"]})
        return {}

    def _SendMessageBatch(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        self._queue(arguments).extend(arguments["Entries"])
        return {}

    def _DeleteMessage(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        queue = self._queue(arguments)
        queue[:] = [message for message in queue if message["MessageId"] != arguments["ReceiptHandle"]]
        return {}

    def _ChangeMessageVisibility(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        assert self._queue(arguments)
        assert arguments["VisibilityTimeout"] == 0
        self.hidden.remove(arguments["ReceiptHandle"])
        return {}

    def _Invoke(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        assert (arguments["FunctionName"], arguments["Qualifier"]) == (FUNCTION, "live")
        self.events.append(
            [record["dynamodb"]["SequenceNumber"] for record in json.loads(arguments["Payload"])["Records"]]
        )
        return self.answer

    def _GetShardIterator(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        assert (arguments["StreamArn"], arguments["ShardId"]) == (STREAM, "shard")
        if arguments["ShardIteratorType"] == "TRIM_HORIZON":
            return {"ShardIterator": str(self.first)}
        start = int(arguments["SequenceNumber"])
        if start < self.first:
            raise refusal("TrimmedDataAccessException", "gone")
        return {"ShardIterator": str(start)}

    def _GetRecords(self, arguments: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - as above
        start = int(arguments["ShardIterator"])
        return {"Records": self.stream[start : start + 2], "NextShardIterator": str(start + 2)}


def refusal(code: str, text: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": text}}, "Operation")


@pytest.fixture
def site() -> Site:
    site = Site()
    for number in range(8):
        change = {"SequenceNumber": str(number), "ApproximateCreationDateTime": NOW, "Keys": {"pk": {"S": "x"}}}
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

    assert letters.replay(letters.messages("Dead")[1]) == "sent back to Work"
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
        letters.replay(letters.messages("Dead")[0])
    assert len(site.messages["Dead"]) == 1
    assert "DeleteMessage" not in site.log
    assert not site.hidden


def test_replayed_by_one_at_a_time(site: Site) -> None:
    """A message that another replay has received is not replayed a second time."""
    site.hidden = {site.put("Dead", "body", source="Work")}
    letters = site.letters()

    with pytest.raises(NotDone, match="another replay has it"):
        letters.replay(letters.messages("Dead")[0])
    assert site.messages["Work"] == []


@pytest.fixture
def stack(site: Site, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A stack in AWS with these queues, on which commands act."""
    urls = {name: f"https://sqs/000000000000/stack-{name}" for name in site.messages}
    deployed = Installation(
        Memory(),
        MemoryKms(),
        None,
        "",
        "",
        stack=Stack({}, {**STACK.resources, **urls}),
        connect=lambda *_, **__: site,
        caller="arn:aws:iam::000000000000:user/ann",
        account="000000000000",
    )
    monkeypatch.setattr(commands, "open_stack", lambda *_: deployed)
    return deployed


def run(*arguments: str) -> int:
    return cli.main(["dead", *arguments, "--stack", "production"])


def test_unreachable_queues(site: Site, stack: Installation) -> None:
    """A failed request is an error of the command."""
    site.put("Dead", "body", source="Work")
    site.refuse = {"ReceiveMessage"}
    letters = site.letters()

    with pytest.raises(NotDone, match="the request to stack ordering in us-east-1"), open_dead_letters(stack):
        letters.replay(letters.messages("Dead")[0])


@pytest.mark.usefixtures("stack")
def test_listed_on_a_stack(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """In AWS messages are received to be listed, and are there for others when the list is complete."""
    for number in range(25):
        site.put("Dead", str(number), source="Work", sent=number)
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)

    assert [message["id"] for message in listed] == [f"m{number}" for number in range(25)]
    assert {message["queue"] for message in listed} == {"Dead"}
    assert not site.hidden
    assert len(site.messages["Dead"]) == 25


@pytest.mark.usefixtures("stack")
def test_no_messages(capsys: pytest.CaptureFixture[str]) -> None:
    """A list without messages names the queues that were looked at."""
    assert run("list") == 0
    assert capsys.readouterr().out == "no message in Dead, Given\n"


def test_replayed_on_a_stack(site: Site, stack: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A replay in AWS must be agreed to, and is noted."""
    message = site.put("Dead", "body", source="Work")

    assert run("replay", message, "--reason", "ticket 17") == 1
    assert "--yes" in capsys.readouterr().err
    assert len(site.messages["Dead"]) == 1
    assert run("replay", message, "--reason", "ticket 17", "--yes") == 0
    assert "sent back to Work" in capsys.readouterr().out
    assert [message["Body"] for message in site.messages["Work"]] == ["body"]
    (entry,) = entries(stack.accounts, f"{datetime.now(UTC):%Y-%m}")
    assert (entry.action, entry.subject, entry.reason) == ("dead replay", "dead-letter m0", "ticket 17")
    assert entry.by == stack.caller


@pytest.mark.usefixtures("stack")
def test_all_are_replayed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """With --all each message is replayed once; one that cannot be stays, visible, and the exit code is 1."""
    for number in range(3):
        site.put("Dead", str(number), source=None if number == 1 else "Work")

    assert run("replay", "--all", "--yes", "--json") == 1
    printed, errors = capsys.readouterr()
    assert [each["done"] for each in json.loads(printed)] == [True, False, True]
    assert errors == "1 of 3 messages could not be replayed\n"
    assert [message["Body"] for message in site.messages["Work"]] == ["0", "2"]
    assert [message["Body"] for message in site.messages["Dead"]] == ["1"]
    assert "m1" not in site.hidden


@pytest.mark.usefixtures("stack")
def test_messages_that_fail_again_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that comes back while others are replayed is not replayed again by the same command."""
    send, sent = Site._SendMessage, list[str]()

    def come_back(self: Site, arguments: Mapping[str, Any]) -> dict[str, Any]:
        assert len(sent) < 10
        sent.append(arguments["MessageBody"])
        self.put("Dead", f"{arguments['MessageBody']} again", source="Work")
        return send(self, arguments)

    monkeypatch.setattr(Site, "_SendMessage", come_back)
    for number in range(2):
        site.put("Dead", str(number), source="Work")

    assert run("replay", "--all", "--yes") == 0
    assert sent == ["0", "1"]
    assert [message["Body"] for message in site.messages["Dead"]] == ["0 again", "1 again"]


@pytest.mark.parametrize("words", [(), ("m0", "--all")])
def test_what_is_replayed_is_said(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A replay names either a message or all."""
    assert run("replay", *words) == 2
    assert "name a message, or say --all" in capsys.readouterr().err


def test_remedies() -> None:
    """Each dead-letter queue of the template has its remedy in docs/operations.md."""
    resources = Template.load(ROOT / "template.yaml").document["Resources"]
    queues = [name for name, one in resources.items() if "Queue" in one["Type"] and name.endswith("DeadLetters")]

    assert len(queues) == 6
    assert all("replay" in remedy(name).lower() for name in queues)
    assert remedy("Other") == ""


@pytest.mark.usefixtures("stack")
def test_shown_with_its_remedy(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message is shown with what the page of operations says to do about its queue."""
    page = tmp_path / "operations.md"
    page.write_text("| alarm | meaning | what to do |\n| `Given` | given up | fix the cause, replay |\n")
    monkeypatch.setattr(dead_letters, "_OPERATIONS", page)
    message = site.give_up(2, 3)

    assert run("show", message) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 records are still in the stream" in printed
    assert printed.endswith("What to do: fix the cause, replay\n")


def test_records_of_a_batch(site: Site) -> None:
    """The function is called with all records from the first to the last of a batch."""
    site.give_up(2, 4)
    letters = site.letters()

    assert letters.replay(letters.messages("Given")[0]) == "F has processed 2 records"
    assert site.events == [["2", "3", "4"]]
    assert site.messages["Given"] == []
    assert site.log[-2:] == ["Invoke", "DeleteMessage"]


def test_expired_records(site: Site) -> None:
    """A batch of which some records have expired is shown without them, and cannot be replayed."""
    site.give_up(2, 3, 4)
    site.first = 4
    letters = site.letters()
    (message,) = letters.messages("Given")

    assert [record["dynamodb"]["SequenceNumber"] for record in letters.records(message)] == ["4"]
    with pytest.raises(NotDone, match="the stream does not have its 3 records any more"):
        letters.replay(message)
    assert "Invoke" not in site.log
    assert len(site.messages["Given"]) == 1


def test_expired_records_are_found_by_a_scan(
    site: Site, stack: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --scan, which is asked for, the work of expired records is queued, and only then is the message deleted."""
    school = School(stack.send, now=lambda: NOW)
    order = school.place(1)
    kept, gone = site.give_up(7), site.give_up(2, 3, at=NOW)
    site.first = 4

    assert run("replay", gone, "--yes") == 1
    assert "With --scan the command finds their work in the orders table" in capsys.readouterr().err
    assert run("replay", gone, "--scan") == 1
    assert "where the stream has lost the records, it reads the whole orders table" in capsys.readouterr().err
    assert run("replay", "--all", "--scan", "--yes") == 0
    printed = capsys.readouterr().out
    assert f"{kept}: F has processed 1 record" in printed
    assert f"{gone}: its records have expired; the scan has put 2 items back to work" in printed
    keys = [json.loads(message["MessageBody"]) for message in site.messages["LaterQueue"]]
    assert sorted(key[0].partition("#")[0] for key in keys) == ["BOOK", "ORDER"]
    assert [f"ORDER#training#{order}", "ORDER"] in keys
    assert site.messages["Given"] == []
    assert site.log.index("SendMessageBatch") < len(site.log) - 1 - site.log[::-1].index("DeleteMessage")


@pytest.mark.parametrize(
    ("answer", "more", "refused", "text"),
    [
        ('{"batchItemFailures": [{"itemIdentifier": "3"}]}', {}, set(), "F failed again, from record 3"),
        ('{"errorType": "T", "errorMessage": "m"}', {"FunctionError": "Unhandled"}, set(), "F failed again: T: m"),
        ("null", {}, {"Invoke"}, "F cannot be called: .* Invoke is refused"),
    ],
)
def test_records_that_fail_again(site: Site, answer: str, more: dict[str, str], refused: set[str], text: str) -> None:
    """A batch that fails again, or cannot be passed to its function, stays in the dead-letter queue."""
    site.give_up(2, 3)
    site.answer = {**more, "Payload": io.BytesIO(answer.encode())}
    site.refuse = refused
    letters = site.letters()

    with pytest.raises(NotDone, match=text):
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
    assert (
        capsys.readouterr().err
        == "the local run is not running; start it with `make serve`, or name a stack with --stack\n"
    )
