"""`ordering dead` on a running stack: messages of dead-letter queues are listed, shown and replayed."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.waiting import eventually
from ordering_tools import cli
from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.engine import connect, dynamodb
from ordering_tools.local.engine.json_client import JsonClient
from ordering_tools.local.engine.state import find
from ordering_tools.local.sources.dead_letters import DeadLetter, DeadLetters, NotReplayedError, invoke_at
from ordering_tools.operations.dead_letters import open_dead_letters
from support.local_stack import LocalStack

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def letters(stack: LocalStack) -> Iterator[DeadLetters]:
    with open_dead_letters(stack.state) as letters:
        yield letters


def dead_messages(letters: DeadLetters, queue: str, text: str = "") -> list[DeadLetter]:
    return [message for message in letters.messages(queue) if text in message.body]


def run(stack: LocalStack, *arguments: str) -> int:
    return cli.main(["dead", *arguments, "--state", str(stack.state)])


def send(stack: LocalStack, queue: str, **message: Any) -> str:
    with JsonClient(stack.endpoint, "sqs") as client:
        found: str = client.call("SendMessage", QueueUrl=queue_url(stack.endpoint, queue), **message)["MessageId"]
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
    assert f"  {message.id}  " in listed
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
    """Records that were given up are shown from the stream, and a replay calls their function with only these."""
    key = f"BISECT#dead-{uuid.uuid4().hex}"
    item = {"pk": {"S": key}, "sk": {"S": "0"}, "command": {"S": "raise"}}
    others = [{"pk": {"S": f"OTHER#{key}"}, "sk": {"S": str(number)}} for number in range(2)]
    writes = [{"Put": {"TableName": "LedgerTable", "Item": each}} for each in (others[0], item, others[1])]
    dynamodb(stack.endpoint).transact_write_items(TransactItems=writes)  # type: ignore[arg-type] # plain data

    def ours() -> list[DeadLetter]:
        found = letters.messages("GivenUpQueue")
        return [message for message in found if key in json.dumps(letters.records(message))]

    (message,) = eventually(ours)
    assert message.reason == "StreamFunction gave up 1 record of LedgerTable after 2 calls (RetryAttemptsExhausted)"
    assert run(stack, "show", message.id) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 records are still in the stream" in shown
    assert f'"S": "{key}"' in shown
    # The record still makes the function fail.
    assert run(stack, "replay", message.id) == 1
    assert "StreamFunction failed again: RuntimeError: on purpose" in capsys.readouterr().err
    assert [each.id for each in ours()] == [message.id]
    calls = [line for line in (stack.state / "functions.log").read_text().splitlines() if key in line]
    assert [len(json.loads(line)["records"]) for line in calls] == [1, 1, 1]


def test_functions_can_be_invoked(stack: LocalStack) -> None:
    """A function is called as by Lambda's Invoke, by name or ARN; the error for an unknown function names it."""
    running = find(stack.state)
    assert running
    event = json.dumps({"body": json.dumps({"return": {"statusCode": 7}})}).encode()

    for name in ("BehaveFunction", "arn:aws:lambda:us-east-1:123456789012:function:BehaveFunction"):
        assert json.loads(invoke_at(running.functions, name, event)) == {"statusCode": 7}
    with pytest.raises(NotReplayedError, match="Nobody cannot be called: Function not found: Nobody"):
        invoke_at(running.functions, "Nobody", event)


def test_mail_command(stack: LocalStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Mails are listed, and shown with their text."""
    subject = uuid.uuid4().hex
    content = {"Simple": {"Subject": {"Data": subject}, "Body": {"Text": {"Data": "Good morning"}}}}
    connect("sesv2", stack.endpoint).send_email(
        FromEmailAddress="a@orders.example.com", Destination={"ToAddresses": ["b@example.org"]}, Content=content
    )

    assert cli.main(["mail", "list", "--state", str(stack.state)]) == 0
    assert f"b@example.org  {subject}\n" in capsys.readouterr().out
    assert cli.main(["mail", "show", "--state", str(stack.state)]) == 0
    assert capsys.readouterr().out.endswith(f"Subject: {subject}\n\nGood morning\n")
    assert cli.main(["mail", "show", "99", "--state", str(stack.state)]) == 1
    assert "there is no mail 99" in capsys.readouterr().err
