"""Requests that are refused with 400: all faults of a body are reported together, by dotted paths in Pascal case."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ordering.ecards.contract import MOST_FAULTS, path_of
from ordering.web.http import LARGEST_BODY
from support.aws.fake_connections import Recorder
from support.ecards import Rewards, card, invalid, new_order, refused

JSON_TYPE = {"Content-Type": "application/json"}


def errors_of(company: Rewards, **changes: Any) -> dict[str, list[str]]:
    return invalid(company.post("/v1/orders", new_order(**changes)))


def participant(**changes: Any) -> dict[str, Any]:
    return {"email": "sss@ss.ss", "phone": "79251153242", "name": "John Doe", **changes}


def test_all_that_is_required(company: Rewards) -> None:
    """An empty object is reported as lacking all three fields, in the published words."""
    assert invalid(company.post("/v1/orders", {})) == {
        "OrderId": ["The OrderId field is required."],
        "Participant": ["The Participant field is required."],
        "Ecards": ["The Ecards field is required."],
    }


def test_every_fault_at_once(company: Rewards) -> None:
    """All faults are reported together, each by its path."""
    body = {
        "orderId": "x",
        "participant": {"email": "no address"},
        "ecards": [card(quantity=0), {}, card(card_id=None), card(card_id="x", quantity=1_001)],
    }
    errors = invalid(company.post("/v1/orders", body))

    assert list(errors) == [
        "OrderId", "Participant.Email", "Participant.Name", "Participant.Phone", "Ecards[0].Quantity",
        "Ecards[1].Id", "Ecards[1].Quantity", "Ecards[1].FaceValue", "Ecards[2].Id", "Ecards[3].Id",
        "Ecards[3].Quantity",
    ]  # fmt: skip
    assert errors["Ecards[1].FaceValue"] == ["The FaceValue field is required."]
    assert errors["Participant.Phone"] == ["The Phone field is required."]
    assert errors["Ecards[0].Quantity"] == ["The Quantity field is invalid. Must be greater than or equal to 1."]


@pytest.mark.parametrize("empty", [None, "", " ", "\t\n"])
@pytest.mark.parametrize(("field", "path"), [("email", "Email"), ("name", "Name"), ("phone", "Phone")])
def test_empty_is_missing(company: Rewards, field: str, path: str, empty: Any) -> None:
    """A participant's field that is null, empty or blank counts as missing."""
    errors = errors_of(company, participant=participant(**{field: empty}))

    assert errors == {f"Participant.{path}": [f"The {path} field is required."]}


@pytest.mark.parametrize(
    ("field", "path"), [("orderId", "OrderId"), ("participant", "Participant"), ("ecards", "Ecards")]
)
def test_null_is_missing(company: Rewards, field: str, path: str) -> None:
    """A field that is null counts as missing."""
    assert errors_of(company, **{field: None}) == {path: [f"The {path} field is required."]}


@pytest.mark.parametrize(
    "order_id",
    ["", "x", 1, True, [], {}, "b5aa69df61a54d97b1fb4f6772dfbbeb", "{b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb}",
     "b5aa69df-61a5-4d97-b1fb-4f6772dfbbe", "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeg",
     " b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb", "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb\n",
     "b5aa69df-61a5-4d97-b1fb-4f6772dfbbe٣"],
)  # fmt: skip
def test_invalid_order_ids(company: Rewards, order_id: Any) -> None:
    """An order id must be a UUID with hyphens."""
    assert list(errors_of(company, orderId=order_id)) == ["OrderId"]


@pytest.mark.parametrize(
    "email",
    ["x", "x@", "@x.com", "x@x", "x x@x.com", "x@x..com", "x@-x.com", "x@x.com\n", "x@x.com, y@y.com", 1, [],
     "é@x.com", "a..b@x.com", ".a@x.com", "a.@x.com", "x@" + "y" * 64 + ".com", "x" * 65 + "@x.com"],
    ids=lambda email: str(email)[:12],
)  # fmt: skip
def test_invalid_email_addresses(company: Rewards, email: Any) -> None:
    """An invalid e-mail address is refused."""
    assert list(errors_of(company, participant=participant(email=email))) == ["Participant.Email"]


@pytest.mark.parametrize(
    ("field", "path", "value"),
    [
        ("name", "Name", "x" * 251),
        ("name", "Name", "John\nDoe"),
        ("name", "Name", "John\x00Doe"),
        ("name", "Name", 1),
        ("phone", "Phone", "1" * 33),
        ("phone", "Phone", 79251153242),
        ("phone", "Phone", "7925\x7f"),
    ],
)
def test_invalid_names_and_phones(company: Rewards, field: str, path: str, value: Any) -> None:
    """A name has at most 250 characters and a phone 32; both are text on one line."""
    assert list(errors_of(company, participant=participant(**{field: value}))) == [f"Participant.{path}"]


def test_the_longest_names_and_phones(company: Rewards) -> None:
    """The longest names and phones are accepted."""
    longest = participant(name="Ж" * 250, phone="1" * 32)

    assert company.place(participant=longest)["number"] == 1


@pytest.mark.parametrize("value", ["x", 1, True, [], [1]])
def test_a_participant_that_is_no_object(company: Rewards, value: Any) -> None:
    """A participant must be an object."""
    assert list(errors_of(company, participant=value)) == ["Participant"]


@pytest.mark.parametrize("value", ["x", 1, True, {}, {"0": card()}, [], [card()] * 101])
def test_ecards_that_are_no_list_of_1_to_100(company: Rewards, value: Any) -> None:
    """E-cards must be a list of 1 to 100."""
    assert list(errors_of(company, ecards=value)) == ["Ecards"]


@pytest.mark.parametrize("value", [None, "x", 1, [], True])
def test_an_ecard_that_is_no_object(company: Rewards, value: Any) -> None:
    """An e-card that is not an object is reported by its index."""
    assert list(errors_of(company, ecards=[card(), value])) == ["Ecards[1]"]


def test_the_most_ecards(company: Rewards) -> None:
    """A hundred cards with a thousand pieces of each are accepted."""
    assert company.place(1, *[card(quantity=1_000)] * 100)["total"] == 10_000_000


@pytest.mark.parametrize("quantity", [0, -1, 1_001, 10**30, 1001.0, 1.5, "1", "1.0", "", None, True, [], {}])
def test_invalid_quantities(company: Rewards, quantity: Any) -> None:
    """A quantity must be an integer from 1 to 1,000, as a JSON number."""
    assert list(errors_of(company, ecards=[card(quantity=quantity)])) == ["Ecards[0].Quantity"]


@pytest.mark.parametrize(
    "card_id",
    [0, -1, 2**31, 10**30, 1.5, True, [], {}, None, "", " ", "0", "-1", "+1", " 1", "1 ", "1.0", "1e0", "0x1", "x",
     "٣", "12345678901", "4294967297"],
)  # fmt: skip
def test_invalid_card_ids(company: Rewards, card_id: Any) -> None:
    """A card's id must be an integer from 1 of at most 32 bits, or its digits as text."""
    assert list(errors_of(company, ecards=[card(card_id)])) == ["Ecards[0].Id"]


@pytest.mark.parametrize("face_value", ["", " ", None, 100, 100.0, True, [], {}, "x" * 251])
def test_invalid_face_values(company: Rewards, face_value: Any) -> None:
    """A face value must be a name of at most 250 characters."""
    assert list(errors_of(company, ecards=[card(face_value=face_value)])) == ["Ecards[0].FaceValue"]


def test_names_of_fields_are_exact(company: Rewards) -> None:
    """Field names are case-sensitive."""
    body = {"OrderId": "x", "order_id": "x", "Participant": {}, "eCards": []}

    assert list(invalid(company.post("/v1/orders", body))) == ["OrderId", "Participant", "Ecards"]


@pytest.mark.parametrize(
    "body",
    ["", " ", "order", "{", "{'a': 1}", '{"a": 1,}', '{"a": 01}', "\ufeff{}", "<order/>", "a=1",
     '{"orderId": "\\ud800"}', "[" * 100_000],
    ids=lambda body: body[:12],
)  # fmt: skip
def test_malformed_json(company: Rewards, body: str) -> None:
    """A body that is not JSON is reported as one fault with an empty path."""
    errors = invalid(company.send_json(body))

    assert [list(errors), len(errors[""])] == [[""], 1]


def test_no_body(company: Rewards) -> None:
    """A missing body is reported as one fault with an empty path."""
    assert invalid(company.request("POST", "/v1/orders")) == {"": ["Send a JSON object as the body."]}


@pytest.mark.parametrize("body", ["null", "1", '"x"', "true", "[]", '[{"orderId": 1}]'])
def test_no_object(company: Rewards, body: str) -> None:
    """JSON that is not an object is reported as one fault with an empty path."""
    assert list(invalid(company.send_json(body))) == [""]


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", json.dumps(new_order()).encode("utf-16"), b'{"orderId": "\xed\xa0\x80"}']
)
def test_other_encodings(company: Rewards, body: bytes) -> None:
    """A body in another encoding than UTF-8 is malformed."""
    sent = base64.b64encode(body).decode()

    assert list(invalid(company.request("POST", "/v1/orders", body=sent, base64=True, headers=JSON_TYPE))) == [""]


def test_base64(company: Rewards) -> None:
    """A body that the gateway passes on in base64 is decoded."""
    sent = base64.b64encode(json.dumps(new_order(), ensure_ascii=False).encode()).decode()

    assert company.request("POST", "/v1/orders", body=sent, base64=True, headers=JSON_TYPE).status == 200


def test_nothing_is_touched(company: Rewards, recorder: Recorder) -> None:
    """An invalid body is refused before any table is read."""
    recorder.calls.clear()
    errors_of(company, participant={})

    assert recorder.calls == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json"],
)
def test_415(company: Rewards, content_type: str) -> None:
    """A body whose content type is not JSON in UTF-8 is 415."""
    sent = json.dumps(new_order())

    refused(company.request("POST", "/v1/orders", body=sent, headers={"Content-Type": content_type}), 415)


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON", 'application/json;charset="UTF-8"'])
def test_content_types_accepted(company: Rewards, content_type: str) -> None:
    """The content type may have any case and name its character set."""
    sent = json.dumps(new_order())

    assert company.request("POST", "/v1/orders", body=sent, headers={"Content-Type": content_type}).status == 200


def test_content_type_in_several_lines(company: Rewards) -> None:
    """Lines of `Content-Type` that differ are 400."""
    lines = {"Content-Type": ["application/json", "text/plain"]}

    reply = company.request("POST", "/v1/orders", body=json.dumps(new_order()), headers=lines)

    assert (reply.status, list(reply.json["errors"])) == (400, ["Content-Type"])


def test_413(company: Rewards) -> None:
    """A body of more than 1 MiB is 413; one of exactly 1 MiB is accepted."""
    body = json.dumps(new_order(more=""))
    largest = body.replace('"more": ""', f'"more": "{"x" * (LARGEST_BODY - len(body))}"')

    assert len(largest) == LARGEST_BODY
    assert company.send_json(largest).status == 200
    refused(company.send_json(largest + " "), 413)


def test_many_faults_fit_an_answer(company: Rewards) -> None:
    """The answer to any number of faults is bounded."""
    reply = company.post("/v1/orders", {"ecards": [{}] * 100_000})

    assert sum(map(len, invalid(reply).values())) <= MOST_FAULTS
    assert len(reply.text) < 100_000


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((), ""),
        (("page",), "Page"),
        (("orderId",), "OrderId"),
        (("participant", "email"), "Participant.Email"),
        (("ecards", 0), "Ecards[0]"),
        (("ecards", 12, "faceValue"), "Ecards[12].FaceValue"),
    ],
)
def test_paths(place: tuple[str | int, ...], path: str) -> None:
    """A fault's path has names in Pascal case joined by dots, and indexes from 0 in brackets."""
    assert path_of(place) == path
