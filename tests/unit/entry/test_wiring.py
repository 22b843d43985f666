"""How a function is connected: by the client that its environment names, with one read while it initialises."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ordering.aws.connections import Connections
from ordering.aws.direct import DirectSend, Unsupported
from ordering.aws.dynamodb import NoAnswer, Send, ServiceFault
from ordering.entry import wiring
from support.receiver import Receiver, status

KEY = {"pk": {"S": "ORDER#training#-"}, "sk": {"S": "-"}}


def prime(send: Send, forget: Any = None) -> None:
    wiring.prime(Connections({"ORDERS_TABLE": "T"}, send, forget=forget), "ORDERS_TABLE", "ORDER#training#")


class Recorded:
    """A connection that answers nothing, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failure = failure
        self.forgotten = 0

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, request))
        if self.failure:
            raise self.failure
        return {}

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def in_lambda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
    return monkeypatch


@pytest.mark.usefixtures("in_lambda")
def test_one_read() -> None:
    """While a function initialises, it reads one item, which does not exist, and keeps the connection."""
    send = Recorded()
    prime(send, send.forget)

    assert send.calls == [("GetItem", {"TableName": "T", "Key": KEY})]
    assert send.forgotten == 0


def test_no_read_elsewhere() -> None:
    """Outside of Lambda nothing is read when a function is imported."""
    send = Recorded()
    prime(send, send.forget)

    assert send.calls == []


@pytest.mark.usefixtures("in_lambda")
@pytest.mark.parametrize("failure", [NoAnswer("no route"), ServiceFault("AccessDenied"), OSError("a file")])
def test_a_read_that_fails(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A failure of that read is logged with its cause, and the function starts."""
    with caplog.at_level(logging.WARNING, "ordering"):
        prime(Recorded(failure))

    (record,) = caplog.records
    assert (record.getMessage(), getattr(record, "cause", None)) == ("the first read failed", str(failure))


@pytest.mark.parametrize("failure", [None, NoAnswer("no route")])
def test_a_snapshot_keeps_nothing(failure: Exception | None, in_lambda: pytest.MonkeyPatch) -> None:
    """In a process that is kept as a snapshot, connections are forgotten after that read, even if it failed."""
    in_lambda.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    send = Recorded(failure)
    prime(send, send.forget)

    assert (len(send.calls), send.forgotten) == (1, 1)


def test_no_read_before_a_snapshot_whose_connection_stays(in_lambda: pytest.MonkeyPatch) -> None:
    """A client that cannot close its connections makes none before the snapshot."""
    in_lambda.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    send = Recorded()
    prime(send)

    assert send.calls == []


@pytest.mark.parametrize("client", ["direct", "botocore"])
def test_each_client(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVICE_CLIENT names the client by which tables, keys, queues and other services are called."""
    answers = {"Item": {}, "Plaintext": "eA==", "MessageId": "1"}
    with Receiver([status(200, json.dumps(answers).encode(), Connection="close")], shared=True) as receiver:
        for name, value in {"CLIENT": client, "QUEUE": f"http://127.0.0.1:{receiver.port}/q"}.items():
            monkeypatch.setenv(f"SERVICE_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        found = wiring.open_connections()
        found.send("GetItem", {"TableName": "T", "Key": KEY})
        opened = found.kms("Decrypt", {"CiphertextBlob": b"x"})
        found.queue("SERVICE_QUEUE")("{}", 0)
        found.connect("sqs")("SendMessage", {"QueueUrl": "http://q", "MessageBody": "{}"})
    agents = {one.headers["user-agent"].partition("/")[0] for one in receiver.received}

    assert isinstance(found.send, DirectSend) == (client == "direct")
    assert opened["Plaintext"] == b"x"
    assert len(receiver.received) == 4
    assert agents == {"ordering" if client == "direct" else "Botocore"}


def test_other_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other client is refused by its name."""
    monkeypatch.setenv("SERVICE_CLIENT", "boto3")
    with pytest.raises(ValueError, match="SERVICE_CLIENT=boto3: it must be direct or botocore"):
        wiring.open_connections()


def test_what_direct_does_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose environment asks for what only botocore does starts with no client."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    with pytest.raises(Unsupported, match="AWS_USE_FIPS_ENDPOINT"):
        wiring.open_connections()
