"""The contract's `Idempotency-Key`: a retried create makes one order."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from ordering.aws.dynamodb import NoAnswer
from ordering.clock import Deadline
from ordering.principal import BusinessUnit
from support.aws.fake_connections import Recorder, failing
from support.gateway import Client, Reply
from support.orders import client_of_new_unit, new_item, new_order, publish, target
from support.partners import AZ_300, FOREIGN_ONLY, IRELAND, LINUX, ON_LINUX, STANDARD, UK
from support.services import Services


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return str(uuid.uuid4())


def create(client: Client, key: str, body: Any = None, unit: BusinessUnit = UK) -> Reply:
    return client.post(target("orders", unit), new_order() if body is None else body, headers={"Idempotency-Key": key})


def total(client: Client, unit: BusinessUnit = UK) -> int:
    count: int = client.get(target("orders", unit)).json["_pageInfo"]["totalItemCount"]
    return count


def at(services: Services, moment: datetime) -> Services:
    return replace(services, now=partial(_same, moment))


def _same(moment: datetime) -> datetime:
    return moment


def test_replay_is_the_first_answer_byte_for_byte(client: Client, key: str) -> None:
    """A retry with the same key and body gets the first answer, marked as replayed."""
    before = total(client)

    first, *others = (create(client, key) for _ in range(3))

    assert "Idempotent-Replayed" not in first.headers
    marked = {**first.headers, "Idempotent-Replayed": "true"}
    assert [(201, first.text, marked)] * 2 == [(other.status, other.text, dict(other.headers)) for other in others]
    assert before + 1 == total(client)


def test_key_in_several_lines(client: Client, watched: Recorder, key: str) -> None:
    """Lines with different keys are 400, and lines with the same key are one."""
    twice = {"Idempotency-Key": [key, "other"]}
    refused = client.post(target("orders"), new_order(), headers=twice)
    named_twice = client.post(
        target("orders"), new_order(), headers={"Idempotency-Key": key, "idempotency-key": "other"}
    )

    assert (refused.status, refused.faults) == (400, [("Idempotency-Key", "repeated")])
    assert (named_twice.status, named_twice.faults) == (400, refused.faults)
    assert watched.writes == []
    first = client.post(target("orders"), new_order(), headers={"Idempotency-Key": [key, key]})
    assert first.text == create(client, key).text


@pytest.mark.parametrize("text", ["k-{}", 'a"{}', "\\{}"])
def test_quoted_key(client: Client, key: str, text: str) -> None:
    """A key and the same key as a quoted string, as the draft of the header writes it, are one key."""
    plain = text.format(key)
    quoted = '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'

    first, again = create(client, plain), create(client, quoted)

    assert (201, first.text, "true") == (again.status, again.text, again.headers["Idempotent-Replayed"])


def test_header_name_without_case(client: Client, key: str) -> None:
    """The header's name is case-insensitive."""
    first = client.post(target("orders"), new_order(), headers={"idempotency-key": key})

    assert first.text == client.post(target("orders"), new_order(), headers={"IDEMPOTENCY-KEY": key}).text


def test_replay_of_an_equivalent_body(client: Client, key: str) -> None:
    """A body with other whitespace, field order or notation of an integer is the same body."""
    first = create(client, key)
    item = new_item()
    body = dict(reversed(new_order(orderItems=[item | {"quantity": float(item["quantity"])}]).items()))

    again = create(client, key, json.dumps(body, indent=4))

    assert (first.text, "true") == (again.text, again.headers["Idempotent-Replayed"])


@pytest.mark.parametrize(
    "other",
    [
        new_order(purchaseOrderReference="PO-2"),
        new_order(contactEmail="else@example.com"),
        new_order(orderItems=[new_item(quantity=2)]),
        new_order(orderItems=[new_item(), new_item()]),
        new_order(orderItems=[new_item(featureSetId=ON_LINUX.id)]),
        new_order(orderItems=[new_item(sourceReference="S")]),
    ],
    ids=["reference", "contact", "quantity", "items", "feature set", "source reference"],
)
def test_other_body_is_422(client: Client, key: str, other: Any) -> None:
    """The same key with another body is 422, creates nothing, and a retry of the first body still works."""
    first = create(client, key)
    before = total(client)

    refused = create(client, key, other)

    assert (refused.status, refused.json["title"]) == (422, "Unprocessable Content")
    assert before == total(client)
    assert first.text == create(client, key).text


def test_same_body_for_another_unit_is_422(client: Client, key: str) -> None:
    """The same key and body for another business unit is 422."""
    create(client, key)

    assert create(client, key, unit=IRELAND).status == 422
    assert total(client, IRELAND) == 0


def test_keys_of_partners_are_separate(client: Client, stranger: Client, key: str) -> None:
    """The same key of two partners makes two orders."""
    first = create(client, key)

    body = new_order(orderItems=[new_item(featureSetId=FOREIGN_ONLY.id)])
    other = stranger.post("/api/v2/orders", body, headers={"Idempotency-Key": key})

    assert other.status == 201
    assert "Idempotent-Replayed" not in other.headers
    assert first.json["id"] != other.json["id"]


@pytest.mark.parametrize(
    "body",
    [
        new_order(emailKeys="no"),
        new_order(orderItems=[new_item(featureSetId=AZ_300.id)]),
        "{",
        {},
    ],
    ids=["breaks a rule", "not offered", "no JSON", "empty"],
)
def test_nothing_is_stored_for_a_refused_body(client: Client, watched: Recorder, key: str, body: Any) -> None:
    """A key whose body was refused can be used for the corrected body."""
    refused = create(client, key, body)

    assert (refused.status, watched.writes) == (400, [])
    accepted = create(client, key)
    assert accepted.status == 201
    assert "Idempotent-Replayed" not in accepted.headers


def test_replay_outlives_the_catalogue(services: Services, key: str) -> None:
    """A retry is answered even if the feature set is no longer offered, while a new order is refused."""
    client, unit = client_of_new_unit(services)
    first = create(client, key, unit=unit)
    publish(services, unit, [(LINUX, [ON_LINUX])])

    again = create(client, key, unit=unit)

    assert (first.text, "true") == (again.text, again.headers["Idempotent-Replayed"])
    assert create(client, key, new_order(orderItems=[new_item(quantity=9)]), unit).status == 422
    assert create(client, str(uuid.uuid4()), unit=unit).status == 400
    assert total(client, unit) == 1


def test_replay_shows_the_order_as_it_was_created(services: Services, key: str) -> None:
    """A retry gets the first answer even if the order was cancelled since."""
    client, unit = client_of_new_unit(services, [(AZ_300, [STANDARD])])
    first = create(client, key, unit=unit)
    services.training_orders(unit, Deadline.after(60)).cancel(first.json["id"])

    assert first.text == create(client, key, unit=unit).text


@pytest.mark.parametrize("text", ["x", " ", "~" * 255, 'a"b\\c/{}'])
def test_key_limits_accepted(client: Client, text: str) -> None:
    """A key has 1 to 255 printable ASCII characters."""
    body = new_order(purchaseOrderReference=f"key {text[:9]}")

    first, again = create(client, text, body), create(client, text, body)

    assert (201, first.text) == (first.status, again.text)


@pytest.mark.parametrize("text", ["", "x" * 256, "ü", "a\tb", "a\x00", "\x7f", '""', '"' + "x" * 256 + '"', '"ü"'])
def test_key_limits_refused(client: Client, watched: Recorder, text: str) -> None:
    """Any other key is refused by the header's name."""
    refused = create(client, text)

    assert (refused.status, refused.faults) == (400, [("Idempotency-Key", "invalid_format")])
    assert watched.writes == []


def test_long_keys_are_distinguished(client: Client) -> None:
    """Keys that differ only in their last character or in case are different."""
    ids = {create(client, text).json["id"] for text in ("k" * 254 + "a", "k" * 254 + "b", "k" * 254 + "A", "k" * 254)}

    assert len(ids) == 4


def test_keys_are_kept_for_24_hours(services: Services, key: str) -> None:
    """A key is kept for at least 24 hours."""
    began = datetime(2024, 5, 1, 12, tzinfo=UTC)
    client, unit = client_of_new_unit(at(services, began))
    first = create(client, key, unit=unit)

    client.services = at(services, began + timedelta(hours=24, seconds=1))

    assert first.text == create(client, key, unit=unit).text
    assert total(client, unit) == 1


def test_expired_keys_can_be_reused(services: Services, key: str) -> None:
    """An expired key can be used for a new request, even before its record is deleted."""
    began = datetime(2024, 5, 1, 12, tzinfo=UTC)
    client, unit = client_of_new_unit(at(services, began))
    first = create(client, key, unit=unit)

    client.services = at(services, began + timedelta(days=8))
    second = create(client, key, new_order(purchaseOrderReference="PO-2"), unit)

    assert (second.status, "Idempotent-Replayed" in second.headers) == (201, False)
    assert first.json["id"] != second.json["id"]
    assert second.text == create(client, key, new_order(purchaseOrderReference="PO-2"), unit).text
    assert total(client, unit) == 2


def test_expired_keys_do_not_revive_withdrawn_feature_sets(services: Services, key: str) -> None:
    """An expired key does not make a withdrawn feature set available again."""
    began = datetime(2024, 5, 1, 12, tzinfo=UTC)
    client, unit = client_of_new_unit(at(services, began))
    create(client, key, unit=unit)
    publish(services, unit, [(LINUX, [ON_LINUX])])

    client.services = at(services, began + timedelta(days=8))
    refused = create(client, key, unit=unit)

    assert (refused.status, refused.faults) == (400, [("/orderItems/0/featureSetId", "not_offered")])


def test_lost_answer_is_one_order(services: Services, key: str) -> None:
    """If the table's answer to a create is lost, one order is made."""
    client, unit = client_of_new_unit(services)
    lost = 0

    def lose_first(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal lost
        answer = services.send(operation, request)
        if operation == "TransactWriteItems" and not lost:
            lost += 1
            raise NoAnswer("cut")
        return answer

    client.services = replace(services, send=lose_first)
    first = create(client, key, unit=unit)

    assert (lost, first.status) == (1, 201)
    client.services = services
    assert first.text == create(client, key, unit=unit).text
    assert total(client, unit) == 1


def test_failed_create_can_be_sent_again(services: Services, key: str) -> None:
    """A create that failed half way can be retried and makes one order."""
    client, unit = client_of_new_unit(services)
    client.services = replace(services, send=failing(OSError("gone"), services.send, "TransactWriteItems"))
    assert create(client, key, unit=unit).status == 500

    client.services = at(services, datetime.now(UTC) + timedelta(minutes=1))
    created = create(client, key, unit=unit)
    client.services = at(services, datetime.now(UTC) + timedelta(minutes=2))

    assert created.status == 201
    assert [created.json["id"]] == [item["id"] for item in client.get(target("orders", unit)).json["items"]]
