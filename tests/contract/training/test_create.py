"""The contract's "Create": which fields and values are accepted, and the order that results."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.identity.accounts import Contact
from support.aws.fake_connections import Recorder
from support.gateway import Client
from support.orders import new_item, new_order, target
from support.partners import AZ_300, FOREIGN_ONLY, ON_LINUX, STANDARD, UK
from support.services import Services

ITEM = "/orderItems/0/"
LEAVE_OUT = object()
OPTIONAL_TEXTS = ("sourceReference", "feedbackLinkText", "achievementCode")


def body_with(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in new_order(**changes).items() if value is not LEAVE_OUT}


def item_with(**changes: Any) -> dict[str, Any]:
    return body_with(orderItems=[{n: v for n, v in new_item(**changes).items() if v is not LEAVE_OUT}])


def refused(client: Client, watched: Recorder, body: Any) -> list[tuple[str, str]]:
    """Send a body that must be refused with 400, without a write; returns its faults."""
    reply = client.post(target("orders"), body)

    assert reply.status == 400
    assert watched.writes == []
    return reply.faults


def test_every_field(client: Client, services: Services) -> None:
    """A create with every field is accepted, and every field of its items is stored."""
    item = new_item(
        quantity=7,
        sourceReference="S-1",
        feedbackLinkUri="https://example.com/feedback?a=1",
        feedbackLinkText="Say it",
        enableFeedbackLink=True,
        achievementCode="GOLD",
    )
    body = new_order(contactEmail="someone@example.com", emailKeys=True, orderItems=[item])

    created = client.post(target("orders"), body)
    orders = services.training_orders(UK, Deadline.after(60))
    (line,) = orders.lines(created.json["id"], 0, 10).items

    assert (
        created.status,
        created.json["contactEmail"],
        created.json["purchasingOrderReference"],
    ) == (201, "someone@example.com", "PO-1")
    assert orders.order(created.json["id"]).email_keys
    assert (STANDARD.id, 7, "S-1") == (line.feature_set_id, line.quantity, line.source_reference)
    assert (line.feedback_link_uri, line.feedback_link_text) == ("https://example.com/feedback?a=1", "Say it")
    assert (line.enable_feedback_link, line.achievement_code) == (True, "GOLD")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_with(purchaseOrderReference="x"), id="reference of 1"),
        pytest.param(body_with(purchaseOrderReference="ü" * 100), id="reference of 100"),
        pytest.param(item_with(quantity=1), id="quantity 1"),
        pytest.param(item_with(quantity=10_000), id="quantity 10,000"),
        pytest.param(item_with(quantity=7.0), id="quantity 7.0, as PHP writes 7"),
        pytest.param(body_with(orderItems=[new_item()] * 500), id="500 items"),
        pytest.param(item_with(enableFeedbackLink=False), id="no feedback link"),
        pytest.param(item_with(feedbackLinkUri="http://example.com"), id="http"),
        pytest.param(item_with(feedbackLinkUri="HTTPS://EXAMPLE.COM/ü"), id="scheme in upper case"),
        pytest.param(item_with(featureSetId=STANDARD.id.upper()), id="feature set in upper case"),
        pytest.param(
            item_with(**dict.fromkeys([*OPTIONAL_TEXTS, "feedbackLinkUri"], "")), id="optional texts may be empty"
        ),
        pytest.param(item_with(feedbackLinkUri="https://[2001:db8::1]:8080?a[]=100%"), id="link to an IPv6 host"),
        pytest.param(body_with(orderItems=[new_item(), new_item()]), id="the same feature set twice"),
        pytest.param(body_with(contactEmail="a@b.example", emailKeys=True), id="keys mailed"),
    ],
)
def test_accepted(client: Client, body: Any) -> None:
    """Values up to and including the limits are accepted."""
    reply = client.post(target("orders"), body)

    assert (reply.status, reply.json["orderStatus"]) == (201, "New")


REFUSED: dict[str, tuple[Any, tuple[str, str]]] = {
    "no reference": (body_with(purchaseOrderReference=LEAVE_OUT), ("/purchaseOrderReference", "required")),
    "null reference": (body_with(purchaseOrderReference=None), ("/purchaseOrderReference", "invalid_type")),
    "empty reference": (body_with(purchaseOrderReference=""), ("/purchaseOrderReference", "invalid_length")),
    "reference of 101": (body_with(purchaseOrderReference="x" * 101), ("/purchaseOrderReference", "invalid_length")),
    "reference a number": (body_with(purchaseOrderReference=1), ("/purchaseOrderReference", "invalid_type")),
    "no emailKeys": (body_with(emailKeys=LEAVE_OUT), ("/emailKeys", "required")),
    "null emailKeys": (body_with(emailKeys=None), ("/emailKeys", "invalid_type")),
    "emailKeys 1": (body_with(emailKeys=1), ("/emailKeys", "invalid_type")),
    "emailKeys 0": (body_with(emailKeys=0), ("/emailKeys", "invalid_type")),
    "emailKeys 'true'": (body_with(emailKeys="true"), ("/emailKeys", "invalid_type")),
    "no contactEmail to mail keys to": (body_with(emailKeys=True), ("/contactEmail", "required")),
    "null contactEmail to mail keys to": (body_with(emailKeys=True, contactEmail=None), ("/contactEmail", "required")),
    "contactEmail a number": (body_with(contactEmail=1), ("/contactEmail", "invalid_type")),
    "no items": (body_with(orderItems=LEAVE_OUT), ("/orderItems", "required")),
    "null items": (body_with(orderItems=None), ("/orderItems", "invalid_type")),
    "empty items": (body_with(orderItems=[]), ("/orderItems", "invalid_length")),
    "501 items": (body_with(orderItems=[new_item()] * 501), ("/orderItems", "invalid_length")),
    "items no list": (body_with(orderItems=new_item()), ("/orderItems", "invalid_type")),
    "item null": (body_with(orderItems=[None]), ("/orderItems/0", "invalid_type")),
    "item a list": (body_with(orderItems=[[]]), ("/orderItems/0", "invalid_type")),
    "no feature set": (item_with(featureSetId=LEAVE_OUT), (ITEM + "featureSetId", "required")),
    "null feature set": (item_with(featureSetId=None), (ITEM + "featureSetId", "invalid_type")),
    "feature set no UUID": (item_with(featureSetId="x"), (ITEM + "featureSetId", "invalid_format")),
    "feature set a number": (item_with(featureSetId=1), (ITEM + "featureSetId", "invalid_type")),
    "an unknown feature set": (
        item_with(featureSetId="99999999-0000-4000-8000-000000000009"),
        (ITEM + "featureSetId", "not_offered"),
    ),
    "feature set another unit has": (item_with(featureSetId=FOREIGN_ONLY.id), (ITEM + "featureSetId", "not_offered")),
    "a product instead": (item_with(featureSetId=AZ_300.id), (ITEM + "featureSetId", "not_offered")),
    "no quantity": (item_with(quantity=LEAVE_OUT), (ITEM + "quantity", "required")),
    "null quantity": (item_with(quantity=None), (ITEM + "quantity", "invalid_type")),
    "quantity 0": (item_with(quantity=0), (ITEM + "quantity", "out_of_range")),
    "quantity -1": (item_with(quantity=-1), (ITEM + "quantity", "out_of_range")),
    "quantity 10,001": (item_with(quantity=10_001), (ITEM + "quantity", "out_of_range")),
    "quantity '1'": (item_with(quantity="1"), (ITEM + "quantity", "invalid_type")),
    "quantity '1.0'": (item_with(quantity="1.0"), (ITEM + "quantity", "invalid_type")),
    "quantity 10,001.0": (item_with(quantity=10_001.0), (ITEM + "quantity", "out_of_range")),
    "quantity 1.5": (item_with(quantity=1.5), (ITEM + "quantity", "invalid_type")),
    "quantity true": (item_with(quantity=True), (ITEM + "quantity", "invalid_type")),
    "quantity a list": (item_with(quantity=[1]), (ITEM + "quantity", "invalid_type")),
    "link enabled by 1": (item_with(enableFeedbackLink=1), (ITEM + "enableFeedbackLink", "invalid_type")),
    "link enabled by 'true'": (item_with(enableFeedbackLink="true"), (ITEM + "enableFeedbackLink", "invalid_type")),
    "unknown field": (body_with(currency="GBP"), ("/currency", "unknown_field")),
    "unknown field of an item": (item_with(price=1), (ITEM + "price", "unknown_field")),
    "name in another case": (body_with(EmailKeys=True), ("/EmailKeys", "unknown_field")),
    "pointer is escaped": (body_with(**{"a/b~c": 1}), ("/a~1b~0c", "unknown_field")),
    **{
        f"{name} a number": (item_with(**{name: 1}), (ITEM + name, "invalid_type"))
        for name in (*OPTIONAL_TEXTS, "feedbackLinkUri")
    },
    **{
        f"feedbackLinkUri {uri!r}": (item_with(feedbackLinkUri=uri), (ITEM + "feedbackLinkUri", "invalid_format"))
        for uri in (
            "example.com",
            "/feedback",
            "ftp://example.com",
            "javascript:alert(1)",
            "http://",
            "http://a b",
            "http:example.com",
            "http:/example.com",
            "https:///example.com",
            "https://\\example.com",
            "https:\\\\example.com",
            "https://example.com\\@a",
            "https://a@example.com",
            "https://example.com:0",
            "https://example.com:65536",
            "https://-a.example",
            "https://a..example",
            "https://?a",
            "https://a/<b>",
            "https://a/\u2028b",
            "https://[::1",
            "Your feedback link uri",
        )
    },
}


@pytest.mark.parametrize(("body", "fault"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(client: Client, watched: Recorder, body: Any, fault: tuple[str, str]) -> None:
    """A body that breaks one rule is refused for that rule only, and nothing is written."""
    assert [fault] == refused(client, watched, body)


@pytest.mark.parametrize("value", [None, LEAVE_OUT], ids=["null", "absent"])
def test_null_means_left_out(client: Client, services: Services, value: object) -> None:
    """An optional field that is null counts as left out."""
    item = new_item(**dict.fromkeys([*OPTIONAL_TEXTS, "feedbackLinkUri", "enableFeedbackLink"], value))
    body = body_with(contactEmail=value, orderItems=[{n: v for n, v in item.items() if v is not LEAVE_OUT}])

    created = client.post(target("orders"), body)
    (line,) = services.training_orders(UK, Deadline.after(60)).lines(created.json["id"], 0, 1).items

    assert created.json["contactEmail"] == "johnsmith@example.com"
    assert [
        line.source_reference,
        line.feedback_link_uri,
        line.feedback_link_text,
        line.achievement_code,
    ] == [None] * 4
    assert line.enable_feedback_link is False


@pytest.mark.parametrize(
    "address",
    [
        "",
        "plain",
        "@example.com",
        "a@",
        "a@localhost",
        "a@b@example.com",
        "a b@example.com",
        "a@example..com",
        "a@-example.com",
        "a@exa_mple.com",
        "Someone <a@example.com>",
        "ü@example.com",
        "a@example.com\n",
        "a@" + "x" * 250 + ".example",
        "x" * 65 + "@example.com",
        "a..b@example.com",
        ".a@example.com",
        "a.@example.com",
        ".@example.com",
        '"a"@example.com',
        "a@example.com.",
    ],
)
def test_contact_email_must_be_an_address(client: Client, watched: Recorder, address: str) -> None:
    """An invalid `contactEmail` is refused, whether or not keys are to be mailed."""
    expected = [("/contactEmail", "invalid_format")]

    assert expected == refused(client, watched, body_with(contactEmail=address, emailKeys=False))
    assert expected == refused(client, watched, body_with(contactEmail=address, emailKeys=True))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param(LEAVE_OUT, ("johnsmith@example.com", "John", "Smith"), id="absent: the token's user"),
        pytest.param("johnsmith@example.com", ("johnsmith@example.com", "John", "Smith"), id="the user's own"),
        pytest.param("JohnSmith@Example.COM", ("JohnSmith@Example.COM", "John", "Smith"), id="own, in another case"),
        pytest.param("jane.doe@example.com", ("jane.doe@example.com", "Jane", "Doe"), id="a known contact"),
        pytest.param("Jane.Doe@example.com", ("Jane.Doe@example.com", "Jane", "Doe"), id="known, in another case"),
        pytest.param("who@example.com", ("who@example.com", "", ""), id="an unknown contact"),
        pytest.param("mo@example.com", ("mo@example.com", "", ""), id="a contact of another unit"),
    ],
)
def test_contact_names(client: Client, services: Services, address: Any, expected: tuple[str, str, str]) -> None:
    """The contact's names are those of the user, of the unit's contact with that address, or empty."""
    accounts = services.accounts(Deadline.after(60))
    accounts.save_contact(UK.id, "jane.doe@example.com", Contact("Jane", "Doe"))
    accounts.save_contact("11111111-0000-4000-8000-000000000001", "mo@example.com", Contact("Mo", "Other"))

    created = client.post(target("orders"), body_with(contactEmail=address)).json
    one = client.get(target(f"orders/{created['id']}")).json

    for answer in (created, one):
        assert expected == (answer["contactEmail"], answer["contactForename"], answer["contactSurname"])


def test_mistaken_reference_is_explained(client: Client) -> None:
    """A request with the answers' `purchasingOrderReference` gets the name that requests use."""
    body = body_with(purchaseOrderReference=LEAVE_OUT, purchasingOrderReference="PO-1")

    errors = client.post(target("orders"), body).json["errors"]

    assert [(error["pointer"], error["code"]) for error in errors] == [
        ("/purchaseOrderReference", "required"),
        ("/purchasingOrderReference", "unknown_field"),
    ]
    assert "purchaseOrderReference" in errors[1]["detail"]


def test_all_faults_at_once(client: Client, watched: Recorder) -> None:
    """Faults of query, headers and body are reported together, each with its place."""
    body = {
        "purchaseOrderReference": "",
        "emailKeys": True,
        "orderItems": [{"quantity": 0, "bad": 1}, {"featureSetId": "x", "quantity": "1"}, None],
        "extra": 1,
    }

    reply = client.post("/api/v2/orders?businessUnitId=x", body, headers={"Idempotency-Key": ""})

    expected = {
        ("businessUnitId", "invalid_format"),
        ("Idempotency-Key", "invalid_format"),
        ("/purchaseOrderReference", "invalid_length"),
        ("/contactEmail", "required"),
        ("/orderItems/0/featureSetId", "required"),
        ("/orderItems/0/quantity", "out_of_range"),
        ("/orderItems/0/bad", "unknown_field"),
        ("/orderItems/1/featureSetId", "invalid_format"),
        ("/orderItems/1/quantity", "invalid_type"),
        ("/orderItems/2", "invalid_type"),
        ("/extra", "unknown_field"),
    }
    assert (400, len(expected), expected) == (reply.status, len(reply.faults), set(reply.faults))
    assert watched.writes == []


def test_every_feature_set_that_is_not_offered(client: Client, watched: Recorder) -> None:
    """Each item whose feature set is not offered is reported."""
    ids = [FOREIGN_ONLY.id, STANDARD.id, AZ_300.id, ON_LINUX.id, FOREIGN_ONLY.id]

    faults = refused(client, watched, body_with(orderItems=[new_item(featureSetId=one) for one in ids]))

    assert [(f"/orderItems/{index}/featureSetId", "not_offered") for index in (0, 2, 4)] == faults


def test_two_equal_orders_are_two(client: Client) -> None:
    """Without an `Idempotency-Key` two equal creates make two orders."""
    first, second = (client.post(target("orders"), new_order()) for _ in range(2))

    assert (first.status, second.status) == (201, 201)
    assert first.json["id"] != second.json["id"]
    assert not {"Idempotent-Replayed"} & {*first.headers, *second.headers}


def test_texts_come_back_as_they_were(client: Client) -> None:
    """Text of any script is stored unchanged."""
    reference = '  Größe 🎓 \u202e"quoted" \\ </script> '

    created = client.post(target("orders"), body_with(purchaseOrderReference=reference)).json

    assert reference == client.get(target(f"orders/{created['id']}")).json["purchasingOrderReference"]
