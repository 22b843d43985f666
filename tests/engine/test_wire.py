"""What the service says on the wire, in its own bytes, and what a connection makes of it.

A server on this machine answers with what DynamoDB answers with. What it says was taken from the service's API
reference: the type of an error is qualified, and the reasons of a transaction stand beside its message.
"""

from __future__ import annotations

import json
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from engine.engines import CLIENTS, connected
from ordering.aws.dynamodb import (
    ABSENT,
    ConditionFailed,
    NoAnswer,
    Put,
    Reason,
    ServiceFault,
    Table,
    TransactionRefused,
)
from ordering.clock import Deadline
from ordering.errors import Unavailable

MODEL = "com.amazonaws.dynamodb.v20120810#"
ITEM = {"pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "7"}}
PLAIN = {"pk": "p", "sk": "s", "n": 7}


@dataclass
class Reply:
    """One answer: bytes as they go over the wire, or None where the connection is cut."""

    body: bytes | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    silent: float = 0.0
    """Seconds for which nothing is said first."""

    @classmethod
    def json(cls, content: dict[str, Any], status: int = 200) -> Reply:
        return cls(json.dumps(content).encode(), status)

    @classmethod
    def error(cls, kind: str, status: int = 400, **more: Any) -> Reply:
        return cls.json({"__type": kind, **more}, status)


class Server(socketserver.ThreadingTCPServer):
    """Gives its replies one after another, and the last one again and again."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = replies
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ended = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers["X-Amz-Target"], content))
        reply = self.server.replies[min(len(self.server.asked), len(self.server.replies)) - 1]
        if reply.silent:
            self.server.ended.wait(reply.silent)
        if reply.body is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "Content-Length": str(len(reply.body)),
            "x-amz-crc32": str(zlib.crc32(reply.body)),
        }
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        if "Content-Length" in reply.headers:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


Serving = Callable[..., AbstractContextManager[tuple[Server, Table]]]


@pytest.fixture(params=CLIENTS)
def serving(request: pytest.FixtureRequest) -> Serving:
    """A server of replies, and a table on it, connected by each client in turn."""
    client: str = request.param

    @contextmanager
    def serve(*replies: Reply) -> Iterator[tuple[Server, Table]]:
        with Server(*replies) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            try:
                yield server, Table(connected(server.endpoint, client), "T", first_pause=0.0, patience=2.0)
            finally:
                server.ended.set()
                server.shutdown()
                thread.join()

    return serve


FOUND_BYTES = json.dumps({"Item": ITEM, "ConsumedCapacity": {"TableName": "T", "CapacityUnits": 1.0}}).encode()
FOUND = Reply(FOUND_BYTES)
DONE = Reply.json({})
NOTE = "[See the CancellationReasons.]"


def cancelled(*reasons: dict[str, Any]) -> Reply:
    return Reply.error(
        f"{MODEL}TransactionCanceledException",
        Message=f"Transaction cancelled, please refer cancellation reasons for specific reasons {NOTE}",
        CancellationReasons=list(reasons),
    )


TRANSIENT = {
    "throughput": Reply.error(f"{MODEL}ProvisionedThroughputExceededException", message="The level of ..."),
    "throttled": Reply.error("com.amazon.coral.availability#ThrottlingException", message="Rate exceeded"),
    "requests": Reply.error(f"{MODEL}RequestLimitExceeded", message="Throughput exceeds the current ... limit"),
    "500": Reply.error(f"{MODEL}InternalServerError", 500, message="Internal server error"),
    "503": Reply.error("com.amazon.coral.service#ServiceUnavailable", 503),
    "conflict": Reply.error(f"{MODEL}TransactionConflictException", message="Transaction is ongoing for the item"),
    "cut": Reply(None),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_what_passes_is_tried_again(serving: Serving, reply: Reply) -> None:
    """Throttling, conflicts, failures of theirs and cut connections are tried again, and leave no trace."""
    with serving(reply, reply, FOUND) as (server, table):
        assert table.get(("p", "s")) == PLAIN

    assert [target for target, _ in server.asked] == ["DynamoDB_20120810.GetItem"] * 3


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(b"<html>Service Unavailable</html>", 503, {"Content-Type": "text/html"}), id="page, 503"),
        pytest.param(Reply(b"", 500), id="nothing, 500"),
        pytest.param(Reply(b"", 502), id="nothing, 502"),
        pytest.param(Reply.error("com.amazon.coral.service#InternalFailure", 500), id="InternalFailure"),
    ],
)
def test_failures_in_other_words(serving: Serving, reply: Reply) -> None:
    """Failures on the way to the service, which have no error of its own (5xx), are tried again too."""
    with serving(reply, FOUND) as (_, table):
        assert table.get(("p", "s")) == PLAIN


WHOLE = {"Content-Length": str(len(FOUND_BYTES)), "x-amz-crc32": str(zlib.crc32(FOUND_BYTES))}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(FOUND_BYTES[:20], headers=WHOLE), id="cut in the middle"),
        pytest.param(Reply(b"", headers=WHOLE), id="cut before its first byte"),
        pytest.param(Reply(FOUND_BYTES.replace(b"7", b"8"), headers=WHOLE), id="not what its checksum says"),
    ],
)
def test_half_an_answer_is_none(serving: Serving, reply: Reply) -> None:
    """A truncated response counts as no response, never as an empty one."""
    with serving(reply, FOUND) as (_, table):
        assert table.get(("p", "s")) == PLAIN


@pytest.mark.parametrize(
    "codes",
    [
        ("TransactionConflict", "None"),
        ("None", "TransactionConflict"),
        ("ThrottlingError", "None"),
        ("ProvisionedThroughputExceeded", "TransactionConflict"),
    ],
    ids="+".join,
)
def test_cancelled_transaction_is_tried_again(serving: Serving, codes: tuple[str, ...]) -> None:
    """A transaction that was cancelled by another one, or for want of capacity, is tried again as it was."""
    reasons = [{"Code": code} if code == "None" else {"Code": code, "Message": "..."} for code in codes]
    with serving(cancelled(*reasons), DONE) as (server, table):
        table.transact([Put(PLAIN, ABSENT), Put({"pk": "p", "sk": "t"}, ABSENT)])

    # Down to the token by which the service knows a try again.
    (_, first), (_, second) = server.asked
    assert first["ClientRequestToken"]
    assert first == second


def test_refused_transaction(serving: Serving) -> None:
    """A refused transaction gives the reason of each write, with the item that its condition refused."""
    reply = cancelled(
        {"Code": "None"},
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": ITEM},
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"},
        {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"},
    )
    with serving(reply) as (server, table), pytest.raises(TransactionRefused) as raised:
        table.transact([Put({"pk": "p", "sk": str(number)}, ABSENT) for number in range(4)])

    assert raised.value.reasons == (None, Reason(PLAIN), Reason(None), None)
    assert len(server.asked) == 1
    (_, request) = server.asked[0]
    assert {"ALL_OLD"} == {write["Put"]["ReturnValuesOnConditionCheckFailure"] for write in request["TransactItems"]}


def test_condition_failed(serving: Serving) -> None:
    """A refused write gives the item that its condition refused."""
    kind = f"{MODEL}ConditionalCheckFailedException"
    reply = Reply.error(kind, message="The conditional request failed", Item=ITEM)
    with serving(reply) as (server, table), pytest.raises(ConditionFailed) as raised:
        table.put(Put(PLAIN, ABSENT))

    assert raised.value.item == PLAIN
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "code", ["ValidationException", "ResourceNotFoundException", "AccessDeniedException", "ExpiredTokenException"]
)
def test_what_does_not_pass_is_raised(serving: Serving, code: str) -> None:
    """What trying again cannot mend is raised at once, by its code without what qualifies it."""
    reply = Reply.error(f"com.amazon.coral.validate#{code}", message="no")
    with serving(reply) as (server, table), pytest.raises(ServiceFault) as raised:
        table.get(("p", "s"))

    assert raised.value.code == code
    assert len(server.asked) == 1


def test_silence_is_no_answer(serving: Serving) -> None:
    """An answer that does not come in time is none; the connection gives up long before a function would."""
    with serving(Reply(b"{}", silent=30)) as (server, table), pytest.raises(NoAnswer):
        table.send("GetItem", {"TableName": "T", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}})

    assert len(server.asked) == 1


def test_unavailable_at_the_deadline(serving: Serving) -> None:
    """What goes on failing is unavailable when the deadline comes."""
    with serving(TRANSIENT["throttled"]) as (server, table), pytest.raises(Unavailable):
        table.until(Deadline.after(0.3)).get(("p", "s"))

    assert len(server.asked) > 1
