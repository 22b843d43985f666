"""The table: retries, refusals, paging, usage counts and plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordering.aws import dynamodb as module
from ordering.aws.dynamodb import (
    ABSENT,
    ConditionFailed,
    NoAnswer,
    Put,
    Reason,
    ServiceFault,
    Table,
    TransactionRefused,
    Update,
    connect_tables,
)
from ordering.clock import Deadline
from ordering.errors import Unavailable
from support.aws.fake_connections import Script
from support.services import Services

ITEM = {"pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "1"}}
PLAIN = {"pk": "p", "sk": "s", "n": 1}
FOUND: dict[str, Any] = {"Item": ITEM}


class Clock:
    """The monotonic clock, moved only by sleeping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 50.0
        self.pauses: list[float] = []
        self.asked: list[tuple[float, float]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr("ordering.aws.dynamodb._jitter.uniform", self.uniform)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return high


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock under which retries take no time and every pause has its full length."""
    return Clock(monkeypatch)


def cancelled(*codes: str, **more: Any) -> ServiceFault:
    return ServiceFault("TransactionCanceledException", reasons=[{"Code": code, **more} for code in codes])


TRANSIENT = {
    "no answer": NoAnswer("cut"),
    "throttled": ServiceFault("ThrottlingException"),
    "over capacity": ServiceFault("ProvisionedThroughputExceededException"),
    "too many requests": ServiceFault("RequestLimitExceeded"),
    "their failure": ServiceFault("InternalServerError"),
    "their outage": ServiceFault("ServiceUnavailable"),
    "conflict with a transaction": ServiceFault("TransactionConflictException"),
    "transaction still running": ServiceFault("TransactionInProgressException"),
    "transactions in conflict": cancelled("None", "TransactionConflict"),
    "transaction throttled": cancelled("ThrottlingError", "None", "TransactionConflict"),
}
OPERATIONS: dict[str, tuple[Callable[[Table], object], dict[str, Any]]] = {
    "get": (lambda table: table.get(("p", "s")), FOUND),
    "batch_get": (lambda table: table.batch_get([("p", "s")]), {"Responses": {"T": [ITEM]}}),
    "query": (lambda table: [*table.query("p", "a", "z")], {"Items": [ITEM]}),
    "put": (lambda table: table.put(Put({"pk": "p", "sk": "s"})), {}),
    "put_all": (lambda table: table.put_all([PLAIN]), {}),
    "update": (lambda table: table.update(Update(("p", "s"), "SET n = :n", values={":n": 1})), {}),
    "transact": (lambda table: table.transact([Put(PLAIN, ABSENT)]), {}),
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT.keys())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_transient_errors_are_retried(clock: Clock, operation: str, error: Exception) -> None:
    """A transient error is retried with the same request."""
    act, answer = OPERATIONS[operation]
    send = Script([error, error, answer])

    act(Table(send, "T"))

    assert len(send.calls) == 3
    assert send.calls[0] == send.calls[1] == send.calls[2]
    assert len(clock.pauses) == 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_lasting_errors_raise_unavailable(clock: Clock, operation: str) -> None:
    """Errors that last until the deadline raise Unavailable, and no pause goes past it."""
    act, _ = OPERATIONS[operation]
    send = Script([NoAnswer("cut")])
    began = clock.now

    with pytest.raises(Unavailable):
        act(Table(send, "T", deadline=Deadline(began + 2.5)))

    assert 1.5 < clock.now - began < 2.5
    assert len(send.calls) == len(clock.pauses) + 1


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NoAnswer("tables.example: EndpointConnectionError"), "GetItem: tables.example: EndpointConnectionError"),
        (ServiceFault("ThrottlingException", "Rate exceeded"), "GetItem: ThrottlingException"),
    ],
    ids=["no answer", "throttled"],
)
def test_unavailable_has_the_reason_of_the_last_failure(error: Exception, cause: str) -> None:
    """Unavailable has the operation and the reason why the last attempt failed, for the log."""
    with pytest.raises(Unavailable) as raised:
        Table(Script([NoAnswer("an earlier one"), error]), "T").get(("p", "s"))

    assert cause == str(raised.value)


def test_pauses_double_up_to_a_second(clock: Clock) -> None:
    """Each pause is drawn between 0 and a bound that doubles up to a second (full jitter)."""
    table = Table(Script([NoAnswer("cut")]), "T", deadline=Deadline(clock.now + 6))

    with pytest.raises(Unavailable):
        table.get(("p", "s"))

    bounds = [high for _, high in clock.asked]
    assert pytest.approx(bounds[:10]) == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0, 1.0]
    assert {0} == {low for low, _ in clock.asked}


def test_without_a_deadline(clock: Clock) -> None:
    """Without a deadline retries last for the table's patience, counted from the first failure."""
    began = clock.now

    with pytest.raises(Unavailable):
        Table(Script([NoAnswer("cut")]), "T", patience=3).get(("p", "s"))

    assert 2 <= clock.now - began < 3


def test_no_call_after_the_deadline(clock: Clock) -> None:
    """After the deadline no call is begun: the function has time for the end of an earlier one only."""
    send = Script([])

    with pytest.raises(Unavailable):
        Table(send, "T", deadline=Deadline(clock.now - 1)).get(("p", "s"))

    assert (send.calls, clock.pauses) == ([], [])


def test_until(clock: Clock) -> None:
    """`until` returns a table with another deadline."""
    send = Script([])

    with pytest.raises(Unavailable):
        Table(send, "T").until(Deadline(clock.now)).get(("p", "s"))

    assert send.calls == []


@pytest.mark.parametrize(
    "error",
    [
        ServiceFault("ValidationException"),
        ServiceFault("ItemCollectionSizeLimitExceededException"),
        ServiceFault("ResourceNotFoundException"),
        ServiceFault("AccessDeniedException"),
        ServiceFault("IdempotentParameterMismatchException"),
        cancelled("ValidationError", "None"),
        cancelled("TransactionConflict", "ItemCollectionSizeLimitExceeded"),
        KeyError("bug"),
    ],
    ids=lambda error: getattr(error, "code", "KeyError"),
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_errors_are_passed_on(clock: Clock, operation: str, error: Exception) -> None:
    """Other errors are raised unchanged, without a retry."""
    act, _ = OPERATIONS[operation]
    send = Script([error])

    with pytest.raises(type(error)) as raised:
        act(Table(send, "T"))

    assert raised.value is error
    assert (len(send.calls), clock.pauses) == (1, [])


@pytest.mark.parametrize(("item", "expected"), [(ITEM, PLAIN), (None, None)], ids=["an item", "none"])
@pytest.mark.parametrize("operation", ["put", "update"])
def test_condition_failed_carries_the_item(operation: str, item: Any, expected: Any) -> None:
    """A failed condition raises ConditionFailed with the stored item."""
    act, _ = OPERATIONS[operation]
    send = Script([ServiceFault("ConditionalCheckFailedException", item=item)])

    with pytest.raises(ConditionFailed) as raised:
        act(Table(send, "T"))

    assert expected == raised.value.item
    assert len(send.calls) == 1


def test_transaction_refused_carries_reasons() -> None:
    """A refused transaction raises the reason for each write: the stored item if its condition failed."""
    reasons = [
        {"Code": "None"},
        {"Code": "ConditionalCheckFailed", "Item": ITEM},
        {"Code": "TransactionConflict"},
        {"Code": "ConditionalCheckFailed"},
    ]
    send = Script([ServiceFault("TransactionCanceledException", reasons=reasons)])

    with pytest.raises(TransactionRefused, match=r"\[1, 3\]") as raised:
        Table(send, "T").transact([Put(PLAIN, ABSENT)] * 4)

    assert (None, Reason(PLAIN), None, Reason(None)) == raised.value.reasons
    assert len(send.calls) == 1


def test_batch_get_retries_unprocessed_keys(clock: Clock) -> None:
    """Unprocessed keys are requested again after a pause."""
    other = {**ITEM, "sk": {"S": "t"}}
    left = {"Responses": {"T": [ITEM]}, "UnprocessedKeys": {"T": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "t"}}]}}}
    send = Script([left, {"Responses": {"T": [other]}, "UnprocessedKeys": {}}])

    found = Table(send, "T").batch_get([("p", "s"), ("p", "t")])

    assert found == {("p", "s"): PLAIN, ("p", "t"): {**PLAIN, "sk": "t"}}
    assert [len(request["RequestItems"]["T"]["Keys"]) for _, request in send.calls] == [2, 1]
    assert len(clock.pauses) == 1


def test_batch_get_until_the_deadline(clock: Clock) -> None:
    """Keys that stay unprocessed until the deadline raise Unavailable."""
    keys = {"T": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "s"}}]}}
    send = Script([{"Responses": {}, "UnprocessedKeys": keys}])

    with pytest.raises(Unavailable):
        Table(send, "T", deadline=Deadline(clock.now + 1)).batch_get([("p", "s")])


def test_batch_get_of_more_than_a_hundred() -> None:
    """More than 100 keys are read in several calls, each key once; missing items are left out."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        keys = request["RequestItems"]["T"]["Keys"]
        return {"Responses": {"T": [key for key in keys if key["sk"]["S"] != "7"]}}

    send = Script([answer])
    keys = [("p", str(number)) for number in range(250)]

    found = Table(send, "T").batch_get([*keys, *keys])

    assert [len(request["RequestItems"]["T"]["Keys"]) for _, request in send.calls] == [100, 100, 50]
    assert set(keys) - {("p", "7")} == found.keys()


def test_batch_get_of_nothing() -> None:
    """Reading no keys makes no call."""
    send = Script([])

    assert (Table(send, "T").batch_get([]), send.calls) == ({}, [])


def test_reads_are_strongly_consistent() -> None:
    """Every read is strongly consistent."""
    send = Script([{"Item": ITEM, "Items": [], "Responses": {}}])
    table = Table(send, "T")

    table.get(("p", "s"))
    table.batch_get([("p", "s")])
    [*table.query("p", "a", "b")]

    (_, get), (_, batch), (_, query) = send.calls
    assert get["ConsistentRead"]
    assert batch["RequestItems"]["T"]["ConsistentRead"]
    assert query["ConsistentRead"]


def test_put_all_in_batches_of_25(clock: Clock) -> None:
    """Items are written in batches of 25, and unprocessed ones again after a pause."""
    items = [{"pk": "p", "sk": str(number)} for number in range(60)]
    written: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        requests = request["RequestItems"]["T"]
        taken, left = (requests[:-2], requests[-2:]) if len(requests) > 2 else (requests, [])
        written.extend(one["PutRequest"]["Item"]["sk"]["S"] for one in taken)
        return {"UnprocessedItems": {"T": left} if left else {}}

    send = Script([answer])
    Table(send, "T").put_all(iter(items))

    assert [len(request["RequestItems"]["T"]) for _, request in send.calls] == [25, 2, 25, 2, 10, 2]
    assert sorted(item["sk"] for item in items) == sorted(written)
    assert len(clock.pauses) == 3


def test_put_all_of_nothing() -> None:
    """Writing no items makes no call."""
    send = Script([])
    Table(send, "T").put_all([])

    assert send.calls == []


def test_scan_reads_all_pages() -> None:
    """A scan continues over all pages, also empty ones, and asks for partition keys that begin with a prefix."""
    resume = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    send = Script(
        [
            {"Items": [ITEM], "LastEvaluatedKey": resume},
            {"Items": [], "LastEvaluatedKey": resume},
            {"Items": [ITEM]},
        ]
    )
    items = [*Table(send, "T").scan("STOCK#")]

    assert len(items) == 2
    assert [request.get("ExclusiveStartKey") for _, request in send.calls] == [None, resume, resume]
    assert {request["ExpressionAttributeValues"][":prefix0"]["S"] for _, request in send.calls} == {"STOCK#"}


def test_query_reads_all_pages() -> None:
    """A query continues over all pages, and reads the next page only when it is needed."""
    resume = {"pk": {"S": "p"}, "sk": {"S": "s"}}
    send = Script(
        [
            {"Items": [ITEM], "LastEvaluatedKey": resume},
            {"Items": [], "LastEvaluatedKey": resume},
            {"Items": [{**ITEM, "sk": {"S": "t"}}]},
        ]
    )
    items = Table(send, "T").query("p", "a", "z")

    assert next(items) == PLAIN
    assert len(send.calls) == 1
    assert [*items] == [{**PLAIN, "sk": "t"}]
    assert [None, resume, resume] == [request.get("ExclusiveStartKey") for _, request in send.calls]


class Together:
    """A connection that carries out several operations at once; the one with the partition "q" fails at first."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.alone: list[str] = []

    def __call__(self, _: str, request: dict[str, Any]) -> dict[str, Any]:
        self.alone.append(request["ExpressionAttributeValues"][":pk"]["S"])
        return {"Items": [ITEM], "ConsumedCapacity": {"CapacityUnits": 1.0}}

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Callable[[], dict[str, Any]]]:
        self.rounds.append([request["ExpressionAttributeValues"][":pk"]["S"] for _, request in requests])
        return [partial(self.attempt, request) for _, request in requests]

    def attempt(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["ExpressionAttributeValues"][":pk"]["S"] == "q":
            raise ServiceFault("ThrottlingException")
        more = {} if "ExclusiveStartKey" in request else {"LastEvaluatedKey": {"pk": {"S": "p"}, "sk": {"S": "s"}}}
        return {"Items": [ITEM], "ConsumedCapacity": {"CapacityUnits": 1.0}, **more}


def test_query_all_together(clock: Clock) -> None:
    """Queries of several partitions go out in one round for each page; one that fails is retried alone."""
    send = Together()
    table = Table(send, "T")
    found = table.query_all([("p", "a", "z"), ("q", "a", "z"), ("r", "z", "a"), ("s", "a", "z")])

    assert found == [[PLAIN, PLAIN], [PLAIN], [], [PLAIN, PLAIN]]
    assert (send.rounds, send.alone) == ([["p", "q", "s"], ["p", "s"]], ["q"])
    assert (table.usage.calls, table.usage.reads, table.usage.retries, len(clock.pauses)) == (5, 5.0, 1, 1)


def test_query_all_one_after_the_other() -> None:
    """A connection that cannot carry out several queries at once gets them one by one, after the deadline none."""
    send = Script([{"Items": [ITEM]}])
    found = Table(send, "T").query_all([("p", "a", "z"), ("q", "a", "z")])
    late = Table(Together(), "T", deadline=Deadline.after(-1))

    assert found == [[PLAIN], [PLAIN]]
    assert [request["ExpressionAttributeValues"][":pk"]["S"] for _, request in send.calls] == ["p", "q"]
    with pytest.raises(Unavailable):
        late.query_all([("p", "a", "z"), ("q", "a", "z")])


def test_query_all_of_a_connection(services: Services) -> None:
    """A real connection carries out several queries, and raises the errors of each."""
    table = Table(services.send, "OrdersTable")
    table.put_all({"pk": partition, "sk": "s"} for partition in ("all#1", "all#2"))

    assert table.query_all([(f"all#{number}", "a", "z") for number in (2, 3, 1)]) == [
        [{"pk": "all#2", "sk": "s"}],
        [],
        [{"pk": "all#1", "sk": "s"}],
    ]
    with pytest.raises(ServiceFault) as missing:
        Table(services.send, "NoSuchTable").query_all([("p", "a", "z"), ("q", "a", "z")])
    assert missing.value.code == "ResourceNotFoundException"


def test_usage_is_counted() -> None:
    """Calls and consumed read and write units are counted until they are taken."""
    consumed = {"ConsumedCapacity": {"CapacityUnits": 1.5}}
    several = {"ConsumedCapacity": [{"CapacityUnits": 2.0}, {"CapacityUnits": 0.5}]}
    send = Script(
        [{**FOUND, **consumed}, {"Responses": {}, **several}, {"Items": [], **consumed}, consumed, several, {}]
    )
    table = Table(send, "T")

    table.get(("p", "s"))
    table.batch_get([("p", "s")])
    [*table.query("p", "a", "z")]
    table.put(Put(PLAIN))
    table.transact([Put(PLAIN)])
    table.put_all([PLAIN])

    taken = table.usage.take()
    assert (taken.calls, taken.reads, taken.writes) == (6, 5.5, 4.0)
    assert (table.usage.calls, table.usage.reads, table.usage.writes) == (0, 0.0, 0.0)
    assert {"TOTAL"} == {request["ReturnConsumedCapacity"] for _, request in send.calls}


VALUES = st.recursive(
    st.text()
    | st.integers(-(10**37), 10**37)
    | st.booleans()
    | st.none()
    | st.binary()
    | st.sets(st.text(), min_size=1)
    | st.sets(st.integers(-(10**37), 10**37), min_size=1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(item=st.dictionaries(st.text(), VALUES, max_size=4))
def test_values_come_back_as_they_were(item: dict[str, Any]) -> None:
    """A value is read back equal and of the same type."""
    read = module.plain_item(module._item(item))

    assert item == read
    assert kinds(item) == kinds(read)


def kinds(value: Any) -> Any:
    match value:
        case dict():
            return {name: kinds(part) for name, part in value.items()}
        case list():
            return [kinds(part) for part in value]
    return type(value)


def test_tuples_and_frozen_sets() -> None:
    """A tuple is written as a list, a frozen set as a set."""
    assert module._attribute((1, "a")) == {"L": [{"N": "1"}, {"S": "a"}]}
    assert module._attribute(frozenset({"b", "a"})) == {"SS": ["a", "b"]}


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        Decimal(1),
        {1.5},
        {Decimal(1)},
        {"a", 1},
        {True},
        {True, 2},
        set(),
        object(),
        [1.5],
        {"a": 1.5},
    ],
)
def test_other_values_are_refused(value: Any) -> None:
    """A value whose type would change when read back, such as a float, raises TypeError."""
    with pytest.raises(TypeError):
        Table(Script([]), "T").put(Put({"pk": "p", "sk": "s", "value": value}))


def test_errors_of_a_connection(services: Services) -> None:
    """A connection raises the service's errors by code, with the stored item."""
    table = Table(services.send, "OrdersTable")
    table.put(Put(PLAIN))

    with pytest.raises(ConditionFailed) as failed:
        table.put(Put(PLAIN, ABSENT))
    with pytest.raises(TransactionRefused) as refused:
        table.transact([Put({"pk": "q", "sk": "s"}, ABSENT), Put(PLAIN, ABSENT)])
    with pytest.raises(ServiceFault) as missing:
        Table(services.send, "NoSuchTable").get(("p", "s"))

    assert failed.value.item == PLAIN
    assert (None, Reason(PLAIN)) == refused.value.reasons
    assert table.get(("q", "s")) is None
    assert missing.value.code == "ResourceNotFoundException"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_of_a_connection(services: Services, operation: str) -> None:
    """A real connection supports every operation of a table."""
    act, _ = OPERATIONS[operation]

    act(Table(services.send, "OrdersTable"))


def test_update_returns_changed_attributes(services: Services) -> None:
    """An update returns the changed attributes with their new values."""
    table = Table(services.send, "OrdersTable")
    count = Update(("p", "s"), "ADD #count :one", names={"#count": "count"}, values={":one": 1})

    assert [table.update(count)["count"], table.update(count)["count"]] == [1, 2]


def test_connection_refused_is_no_answer() -> None:
    """A refused connection raises NoAnswer, which is transient."""
    send = connect_tables(endpoint_url="http://127.0.0.1:9")

    with pytest.raises(NoAnswer, match=r"^127\.0\.0\.1:9: EndpointConnectionError: .*Connection refused$"):
        send("GetItem", {"TableName": "T", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}})


def test_reasons_quote_no_passwords() -> None:
    """The reason of a failure has the endpoint's host, but neither a password in its URL nor its path."""
    send = connect_tables(endpoint_url="http://user:secret@127.0.0.1:9/path")

    with pytest.raises(NoAnswer) as raised:
        send("GetItem", {"TableName": "T", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}})

    assert str(raised.value).startswith("127.0.0.1:9: ")
    assert "secret" not in str(raised.value)
    assert "path" not in str(raised.value)
