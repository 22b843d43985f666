"""`ordering dead` on a running stack: messages of dead-letter queues are listed, shown and replayed."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from gateway.waiting import eventually
from ordering_tools import cli
from ordering_tools.installation import Installation, reopen
from ordering_tools.local.dead_letters import DeadLetter, DeadLetters
from ordering_tools.local.engine.engine import connect, dynamodb
from ordering_tools.local.engine.state import find
from ordering_tools.operations.dead_letters import open_dead_letters
from support.local_stack import LocalStack

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def letters(stack: LocalStack) -> Iterator[DeadLetters]:
    with open_dead_letters(reopen(stack.state)) as letters:
        yield letters


def dead_messages(letters: DeadLetters, queue: str, text: str = "") -> list[DeadLetter]:
    return [message for message in letters.messages(queue) if text in message.body]


def run(stack: LocalStack, *arguments: str) -> int:
    """Run `ordering dead`; the fixture's template has no table with an audit trail."""
    with patch.object(Installation, "note"):
        return cli.main(["dead", *arguments, "--state", str(stack.state)])


def send(stack: LocalStack, queue: str, **message: Any) -> str:
    found: str = connect("sqs", stack.endpoint).send_message(QueueUrl=stack.queue(queue), **message)["MessageId"]
    return found


def fail_message(stack: LocalStack, letters: DeadLetters, **more: Any) -> DeadLetter:
    """Send a message that fails at once at each attempt, and wait until it is in the dead-letter queue."""
    name = uuid.uuid4().hex
    body = json.dumps({"name": name, "command": "hurry 0"})
    send(stack, "WorkQueue", MessageBody=body, **more)
    (message,) = eventually(lambda: dead_messages(letters, "WorkDeadQueue", name))
    assert isinstance(message, DeadLetter)
    return message


def test_messages_are_replayed(stack: LocalStack, letters: DeadLetters, capsys: pytest.CaptureFixture[str]) -> None:
    """Listing and showing a message does not change it; a replay sends it to its function as a new message."""
    kept = {"kind": {"DataType": "String", "StringValue": "x"}}
    message = fail_message(stack, letters, MessageAttributes=kept)

    assert run(stack, "list") == 0
    listed = capsys.readouterr().out
    assert f"  {message.id[:8]}  " in listed
    assert "failed after 2 attempts (WorkQueue)" in listed
    assert run(stack, "show", message.id[:13]) == 0
    assert '"command": "hurry 0"' in capsys.readouterr().out
    assert run(stack, "replay", message.id, "--queue", "WorkDeadQueue") == 0
    assert capsys.readouterr().out == f"{message.id}: sent back to WorkQueue\n"
    name = json.loads(message.body)["name"]
    # It fails again, and is in the dead-letter queue again under another id.
    (again,) = eventually(lambda: dead_messages(letters, "WorkDeadQueue", name))
    assert again.id != message.id
    log = (stack.state / "functions.log").read_text().splitlines()
    found = [m for line in log if name in line for m in json.loads(line)["messages"] if name in m["body"]]
    assert [m["attributes"]["ApproximateReceiveCount"] for m in found] == ["1", "2", "1", "2"]
    assert {m["messageAttributes"]["kind"]["stringValue"] for m in found} == {"x"}


def test_all_are_replayed(stack: LocalStack, letters: DeadLetters, capsys: pytest.CaptureFixture[str]) -> None:
    """With --all every message is replayed; those that cannot be stay in the queue, and the exit code is 1."""
    lost = send(stack, "WorkDeadQueue", MessageBody="from nowhere")

    assert run(stack, "replay", "--all", "--queue", "WorkDeadQueue") == 1
    printed = capsys.readouterr()
    assert f"message {lost} is of unknown origin" in printed.out
    assert "messages could not be replayed" in printed.err
    assert [message.id for message in dead_messages(letters, "WorkDeadQueue", "from nowhere")] == [lost]
    assert run(stack, "show", "nothing") == 1
    assert "no message has an id that starts with 'nothing'" in capsys.readouterr().err
    assert run(stack, "list", "--queue", "WorkQueue") == 1
    assert "'WorkQueue' is not a dead-letter queue; there are: " in capsys.readouterr().err


def test_records_are_delivered_again(
    stack: LocalStack, letters: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records that were given up are shown from the stream, and a replay calls their function with them again."""
    key, client, table = f"OLD#{uuid.uuid4().hex}", dynamodb(stack.endpoint), stack.resources["LedgerTable"]
    for number, command in enumerate(("raise", "")):
        item = {"pk": {"S": key}, "sk": {"S": str(number)}, "command": {"S": command}, "bytes": {"B": b"\x00"}}
        client.put_item(TableName=table, Item=item)  # type: ignore[arg-type] # plain data
    streams = connect("dynamodbstreams", stack.endpoint)
    (stream,) = streams.list_streams(TableName=table)["Streams"]
    (shard,) = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    position = {"StreamArn": stream["StreamArn"], "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    records = streams.get_records(ShardIterator=streams.get_shard_iterator(**position)["ShardIterator"])["Records"]
    numbers = [each["dynamodb"]["SequenceNumber"] for each in records if each["dynamodb"]["Keys"]["pk"]["S"] == key]

    def give_up(start: str, end: str) -> DeadLetter:
        """Send the message that the mapping sends once records are older than an hour."""
        function = f"arn:aws:lambda:us-east-1:000000000000:function:{stack.resources['StreamFunction']}"
        batch = {"streamArn": stream["StreamArn"], "shardId": shard["ShardId"], "batchSize": 1}
        batch |= {"startSequenceNumber": start, "endSequenceNumber": end}
        request = {"functionArn": function, "condition": "MaxRecordAgeExceeded", "approximateInvokeCount": 1}
        sent = send(
            stack,
            "GivenUpQueue",
            MessageBody=json.dumps({"requestContext": request, "DDBStreamBatchInfo": batch}),
        )
        (message,) = (each for each in letters.messages("GivenUpQueue") if each.id == sent)
        return message

    failing, working = give_up(numbers[0], numbers[0]), give_up(numbers[1], numbers[1])
    gone = give_up("0" * 20 + "1", "0" * 20 + "2")

    assert failing.reason == "StreamFunction gave up 1 record of LedgerTable after 1 call (MaxRecordAgeExceeded)"
    assert run(stack, "show", working.id) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 records are still in the stream" in shown
    assert f'"S": "{key}"' in shown
    assert run(stack, "replay", failing.id) == 1
    assert "StreamFunction failed again: RuntimeError: on purpose" in capsys.readouterr().err
    assert run(stack, "replay", working.id) == 0
    assert "StreamFunction has processed 1 record" in capsys.readouterr().out
    assert run(stack, "replay", gone.id) == 1
    assert "the stream does not have its 1 record any more" in capsys.readouterr().err
    assert {message.id for message in letters.messages("GivenUpQueue")} == {failing.id, gone.id}


def test_functions_can_be_invoked(stack: LocalStack) -> None:
    """A function is called as by Lambda's Invoke, by name or ARN; the error for an unknown function names it."""
    running = find(stack.state)
    assert running
    event = json.dumps({"body": json.dumps({"return": {"statusCode": 7}})}).encode()

    client = connect("lambda", running.functions)

    for name in ("BehaveFunction", "arn:aws:lambda:us-east-1:123456789012:function:BehaveFunction"):
        assert json.load(client.invoke(FunctionName=name, Payload=event)["Payload"]) == {"statusCode": 7}
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Function not found: Nobody"):
        client.invoke(FunctionName="Nobody", Payload=event)


def test_mail_command(stack: LocalStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Mails are listed, and shown with their text."""
    subject = uuid.uuid4().hex
    content = {"Simple": {"Subject": {"Data": subject}, "Body": {"Text": {"Data": "Good morning"}}}}
    connect("sesv2", stack.endpoint).send_email(
        FromEmailAddress="a@orders.example.com", Destination={"ToAddresses": ["b@example.org"]}, Content=content
    )

    assert cli.main(["mail", "list", "--state", str(stack.state)]) == 0
    assert f"b@example.org  {subject}" in capsys.readouterr().out
    assert cli.main(["mail", "show", "--state", str(stack.state)]) == 0
    assert capsys.readouterr().out.endswith(f"Subject: {subject}\n\nGood morning\n")
    assert cli.main(["mail", "show", "99", "--state", str(stack.state)]) == 1
    assert "there is no mail 99" in capsys.readouterr().err
