"""Delivery of tables' streams, queues and buses to functions by the engine's mappings, on a running stack."""

import json
import time
import uuid

import pytest
from botocore.exceptions import ClientError

from gateway.fixture_calls import bodies, delivered, item, keys, put, queue_calls, send, stream_calls
from gateway.waiting import eventually
from ordering_tools.local.engine.engine import connect, dynamodb
from ordering_tools.local.engine.mails import sent_mails
from support.local_stack import LocalStack

pytestmark = pytest.mark.gateway


def test_records_have_lambdas_form(stack: LocalStack) -> None:
    """An insert, an update and a deletion arrive in order, with both images, in the form of Lambda's events."""
    client, table = dynamodb(stack.endpoint), stack.resources["LedgerTable"]
    before, after = item("PLAIN#form"), item("PLAIN#form", command="none")
    before["bytes"] = after["bytes"] = {"B": b"\x00\xff"}
    client.put_item(TableName=table, Item=before)
    client.put_item(TableName=table, Item=after)
    client.delete_item(TableName=table, Key={name: before[name] for name in ("pk", "sk")})

    assert eventually(lambda: len(delivered(stack, "PLAIN#form")) == 3)
    records = [record for call in stream_calls(stack, "PLAIN#form") for record in call["records"]]
    images = [(each["dynamodb"].get("OldImage"), each["dynamodb"].get("NewImage")) for each in records]
    before["bytes"] = after["bytes"] = {"B": "AP8="}
    assert images == [(None, before), (before, after), (after, None)]
    assert [each["eventName"] for each in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert {(each["eventSource"], each["awsRegion"]) for each in records} == {("aws:dynamodb", "us-east-1")}
    assert f":table/{table}/stream/" in records[0]["eventSourceARN"]
    assert int(records[0]["dynamodb"]["SequenceNumber"]) < int(records[1]["dynamodb"]["SequenceNumber"])


@pytest.mark.timing
def test_delivery_is_prompt(stack: LocalStack) -> None:
    """A warm function receives a record within 0.3 s after the write."""
    put(stack, item("PLAIN#warm"))
    assert eventually(lambda: delivered(stack, "PLAIN#warm"))
    delays: list[float] = []
    for number in range(5):
        wrote = time.time()
        put(stack, item(f"PLAIN#prompt{number}"))
        assert eventually(lambda: len(delivered(stack, "PLAIN#prompt")) == len(delays) + 1)
        delays.append(stream_calls(stack, f"PLAIN#prompt{number}")[0]["at"] - wrote)

    assert sorted(delays)[2] < 0.3


def test_filters(stack: LocalStack) -> None:
    """A function receives exactly the records that match its patterns."""
    put(stack, item("INSERT#filtered"), item("OTHER#filtered"))
    put(stack, item("INSERT#filtered", command="changed"))
    put(stack, item("INSERT#filtered-last"))

    assert eventually(lambda: delivered(stack, "INSERT#filtered-last"))
    assert delivered(stack, "INSERT#filtered") == ["INSERT#filtered", "INSERT#filtered-last"]
    assert not delivered(stack, "OTHER#")


@pytest.mark.parametrize("command", ["fail once", "raise once"])
def test_failed_batches_are_delivered_again(stack: LocalStack, command: str) -> None:
    """A batch with a reported failure, or whose function raises, is delivered again whole, before the next one."""
    prefix = f"INSERT#{uuid.uuid4().hex}"
    put(stack, item(f"{prefix}-1"), item(f"{prefix}-2", command=command), item(f"{prefix}-3"))
    assert eventually(lambda: delivered(stack, prefix))
    put(stack, item(f"{prefix}-behind"))

    assert eventually(lambda: f"{prefix}-behind" in delivered(stack, prefix))
    first, second = (keys(call) for call in stream_calls(stack, f"{prefix}-2"))
    assert second[: len(first)] == first
    assert list(dict.fromkeys(delivered(stack, prefix))) == [f"{prefix}-{name}" for name in ("1", "2", "3", "behind")]
    assert any(line.startswith("StreamFunction") and "failed" in line for line in stack.printed().splitlines())


def test_messages_have_lambdas_form(stack: LocalStack) -> None:
    """A message is delivered soon, in the form of Lambda's events, and deleted after success."""
    name = send(stack, "WorkQueue", "", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})

    (call,) = eventually(lambda: queue_calls(stack, name))
    (record,) = call["messages"]
    assert json.loads(record["body"]) == {"name": name, "command": ""}
    kind = record["messageAttributes"]["k"]
    assert (kind["dataType"], kind["stringValue"]) == ("String", "v")
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "us-east-1")
    assert record["eventSourceARN"].rpartition(":")[2] == stack.queue("WorkQueue").rpartition("/")[2]
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    assert eventually(lambda: bodies(stack, "WorkQueue") == "[]")


def test_references_in_functions(stack: LocalStack) -> None:
    """References in a function's variables are resolved: a queue's URL and ARN, a bus's name, and a sender."""
    name = send(stack, "WorkQueue", "")

    (call,) = eventually(lambda: queue_calls(stack, name))
    url, physical = stack.resources["WorkQueue"], stack.queue("WorkQueue").rpartition("/")[2]
    arn = f"arn:aws:sqs:us-east-1:000000000000:{physical}"
    assert call["environment"] == {
        "QUEUE_URL": url,
        "QUEUE_ARN": arn,
        "QUEUE_NAME": physical,
        "SENTENCE": f"{url} and {arn}",
        "BUS": "ordering-news",
        "SENDER": "orders.example.com",
    }


def test_failures_are_retried_and_dead_lettered(stack: LocalStack) -> None:
    """A reported message is retried, and moved to the dead-letter queue after the last attempt; the others are done."""
    name = send(stack, "WorkQueue", "", "fail")

    assert eventually(lambda: name in bodies(stack, "WorkDeadQueue"))
    tries = [m for call in queue_calls(stack, name) for m in call["messages"] if '"fail"' in m["body"]]
    assert [m["attributes"]["ApproximateReceiveCount"] for m in tries] == ["1", "2"]
    assert sum('"command": ""' in m["body"] for call in queue_calls(stack, name) for m in call["messages"]) == 1
    assert "WorkFunction 1 message" in stack.printed()


@pytest.mark.timing
def test_visibility_and_delay(stack: LocalStack) -> None:
    """A message is received again after the visibility timeout that its function sets, and first after its delay."""
    name = send(stack, "WorkQueue", "hurry 0")
    began = time.time()
    late = send(stack, "WorkQueue", "", DelaySeconds=1)

    assert eventually(lambda: len(queue_calls(stack, name)) == 2)
    (call,) = eventually(lambda: queue_calls(stack, late))
    assert 1 <= call["queue"] - began < 3


def test_events_reach_queues(stack: LocalStack) -> None:
    """An event on the bus is delivered to the queue of the rule that it matches."""
    client, name = connect("events", stack.endpoint), uuid.uuid4().hex
    for source in ("elsewhere", "fixture"):
        entry = {"Source": source, "DetailType": "Changed", "Detail": json.dumps({"of": name})}
        assert client.put_events(Entries=[entry | {"EventBusName": "ordering-news"}])["FailedEntryCount"] == 0

    (call,) = eventually(lambda: queue_calls(stack, name))
    (event,) = (json.loads(m["body"]) for m in call["messages"] if name in m["body"])
    assert (event["source"], event["detail-type"], event["detail"]) == ("fixture", "Changed", {"of": name})


def test_buses_have_a_limit(stack: LocalStack) -> None:
    """EventBridge takes events of 1 MiB in one call, and refuses more."""
    client, entry = connect("events", stack.endpoint), {"Source": "test", "DetailType": "limit"}
    rest = len("testlimit") + len('{"text": ""}')

    def put_text(size: int) -> int:
        detail = json.dumps({"text": "x" * size})
        return int(client.put_events(Entries=[entry | {"Detail": detail}])["FailedEntryCount"])

    assert put_text(2**20 - rest) == 0
    with pytest.raises(ClientError, match="over the limit"):
        put_text(2**20 - rest + 1)


def test_mails_can_be_read(stack: LocalStack) -> None:
    """A mail from a declared sender is kept and can be read; one from another sender is refused."""
    client, subject = connect("sesv2", stack.endpoint), f"Žluťoučký {uuid.uuid4().hex}"
    text = {"Simple": {"Subject": {"Data": subject}, "Body": {"Text": {"Data": "Hello"}}}}

    def mail(sender: str) -> None:
        client.send_email(FromEmailAddress=sender, Destination={"ToAddresses": ["b@example.org"]}, Content=text)

    mail("Shop <shop@orders.example.com>")
    with pytest.raises(client.exceptions.MessageRejected):
        mail("shop@example.net")
    (sent,) = (mail for mail in sent_mails(stack.endpoint) if mail.subject == subject)
    assert (sent.sender, sent.recipients, sent.text) == ("Shop <shop@orders.example.com>", ("b@example.org",), "Hello")
    assert "`ordering mail list`" in stack.printed()
