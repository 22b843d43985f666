"""The event bus: batches, refused entries, order within a group, and errors of the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from ordering.aws import calls as aws
from ordering.aws import sqs as queues
from ordering.aws.dynamodb import Table
from ordering.aws.eventbridge import BYTES_AT_MOST, Entry, EventBus, Unpublished
from ordering.errors import Unavailable
from support.aws.memory import Memory
from support.training import Steps

START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(group: str, number: int, size: int = 0) -> Entry:
    return Entry(group, "ordering", "t", START, json.dumps({"of": group, "is": number, "pad": "x" * size}))


def pauses(most: int = 1000) -> Callable[[], Iterator[None]]:
    """A deadline after so many pauses."""

    def some() -> Iterator[None]:
        for _ in range(most):
            yield
        raise Unavailable

    return some


@dataclass
class Script:
    """A bus that refuses entries by their sequence numbers and stores the others."""

    refused: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    code: str = "InternalFailure"
    sent: int = 0
    requests: list[list[tuple[str, int]]] = field(default_factory=list)
    taken: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        assert {one["EventBusName"] for one in request["Entries"]} == {"orders"}
        entries = [(one["of"], one["is"]) for one in (json.loads(entry["Detail"]) for entry in request["Entries"])]
        self.requests.append(entries)
        results: list[dict[str, str]] = []
        for one in entries:
            self.sent += 1
            if self.sent in self.refused:
                results.append({"ErrorCode": self.code, "ErrorMessage": "no"})
            else:
                self.taken.append(one)
                results.append({"EventId": str(self.sent)})
        if len(self.requests) in self.lost:
            raise Unavailable
        return {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}


def test_one_request_for_many_groups() -> None:
    """A request has the next entries of up to ten groups, and never two of one group."""
    script = Script()
    EventBus(script, "orders", pauses()).put([entry(str(group), number) for group in range(11) for number in range(2)])

    assert [len(request) for request in script.requests] == [10, 10, 2]
    assert all(len({group for group, _ in request}) == len(request) for request in script.requests)
    assert sorted(script.taken) == sorted((str(group), number) for group in range(11) for number in range(2))


def test_nothing_to_put() -> None:
    """Without entries no call is made."""
    script = Script()
    EventBus(script, "orders", pauses()).put([])

    assert script.requests == []


def test_size_of_requests() -> None:
    """A request has at most 256 KB, as the service counts them."""
    sizes: list[int] = []

    def call(_: str, request: dict[str, Any]) -> dict[str, Any]:
        sizes.append(
            sum(
                14 + sum(len(one[name].encode()) for name in ("Source", "DetailType", "Detail"))
                for one in request["Entries"]
            )
        )
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}

    EventBus(call, "orders", pauses()).put([entry(str(number), 0, 100_000) for number in range(5)])

    assert len(sizes) == 3
    assert max(sizes) <= BYTES_AT_MOST


@pytest.mark.parametrize(
    "nonsense", [{}, {"FailedEntryCount": 0}, {"Entries": []}, {"Entries": [{}]}, {"Entries": [{"EventId": ""}]}]
)
def test_malformed_answers(nonsense: dict[str, Any]) -> None:
    """An entry without an event id in the answer is sent again."""
    answers = iter([nonsense, {"Entries": [{"EventId": "1"}]}])
    sent: list[int] = []

    def call(_: str, request: dict[str, Any]) -> dict[str, Any]:
        sent.append(len(request["Entries"]))
        return next(answers)

    EventBus(call, "orders", pauses()).put([entry("a", 0)])

    assert sent == [1, 1]


def test_no_time_left() -> None:
    """When time is over nothing more is sent, and the error names the groups with entries left."""
    script = Script(refused=set())
    clock = Steps(2)
    with pytest.raises(Unpublished) as raised:
        EventBus(script, "orders", pauses(), clock).put([entry("a", 0), entry("a", 1), entry("a", 2)])

    assert (script.taken, raised.value.groups) == ([("a", 0), ("a", 1)], frozenset({"a"}))


def test_only_refused_entries_again() -> None:
    """Only refused entries are sent again, and later ones of their group wait."""
    script = Script(refused={1, 3})
    EventBus(script, "orders", pauses()).put([entry("a", 0), entry("a", 1), entry("b", 0)])

    assert script.requests == [[("a", 0), ("b", 0)], [("a", 0)], [("a", 0)], [("a", 1)]]
    assert script.taken == [("b", 0), ("a", 0), ("a", 1)]


@given(
    st.lists(st.sampled_from("abcdefghijklm"), max_size=40),
    st.sets(st.integers(1, 60)),
    st.sets(st.integers(1, 12)),
)
def test_in_order_whatever_fails(groups: list[str], refused: set[int], lost: set[int]) -> None:
    """Whatever entries are refused and answers lost, every group's entries arrive in order."""
    entries = [entry(group, number) for number, group in enumerate(groups)]
    script = Script(refused=refused, lost=lost)
    EventBus(script, "orders", pauses()).put(entries)
    seen = list(dict.fromkeys(script.taken))

    for group in set(groups):
        assert [number for of, number in seen if of == group] == [n for n, of in enumerate(groups) if of == group]


def test_until_the_deadline() -> None:
    """At the deadline the error names exactly the groups with entries left."""
    script = Script(refused=set(range(2, 1000)))
    with pytest.raises(Unpublished) as failure:
        EventBus(script, "orders", pauses(3)).put([entry("a", 0), entry("b", 0), entry("c", 0)])

    assert failure.value.groups == {"b", "c"}
    assert isinstance(failure.value, Unavailable)
    assert len(script.requests) == 4


def test_an_unreachable_service() -> None:
    """Requests without an answer are repeated until the deadline."""
    script = Script(lost=set(range(1000)))
    table = Table(Memory(), "OrdersTable", first_pause=0.0005, patience=0.05)
    with pytest.raises(Unpublished):
        EventBus(script, "orders", table.pauses).put([entry("a", 0)])

    assert len(script.requests) > 1


def test_entries_that_cannot_succeed() -> None:
    """An entry that is malformed or too large fails its own group at once, and no other."""
    script = Script(refused={1}, code="MalformedDetail")
    with pytest.raises(Unpublished) as failure:
        EventBus(script, "orders", pauses(0)).put(
            [entry("a", 0), entry("a", 1), entry("b", 0), entry("c", 0, BYTES_AT_MOST), entry("b", 1)]
        )

    assert failure.value.groups == {"a", "c"}
    assert script.taken == [("b", 0), ("b", 1)]


def test_unavailable() -> None:
    """A process without a bus raises Unavailable."""
    with pytest.raises(Unavailable):
        aws.unavailable("PutEvents", {})


# The services ---------------------------------------------------------------------------------------------------------


class Client:
    """A botocore client that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def put_events(self, **_: Any) -> None:
        raise self._error


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutEvents")  # type: ignore[typeddict-item] # all that is looked at


@pytest.mark.parametrize(
    ("code", "status", "raised"),
    [
        ("ThrottlingException", 400, Unavailable),
        ("InternalException", 500, Unavailable),
        ("Whatever", 503, Unavailable),
        ("ResourceNotFoundException", 400, aws.CallRefused),
    ],
)
def test_errors(code: str, status: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling and server errors raise Unavailable; other errors raise CallRefused."""
    session: Any = type(get_session())
    monkeypatch.setattr(session, "create_client", lambda *_, **__: Client(client_error(code, status)))
    with pytest.raises(raised):
        aws.connect("events")("PutEvents", {"Entries": []})


def test_connection_refused() -> None:
    """A refused connection raises Unavailable."""
    call = aws.connect("events", endpoint_url="http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        call("PutEvents", {"Entries": [{"Source": "s", "DetailType": "t", "Detail": "{}"}]})


def test_on_moto() -> None:
    """A bus and a queue on moto receive what is sent; connections are made on the first call."""
    with mock_aws():
        session: Any = get_session()
        session.create_client("events").create_event_bus(Name="orders")
        url = session.create_client("sqs").create_queue(QueueName="webhooks")["QueueUrl"]
        EventBus(aws.connect("events"), "orders", pauses(0)).put([entry("a", 0), entry("a", 1)])
        queues.connect_queue(url)("{}", 0)
        messages = session.create_client("sqs").receive_message(QueueUrl=url)["Messages"]

    assert [message["Body"] for message in messages] == ["{}"]
