"""Delivery of queues to functions: its parts, and on a running stack form, timing and retries of messages."""

import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from gateway.waiting import eventually
from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.engine import Engine, connect
from ordering_tools.local.engine.event_buses import Rule, create_buses, declared_rules
from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.engine.mails import declared_senders, sends_mail, sent_mails
from ordering_tools.local.engine.queues import declared_queues
from ordering_tools.local.engine.references import References
from ordering_tools.local.runtime.functions import FunctionError, SettingsError
from ordering_tools.local.serve import ROOT
from ordering_tools.local.sources.batches import BadReportError
from ordering_tools.local.sources.dead_letters import peek_at
from ordering_tools.local.sources.event_patterns import read_pattern
from ordering_tools.local.sources.messages import message_record, passes_filters, reported_messages, split_by_size
from ordering_tools.local.sources.pollers import Poller
from ordering_tools.local.sources.queue_sources import QueueSource, declared_queue_sources
from ordering_tools.template import Template
from support.local_stack import LocalStack, running

FIXTURE = Path(__file__).parent / "fixture"
SERVICES = "http://there"


def resources(queue: Any = None, function: Any = None, **event: Any) -> dict[str, Any]:
    work = {"Type": "SQS", "Properties": {"Queue": "arn:aws:sqs:us-east-1:1:Q", **event}}
    properties = {"Events": {"Work": work, "Other": {"Type": "Api"}}, **(function or {})}
    return {
        "F": {"Type": "AWS::Serverless::Function", "Properties": properties},
        "Q": {"Type": "AWS::SQS::Queue", "Properties": queue or {}},
        "D": {"Type": "AWS::SQS::Queue"},
    }


def message(body: str = "{}", number: int = 1, receives: int = 1) -> dict[str, Any]:
    return {
        "MessageId": f"m{number}",
        "ReceiptHandle": f"handle {number}",
        "Body": body,
        "MD5OfBody": "digest",
        "Attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": "1"},
    }


def records(*bodies: str) -> list[dict[str, Any]]:
    return [message_record(message(body, number), "Q") for number, body in enumerate(bodies)]


def test_references() -> None:
    """A queue resolves to its URL, a bus to its name, a sender to its address; unknown references are unchanged."""
    document = {
        "Parameters": {"Domain": {"Type": "String", "Default": "example.com"}},
        "Resources": {
            "Q": {"Type": "AWS::SQS::Queue"},
            "B": {"Type": "AWS::Events::EventBus", "Properties": {"Name": "x"}},
            "S": {"Type": "AWS::SES::EmailIdentity", "Properties": {"EmailIdentity": {"Ref": "Domain"}}},
        },
    }
    resolve = References(Template(document), SERVICES).resolve
    url, arn = f"{SERVICES}/000000000000/Q", "arn:aws:sqs:us-east-1:000000000000:Q"

    assert resolve([{"Ref": "Q"}, {"Fn::GetAtt": ["Q", "Arn"]}, {"Fn::GetAtt": ["Q", "QueueName"]}]) == [url, arn, "Q"]
    assert resolve({"a": {"Fn::Sub": "${Q} ${Q.Arn} ${Domain} ${!x}"}}) == {"a": f"{url} {arn} example.com ${{!x}}"}
    assert resolve([{"Ref": "B"}, {"Ref": "S"}, {"Ref": "AWS::AccountId"}]) == ["B", "example.com", "000000000000"]
    for unknown in ({"Fn::GetAtt": ["T", "StreamArn"]}, {"Fn::Sub": "${T.Arn}"}, {"Fn::If": ["a", 1, 2]}):
        assert resolve(unknown) == unknown


def test_queue_settings() -> None:
    """A queue has the template's settings, and SQS's defaults for all others, which reset earlier settings."""
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:D", "maxReceiveCount": "3"}
    queues = declared_queues(resources({"VisibilityTimeout": "60", "RedrivePolicy": redrive, "QueueName": "x"}))

    assert queues["Q"].attributes["VisibilityTimeout"] == "60"
    assert json.loads(queues["Q"].attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:D",
        "maxReceiveCount": 3,
    }
    assert queues["D"].attributes == {
        "DelaySeconds": "0",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "VisibilityTimeout": "30",
        "RedrivePolicy": "",
    }


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({"FifoQueue": True}, "Q: the local run does not support FifoQueue of a queue"),
        ({"VisibilityTimeout": {"Fn::If": ["a", 1, 2]}}, "Q: "),
        ({"RedrivePolicy": {"deadLetterTargetArn": "arn:E", "maxReceiveCount": 1}}, "dead-letter queue E is not in"),
    ],
)
def test_unknown_queues_are_refused(properties: Any, text: str) -> None:
    """An unsupported property of a queue is refused, and the error names the queue."""
    with pytest.raises(SettingsError, match=text):
        declared_queues(resources(properties))


def test_source_settings() -> None:
    """An event has its settings, and Lambda's defaults for all others; a disabled one is ignored."""
    redrive = {"deadLetterTargetArn": "arn:D", "maxReceiveCount": 3}
    (source,) = declared_queue_sources(
        resources(
            {"RedrivePolicy": redrive},
            BatchSize="20",
            MaximumBatchingWindowInSeconds=2,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            ScalingConfig={"MaximumConcurrency": 2},
            FilterCriteria={"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
        )
    )

    assert source == QueueSource(
        name="F.Work",
        function="F",
        queue="Q",
        batch_size=20,
        window=2,
        calls=2,
        reports_failures=True,
        patterns=({"body": {"a": [1]}},),
        dead_letters="D",
        receives=3,
    )
    assert declared_queue_sources(resources()) == (QueueSource(name="F.Work", function="F", queue="Q"),)
    assert declared_queue_sources(resources(Enabled=False)) == ()


@pytest.mark.parametrize(
    ("event", "function", "text"),
    [
        ({"StartingPosition": "LATEST"}, {}, "does not support StartingPosition of a queue"),
        ({"Queue": "arn:aws:sqs:us-east-1:1:Elsewhere"}, {}, "is not a queue of the template"),
        ({"BatchSize": 11}, {}, "needs a MaximumBatchingWindowInSeconds of 1 or more"),
        ({"BatchSize": 0}, {}, "BatchSize is 1 to 10000"),
        ({}, {"Timeout": 31}, "the visibility timeout of Q, 30 s, is less than the function's 31 s"),
    ],
)
def test_refused_sources(event: Any, function: Any, text: str) -> None:
    """A setting that Lambda refuses or the local run does not support is refused, and the error names the event."""
    with pytest.raises(SettingsError, match=r"^F\.Work: ") as refused:
        declared_queue_sources(resources(None, function, **event))

    assert text in str(refused.value)


def test_targets_of_rules() -> None:
    """A rule has its bus, pattern and targets; a target that is not a queue is refused."""

    def rule(arn: str) -> Any:
        properties = {"EventBusName": "B", "EventPattern": {"source": ["x"]}, "Targets": [{"Id": "1", "Arn": arn}]}
        return {"R": {"Type": "AWS::Events::Rule", "Properties": properties}}

    (declared,) = declared_rules(rule("arn:aws:sqs:us-east-1:1:Q"))
    assert (declared.name, declared.bus, declared.put) == ("R", "B", {"EventPattern": '{"source": ["x"]}'})
    with pytest.raises(SettingsError, match="R: the local run supports only queues as targets"):
        declared_rules(rule("arn:aws:lambda:us-east-1:1:function:F"))


class FakeBuses:
    """Event buses in memory: rules by bus and name, each with its targets by id."""

    def __init__(self, **buses: dict[str, set[str]]) -> None:
        self.buses = buses

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        bus = self.buses.get(arguments.get("EventBusName", ""), {})
        match operation:
            case "ListEventBuses":
                return {"EventBuses": [{"Name": name} for name in self.buses]}
            case "CreateEventBus":
                self.buses[arguments["Name"]] = {}
            case "ListRules":
                return {"Rules": [{"Name": name} for name in bus]}
            case "PutRule":
                if arguments.get("EventPattern") == '"bad"':
                    raise ServiceError("InvalidEventPatternException", "Event pattern is not valid")
                bus.setdefault(arguments["Name"], set())
            case "DeleteRule":
                assert not bus.pop(arguments["Name"])
            case "ListTargetsByRule":
                return {"Targets": [{"Id": target} for target in bus[arguments["Rule"]]]}
            case "PutTargets":
                bus[arguments["Rule"]] |= {target["Id"] for target in arguments["Targets"]}
            case "RemoveTargets":
                bus[arguments["Rule"]] -= set(arguments["Ids"])
        return {}


def test_buses_have_the_templates_rules() -> None:
    """Missing buses and rules are created, rules of earlier templates are deleted, and an invalid rule is named."""
    client: Any = FakeBuses(default={"Old": {"1"}}, B={"R": {"1", "2"}})
    create_buses(client, ["B", "C"], [Rule("R", "B", {}, [{"Id": "2"}]), Rule("S", "C", {}, [{"Id": "3"}])])

    assert client.buses == {"default": {}, "B": {"R": {"2"}}, "C": {"S": {"3"}}}
    with pytest.raises(SettingsError, match="R: Event pattern is not valid"):
        create_buses(client, [], [Rule("R", "B", {"EventPattern": '"bad"'}, [])])


def test_senders_of_mail() -> None:
    """Senders are the identities of the template and those in functions' policies."""

    def senders(policies: Any, **more: Any) -> tuple[set[str], bool]:
        function = {"Type": "AWS::Serverless::Function", "Properties": {"Policies": policies}}
        references = References(Template({"Resources": {"F": function, **more}}), SERVICES)
        return declared_senders(references), sends_mail(references)

    named = "arn:aws:ses:us-east-1:1:identity/example.com"
    statement = {"Effect": "Allow", "Action": ["ses:SendEmail"], "Resource": [named, {"Fn::Sub": "${X}"}]}
    identity = {"Type": "AWS::SES::EmailIdentity", "Properties": {"EmailIdentity": "a@example.net"}}
    assert senders([{"Statement": [statement]}], S=identity) == ({"example.com", "a@example.net"}, True)
    assert senders("AWSLambdaExecute") == (set(), False)
    assert senders({"Statement": {"Action": "ses:*", "Resource": "*"}}) == (set(), True)


@pytest.mark.parametrize(
    ("pattern", "body", "expected"),
    [
        ('{"body": {"kind": ["a"]}}', '{"kind": "a"}', True),
        ('{"body": {"kind": ["a"]}}', '{"kind": "b"}', False),
        ('{"body": {"kind": ["a"]}}', "a", False),
        ('{"body": ["a"]}', "a", True),
        ('{"body": ["a"]}', '{"kind": "a"}', False),
        ('{"eventSource": ["aws:sqs"]}', "whatever", True),
    ],
)
def test_filters_by_body(pattern: str, body: str, *, expected: bool) -> None:
    """A pattern with an object matches only bodies in JSON, one with a list only bodies in plain text."""
    assert passes_filters((read_pattern(pattern),), records(body)[0]) is expected


def test_reports() -> None:
    """A report names failed messages; one with unknown messages, or a malformed one, fails the whole batch."""
    batch = records("{}", "{}", "{}")

    assert reported_messages(b'{"batchItemFailures": [{"itemIdentifier": "m1"}]}', batch) == {"m1"}
    for success in (b"", b"null", b"{}", b'{"batchItemFailures": null}', b'{"batchItemFailures": []}'):
        assert reported_messages(success, batch) == set()
    for identifier in ('""', "null", '"m9"', "[1]"):
        with pytest.raises(BadReportError):
            reported_messages(f'{{"batchItemFailures": [{{"itemIdentifier": {identifier}}}]}}'.encode(), batch)
    for bad in (b'{"batchItemFailures": [{"id": "m1"}]}', b"[]", b"not JSON"):
        with pytest.raises((BadReportError, ValueError)):
            reported_messages(bad, batch)


def test_events_have_a_limit() -> None:
    """Records that are too large for one event are delivered in several."""
    batch = records("x" * 3_200_000, "{}", "y" * 3_200_000, "z" * 3_200_000)

    assert [[record["messageId"] for record in part] for part in split_by_size(batch)] == [["m0", "m1"], ["m2"], ["m3"]]


class Fake:
    """A queue with prepared pages, and a function with a prepared result."""

    def __init__(self, pages: list[list[dict[str, Any]]], answer: Callable[[], bytes]) -> None:
        self.pages = pages
        self.answer = answer
        self.stopping = threading.Event()
        self.done: list[str] = []
        self.released: list[str] = []
        self.calls: list[list[str]] = []

    def receive(self, count: int) -> list[Any]:
        if not self.pages:
            self.stopping.set()
            return []
        page = self.pages.pop(0)
        assert len(page) <= count
        return [message_record(each, "Q") for each in page]

    def delete(self, found: Any) -> None:
        self.done += [record["messageId"] for record in found]

    def release(self, found: Any) -> None:
        self.released += [record["messageId"] for record in found]

    def invoke(self, name: str, event: bytes) -> bytes:
        assert name == "F"
        self.calls.append([record["messageId"] for record in json.loads(event)["Records"]])
        return self.answer()


def poll(monkeypatch: pytest.MonkeyPatch, fake: Fake, **settings: Any) -> Fake:
    monkeypatch.setattr("ordering_tools.local.sources.pollers.QueueClient", lambda *_: fake)
    source = QueueSource(name="F.Work", function="F", queue="Q", **settings)
    Poller(source, fake, SERVICES, fake.stopping).run()  # type: ignore[arg-type] # also the runner
    return fake


def test_failure_deletes_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """If the function fails no message is deleted, and a message after its last attempt is printed."""

    def fail() -> bytes:
        raise FunctionError("RuntimeError", "on purpose")

    pages = [[message(number=1), message(number=2, receives=3)]]
    fake = poll(monkeypatch, Fake(pages, fail), receives=3, dead_letters="D", window=0)

    assert (fake.calls, fake.done) == ([["m1", "m2"]], [])
    printed = capfd.readouterr()
    assert "F: RuntimeError: on purpose" in printed.err
    assert "F.Work: gave up message m2 of Q after 3 calls; it goes to D" in printed.err
    assert "message m1" not in printed.err
    assert "F.Work 2 messages" in printed.out


def test_unexpected_report_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ReportBatchItemFailures a report is ignored; with it, messages that are not reported are deleted."""
    report = b'{"batchItemFailures": [{"itemIdentifier": "m1"}]}'

    def pages() -> list[list[dict[str, Any]]]:
        return [[message(number=1), message(number=2)]]

    assert poll(monkeypatch, Fake(pages(), lambda: report)).done == ["m1", "m2"]
    assert poll(monkeypatch, Fake(pages(), lambda: report), reports_failures=True).done == ["m2"]


def test_messages_are_released_at_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a stop, messages of killed calls and of incomplete batches are made visible again at once."""
    fake = Fake([[message(number=1)]], lambda: b"")

    def killed() -> bytes:
        fake.stopping.set()
        raise FunctionError("Runtime.ExitError", "killed")

    fake.answer = killed
    assert poll(monkeypatch, fake).released == ["m1"]
    collecting = poll(monkeypatch, Fake([[message(number=1)]], lambda: b""), batch_size=20, window=60)
    assert (collecting.released, collecting.calls) == (["m1"], [])


def test_unreachable_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that cannot be read is retried until it can."""
    fake = Fake([[message(number=1)]], lambda: b"")
    answers: Iterator[Any] = iter([ServiceError(None, "gone"), ServiceError("QueueDoesNotExist", "not yet")])
    receive = fake.receive

    def fail_twice(count: int) -> list[Any]:
        for error in answers:
            raise error
        return receive(count)

    fake.receive = fail_twice  # type: ignore[method-assign]
    assert poll(monkeypatch, fake).done == ["m1"]


# From here on with a running stack.


def send(stack: LocalStack, queue: str, *commands: str, name: str = "", **more: Any) -> str:
    """Send a message for each command, all with the same name; returns the name."""
    name = name or uuid.uuid4().hex
    for command in commands:
        sqs(stack, "SendMessage", queue, MessageBody=json.dumps({"name": name, "command": command}), **more)
    return name


def sqs(stack: LocalStack, operation: str, queue: str, **arguments: Any) -> dict[str, Any]:
    with JsonClient(stack.endpoint, "sqs") as client:
        return client.call(operation, QueueUrl=queue_url(stack.endpoint, queue), **arguments)


def log_entries(stack: LocalStack) -> list[dict[str, Any]]:
    log = stack.state / "functions.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith('{"queue"') and line.endswith("}")]


def calls(stack: LocalStack, name: str) -> list[dict[str, Any]]:
    return [call for call in log_entries(stack) if name in json.dumps(call.get("messages", []))]


def waiting(stack: LocalStack, queue: str) -> int:
    """How many messages a queue has, including invisible ones."""
    return len(peek_at(stack.endpoint, queue))


@pytest.mark.gateway
def test_messages_have_lambdas_form(stack: LocalStack) -> None:
    """A message is delivered soon, in the form of Lambda's events, and deleted after success."""
    attributes = {"k": {"DataType": "String", "StringValue": "v"}, "b": {"DataType": "Binary", "BinaryValue": "AA=="}}
    name = send(stack, "WorkQueue", "", MessageAttributes=attributes)

    (call,) = eventually(lambda: calls(stack, name))
    (record,) = call["messages"]
    assert record.keys() == {
        *("messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody"),
        *("md5OfMessageAttributes", "eventSource", "eventSourceARN", "awsRegion"),
    }
    assert json.loads(record["body"]) == {"name": name, "command": ""}
    empty: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert record["messageAttributes"] == {
        "k": {**empty, "dataType": "String", "stringValue": "v"},
        "b": {**empty, "dataType": "Binary", "binaryValue": "AA=="},
    }
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "us-east-1")
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:WorkQueue"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"].keys() == {
        *("ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp")
    }
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    assert eventually(lambda: waiting(stack, "WorkQueue") == 0)


@pytest.mark.gateway
def test_references_in_functions(stack: LocalStack) -> None:
    """References in a function's variables are resolved: a queue's URL and ARN, a bus's name, and a sender."""
    name = send(stack, "WorkQueue", "")

    (call,) = eventually(lambda: calls(stack, name))
    url, arn = f"{stack.endpoint}/000000000000/WorkQueue", "arn:aws:sqs:us-east-1:000000000000:WorkQueue"
    assert call["environment"] == {
        "QUEUE_URL": url,
        "QUEUE_ARN": arn,
        "QUEUE_NAME": "WorkQueue",
        "SENTENCE": f"{url} and {arn}",
        "BUS": "NewsBus",
        "SENDER": "orders.example.com",
    }


@pytest.mark.gateway
def test_failures_are_retried_and_dead_lettered(stack: LocalStack) -> None:
    """A reported message is retried, and moved to the dead-letter queue after the last attempt; the others are done."""
    name = send(stack, "WorkQueue", "", "fail")

    assert eventually(lambda: name in bodies(stack, "WorkDeadQueue"))
    tries = [m for call in calls(stack, name) for m in call["messages"] if '"fail"' in m["body"]]
    assert [m["attributes"]["ApproximateReceiveCount"] for m in tries] == ["1", "2"]
    assert sum('"command": ""' in m["body"] for call in calls(stack, name) for m in call["messages"]) == 1
    assert (
        f"gave up message {tries[0]['messageId']} of WorkQueue after 2 calls; it goes to WorkDeadQueue"
        in stack.printed()
    )


def bodies(stack: LocalStack, queue: str) -> str:
    return json.dumps([each["Body"] for each in peek_at(stack.endpoint, queue)])


@pytest.mark.gateway
def test_visibility_and_delay(stack: LocalStack) -> None:
    """A message is received again after the visibility timeout that its function sets, and first after its delay."""
    name = send(stack, "WorkQueue", "hurry 0")
    began = time.time()
    late = send(stack, "WorkQueue", "", DelaySeconds=1)

    assert eventually(lambda: len(calls(stack, name)) == 2)
    first, second = (call["queue"] for call in calls(stack, name))
    assert second - first < 0.9
    (call,) = eventually(lambda: calls(stack, late))
    assert 1 <= call["queue"] - began < 2.5


@pytest.mark.gateway
def test_window_size_and_filter(stack: LocalStack) -> None:
    """A full batch does not wait for the batching window; messages that match no pattern are deleted."""
    name = send(stack, "BulkQueue", *[""] * 14, name=f"bulk {uuid.uuid4().hex}")
    other = send(stack, "BulkQueue", "", name="other")

    assert eventually(lambda: sum(len(call["messages"]) for call in calls(stack, name)) == 14)
    assert max(len(call["messages"]) for call in calls(stack, name)) <= 12
    assert len(calls(stack, name)) == 2
    assert eventually(lambda: waiting(stack, "BulkQueue") == 0)
    assert not calls(stack, other)


@pytest.mark.gateway
def test_events_reach_queues(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that a function puts on the bus is delivered to the queue of the rule that it matches."""
    client = client_of_functions("events", stack, monkeypatch)
    name = uuid.uuid4().hex
    for source in ("elsewhere", "fixture"):
        entry = {
            "Source": source,
            "DetailType": "Changed",
            "Detail": json.dumps({"of": name}),
            "EventBusName": "NewsBus",
        }
        assert client.put_events(Entries=[entry])["FailedEntryCount"] == 0

    (call,) = eventually(lambda: calls(stack, name))
    (event,) = (json.loads(m["body"]) for m in call["messages"] if name in m["body"])
    assert (event["source"], event["detail-type"], event["detail"]) == ("fixture", "Changed", {"of": name})


def client_of_functions(service: str, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client as in a function, configured only by the environment variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    return get_session().create_client(service)


@pytest.mark.gateway
def test_mails_can_be_read(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail from a declared sender is kept and can be read; one from another sender is refused."""
    client, subject = client_of_functions("sesv2", stack, monkeypatch), f"Žluťoučký {uuid.uuid4().hex}"
    text = {"Simple": {"Subject": {"Data": subject}, "Body": {"Text": {"Data": "Hello"}}}}

    def mail(sender: str) -> None:
        client.send_email(FromEmailAddress=sender, Destination={"ToAddresses": ["b@example.org"]}, Content=text)

    mail("Shop <shop@orders.example.com>")
    with pytest.raises(client.exceptions.MessageRejected):
        mail("shop@example.net")
    (sent,) = (mail for mail in sent_mails(stack.endpoint) if mail.subject == subject)
    assert (sent.sender, sent.recipients, sent.text) == ("Shop <shop@orders.example.com>", ("b@example.org",), "Hello")
    assert "`ordering mail list`" in stack.printed()


@pytest.mark.gateway
def test_stop_keeps_messages(tmp_path: Path) -> None:
    """At a stop calls in flight finish; other messages, and mails, are kept for the next run."""
    template, build, state = FIXTURE / "template.yaml", tmp_path / "build", tmp_path / "state"
    with running(state, template=template, build=build) as stack:
        name = send(stack, "SlowQueue", "sleep 1.5")
        assert eventually(lambda: calls(stack, name))
        later = send(stack, "WorkQueue", "", DelaySeconds=4)
        dead = send(stack, "WorkDeadQueue", "")
        mail = {"Simple": {"Subject": {"Data": "kept"}, "Body": {"Text": {"Data": "Hello"}}}}
        connect("sesv2", stack.endpoint).send_email(FromEmailAddress="a@orders.example.com", Content=mail)
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(20)
        assert len([call for call in log_entries(stack) if call.get("done")]) == 1
        assert not calls(stack, later)

    engine = Engine(ROOT / ".venvs" / "engine" / "bin" / "python", state / "engine")
    try:
        engine.wait()
        left = {
            name: json.dumps(peek_at(engine.endpoint, name)) for name in ("SlowQueue", "WorkQueue", "WorkDeadQueue")
        }
        mails = [each.subject for each in sent_mails(engine.endpoint)]
    finally:
        engine.stop()
    assert left["SlowQueue"] == "[]"
    assert later in left["WorkQueue"]
    assert dead in left["WorkDeadQueue"]
    assert mails == ["kept"]


@pytest.mark.gateway
def test_buses_have_a_limit(stack: LocalStack) -> None:
    """EventBridge takes events of 1 MiB in one call, and refuses more."""
    entry = {"Source": "test", "DetailType": "limit", "Detail": '{"text": "%s"}'}
    rest = len("".join(entry.values())) - len("%s")

    with JsonClient(stack.endpoint, "events") as client:
        put = client.call("PutEvents", Entries=[entry | {"Detail": entry["Detail"] % ("x" * (2**20 - rest))}])
        with pytest.raises(ServiceError, match="over the limit"):
            client.call("PutEvents", Entries=[entry | {"Detail": entry["Detail"] % ("x" * (2**20 - rest + 1))}])

    assert put["FailedEntryCount"] == 0
