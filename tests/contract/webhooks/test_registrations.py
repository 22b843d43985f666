"""Partners' webhooks: what partners can register, change and read, and every refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ordering import values
from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import NoAnswer, Put, Table, Update
from ordering.book.idempotency import IdempotencyKey, IdempotencyRecords
from ordering.clock import Deadline
from ordering.contexts import event_types
from ordering.errors import Unavailable
from ordering.events.history import event_id
from ordering.principal import DealTerms, Principal
from ordering.webhooks.delivery import PARKED_KEPT, TRIES, Message
from ordering.webhooks.health import health_key
from ordering.webhooks.registrations import SECRET_OVERLAP, WEBHOOKS_AT_MOST
from ordering.webhooks.slots import FAILURES
from ordering.webhooks.transport import Response
from ordering_tools.documents import openapi
from support.aws.fake_connections import failing
from support.aws.faults import Faulty, answer_lost, interrupted
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import Client, Reply
from support.partners import CALLER, JOHN, OTHER_PARTNER, PARTNER, SOURCE, UK
from support.receiver import verifies
from support.services import Services

URL = "https://example.com/hook?from=ordering"
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"
NO_WEBHOOK, NO_EVENT = "0123456789abcdef", "99999999-0000-4000-8000-000000000009"
START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
FIELDS = ["id", "url", "types", "created", "enabled", "disabledReason", "delivery", "createdBy"]
FIELDS += ["urlChangedBy", "secretReplacedBy", "_links"]
BY_JOHN = {"userId": JOHN.id, "tokenId": "token-1"}
DEALS = values.replace(CALLER, partner="adventure", grants=("deals",), deals=DealTerms("basic"), payment_terms="card")
ECARDS = values.replace(CALLER, partner="granite", grants=("ecards",), company="granite", business_units=())


class Site:
    """The services of an empty installation, with a clock set by hand and a queue in memory."""

    def __init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.now = START
        self.queue: list[str] = []
        self.status = 204
        self.services = Services(
            self.faulty,
            "OrdersTable",
            "CatalogueTable",
            "AccountsTable",
            kms=MemoryKms(),
            webhook_secrets_key="alias/WebhookSecretsKey",
            webhook_queue=lambda body, _: self.queue.append(body),
            now=lambda: self.now,
        )
        self.services.accounts(Deadline.after(60)).save_partner(PARTNER)
        self.client = Client(self.services, values.replace(CALLER, token_id="token-1"))
        self.stranger = Client(self.services, OTHER_PARTNER)

    def register(self, client: Client | None = None, **more: Any) -> dict[str, Any]:
        reply = (client or self.client).post("/webhooks", {"url": URL, **more})
        assert reply.status == 201
        created: dict[str, Any] = reply.json
        return created

    def sign(self, webhook_id: str) -> dict[str, str]:
        webhooks = self.services.webhooks(Deadline.after(60))
        return webhooks.sign(webhooks.get(CALLER.partner, webhook_id), "m", self.now, b"x")

    def park(self, webhook_id: str, *orders: int) -> list[str]:
        """Fail each order's first event until it is parked; returns the ids of the events."""
        self.status = 500
        for order in orders:
            self._order(order)
            self._handle(Message(CALLER.partner, webhook_id, f"training#{order}", tries=TRIES - 1))
        self.queue.clear()
        return sorted(event_id(f"training#{order}", 0) for order in orders)

    def run(self, status: int = 204) -> None:
        """Handle the queued messages."""
        self.status = status
        for body in self.queue[:]:
            self.queue.remove(body)
            self._handle(Message.from_text(body))

    def _handle(self, message: Message) -> None:
        self.services.deliverer(Deadline.after(60), lambda *_: Response(self.status)).handle(message.to_text())

    def _order(self, order: int) -> None:
        raw = {
            "id": order,
            "partner": CALLER.partner,
            "unit": {"id": UK.id, "name": UK.name},
            "user": {"id": JOHN.id},
            "source": {"id": SOURCE.id},
            "reference": "PO",
            "contact": {"forename": "J", "surname": "S", "email": "j@example.com"},
            "emailKeys": False,
            "created": "2026-01-01T12:00:00.000000Z",
            "status": "New",
            "version": 1,
            "history": [{"status": "New", "at": "2026-01-01T12:00:00.000000Z"}],
        }
        item = {"pk": f"ORDER#training#{order}", "sk": "ORDER", "order": raw}
        self.services.orders(Deadline.after(60)).put_all([item])


@pytest.fixture
def site() -> Site:
    return Site()


def kind(reply: Reply) -> tuple[int, str]:
    """Check what all problem documents have in common; returns the status and the problem's name."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == reply.status
    assert reply.json["detail"].strip()
    return reply.status, reply.json["type"].rpartition("#")[2]


# Registering ----------------------------------------------------------------------------------------------------------


def test_registered(site: Site) -> None:
    """A webhook is created with a location and a secret, which verifies signatures and is not shown again."""
    reply = site.client.post("/webhooks", {"url": URL, "types": [COMPLETED, NEW]})
    created = reply.json
    secret = created.pop("secret")

    assert (reply.status, reply.headers["Location"]) == (201, f"/webhooks/{created['id']}")
    assert created == {
        "id": created["id"],
        "url": URL,
        "types": [COMPLETED, NEW],
        "created": "2026-01-01T12:00:00.000000Z",
        "enabled": True,
        "disabledReason": None,
        "delivery": {"state": "active", "failures": 0, "pausedUntil": None},
        "createdBy": BY_JOHN,
        "urlChangedBy": None,
        "secretReplacedBy": None,
        "_links": {"self": f"/webhooks/{created['id']}"},
    }
    assert list(created) == FIELDS
    assert verifies(secret, site.sign(created["id"]), b"x")
    assert site.client.get(created["_links"]["self"]).json == created
    assert site.client.get("/webhooks").json == {"items": [created]}


def test_registered_by_an_operator(site: Site) -> None:
    """A webhook that support registered, or that was registered before this was noted, names no user and no token."""
    one, _ = site.services.webhooks(Deadline.after(60)).register(CALLER.partner, URL)

    assert site.client.get(f"/webhooks/{one.id}").json["createdBy"] is None


@pytest.mark.parametrize("caller", [CALLER, DEALS, ECARDS], ids=["training", "deals", "e-cards"])
def test_partners_of_all_contracts(site: Site, caller: Principal) -> None:
    """Partners of every contract can register webhooks."""
    client = Client(site.services, caller)
    webhook = site.register(client)

    assert [one["id"] for one in client.get("/webhooks").json["items"]] == [webhook["id"]]


@pytest.mark.parametrize(("method", "path"), [("GET", "/webhooks"), ("POST", "/webhooks"), ("DELETE", "/webhooks/x")])
def test_narrowed_tokens(site: Site, method: str, path: str) -> None:
    """A token that covers only part of a partner's orders cannot use webhooks."""
    narrow = Client(site.services, values.replace(CALLER, narrowed=True))
    body = {"url": URL} if method == "POST" else None

    assert kind(narrow.request(method, path, body=body)) == (403, "narrowed-token")
    assert site.client.get("/webhooks").json == {"items": []}


def test_all_types_unless_some_are_named(site: Site) -> None:
    """A webhook without types, or with an empty list, gets all types."""
    assert [site.register()["types"], site.register(types=[])["types"]] == [[], []]
    assert site.register(types=sorted(event_types()))["types"] == sorted(event_types())


def test_oldest_first(site: Site) -> None:
    """Webhooks are listed in the order of their registration."""
    made = []
    for _ in range(WEBHOOKS_AT_MOST):
        made.append(site.register()["id"])
        site.now += timedelta(seconds=1)

    assert [one["id"] for one in site.client.get("/webhooks").json["items"]] == made


def test_ten_at_most(site: Site) -> None:
    """The eleventh webhook is 409 with advice; removing one makes room."""
    made = [site.register()["id"] for _ in range(WEBHOOKS_AT_MOST)]
    reply = site.client.post("/webhooks", {"url": URL})

    assert kind(reply) == (409, "too-many-webhooks")
    assert "The partner has reached the limit of 10 webhooks" in reply.json["detail"]
    assert "Remove a webhook" in reply.json["detail"]
    assert site.stranger.post("/webhooks", {"url": URL}).status == 201
    site.client.delete(f"/webhooks/{made[3]}")
    assert site.client.post("/webhooks", {"url": URL}).status == 201
    assert site.client.post("/webhooks", {"url": URL}).status == 409


REFUSED = {
    "no TLS": "http://example.com/",
    "another port": "https://example.com:8443/",
    "a private address": "https://10.0.0.1/",
    "the loopback address": "https://127.0.0.1/",
    "the loopback address of IPv6": "https://[::1]/",
    "the metadata service": "https://169.254.169.254/latest/meta-data",
    "no full name": "https://localhost/",
    "a user": "https://me:hush@example.com/",
    "a fragment": "https://example.com/#hush",
    "no URL": "hush",
    "nothing": "",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_urls_that_are_not_allowed(site: Site, method: str, url: str) -> None:
    """A URL that is not allowed is reported by field, without being repeated."""
    path = "/webhooks" if method == "POST" else site.register()["_links"]["self"]
    reply = site.client.request(method, path, body={"url": url})

    assert (kind(reply), reply.faults) == ((400, "invalid-request"), [("/url", "not_allowed")])
    assert "hush" not in reply.text
    assert reply.json["errors"][0]["detail"].startswith("The URL must")


def test_anywhere_in_a_local_run(site: Site) -> None:
    """In a local run a webhook may use the same machine and plain HTTP."""
    local = Client(replace(site.services, local=True), CALLER)

    assert local.post("/webhooks", {"url": "http://127.0.0.1:8787/"}).status == 201
    assert local.post("/webhooks", {"url": "nonsense"}).faults == [("/url", "not_allowed")]


BODIES: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "no JSON": ("{", [("", "malformed_json")]),
    "a list": ([], [("", "invalid_type")]),
    "a URL that is no text": ({"url": 1}, [("/url", "invalid_type")]),
    "no URL": ({"url": None}, [("/url", "invalid_type")]),
    "a very long URL": ({"url": f"https://example.com/{'x' * 2048}"}, [("/url", "invalid_length")]),
    "a surrogate": ('{"url": "\\ud800"}', [("", "malformed_json")]),
    "an unknown type": ({"url": URL, "types": [NEW, "x"]}, [("/types/1", "unknown_type")]),
    "a type that is no text": ({"url": URL, "types": [1]}, [("/types/0", "invalid_type")]),
    "a very long type": ({"url": URL, "types": ["x" * 101]}, [("/types/0", "invalid_length")]),
    "types that are no list": ({"url": URL, "types": NEW}, [("/types", "invalid_type")]),
    "types that are null": ({"url": URL, "types": None}, [("/types", "invalid_type")]),
    "very many types": ({"url": URL, "types": [NEW] * 101}, [("/types", "invalid_length")]),
    "an unknown field": ({"url": URL, "secret": "mine"}, [("/secret", "unknown_field")]),
    "several faults": (
        {"url": "x", "types": ["y", "z"]},
        [("/url", "not_allowed"), ("/types/0", "unknown_type"), ("/types/1", "unknown_type")],
    ),
}


@pytest.mark.parametrize(("body", "faults"), BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_bad_bodies(site: Site, method: str, body: Any, faults: list[tuple[str, str]]) -> None:
    """All invalid fields are reported with their places, and nothing is written."""
    webhook = site.register(types=[NEW])
    path = "/webhooks" if method == "POST" else webhook["_links"]["self"]
    text = body if isinstance(body, str) else json.dumps(body)
    reply = site.client.request(method, path, body=text, headers={"Content-Type": "application/json"})

    assert (kind(reply), reply.faults) == ((400, "invalid-request"), faults)
    del webhook["secret"]
    assert site.client.get("/webhooks").json == {"items": [webhook]}


def test_bodies_that_are_needed(site: Site) -> None:
    """A create requires a body with a URL, and a change requires a body."""
    link = site.register()["_links"]["self"]

    assert site.client.request("POST", "/webhooks").faults == [("", "required")]
    assert site.client.post("/webhooks", {}).faults == [("/url", "required")]
    assert site.client.request("PATCH", link).faults == [("", "required")]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_bodies_that_are_not_read(site: Site, method: str) -> None:
    """A body that is not JSON by its content type is 415, and one over a mebibyte 413."""
    path = "/webhooks" if method == "POST" else site.register()["_links"]["self"]
    text = json.dumps({"url": URL})
    as_text = site.client.request(method, path, body=text, headers={"Content-Type": "text/plain"})
    too_large = site.client.request(method, path, body=text + " " * 2**20, headers={"Content-Type": "application/json"})

    assert [kind(as_text), kind(too_large)] == [(415, "unsupported-media-type"), (413, "content-too-large")]


# Changing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ({"url": f"{URL}&2"}, {"url": f"{URL}&2", "urlChangedBy": BY_JOHN}),
        ({"url": URL}, {}),
        ({"types": [COMPLETED, COMPLETED]}, {"types": [COMPLETED]}),
        ({"types": []}, {"types": []}),
        (
            {"url": f"{URL}&2", "types": [COMPLETED]},
            {"url": f"{URL}&2", "types": [COMPLETED], "urlChangedBy": BY_JOHN},
        ),
        ({}, {}),
    ],
)
def test_changed(site: Site, body: dict[str, Any], after: dict[str, Any]) -> None:
    """A change affects only the fields it has, and does not show the secret."""
    webhook = site.register(types=[NEW])
    del webhook["secret"]
    reply = site.client.request("PATCH", webhook["_links"]["self"], body=body)

    assert (reply.status, reply.json) == (200, {**webhook, **after})
    assert site.client.get(webhook["_links"]["self"]).json == {**webhook, **after}


def test_changed_at_the_same_moment(site: Site) -> None:
    """Of two concurrent changes one is 409 and has no effect."""
    webhook = site.register()
    link = webhook["_links"]["self"]
    site.faulty.meet("PutItem", interrupted(lambda: site.client.request("PATCH", link, body={"types": [NEW]})))
    reply = site.client.post(f"{link}/secret", None)

    assert kind(reply) == (409, "changed-meanwhile")
    assert site.client.get(link).json["types"] == [NEW]
    assert verifies(webhook["secret"], site.sign(webhook["id"]), b"x")


def test_a_new_secret(site: Site) -> None:
    """A new secret is shown once and signs at once; the previous one signs for another day."""
    webhook = site.register()
    reply = site.client.post(f"{webhook['_links']['self']}/secret", None)
    first, second = webhook["secret"], reply.json["secret"]

    assert (reply.status, reply.json) == (200, {**webhook, "secretReplacedBy": BY_JOHN, "secret": second})
    assert [verifies(one, site.sign(webhook["id"]), b"x") for one in (first, second)] == [True, True]
    site.now += SECRET_OVERLAP
    assert [verifies(one, site.sign(webhook["id"]), b"x") for one in (first, second)] == [False, True]
    assert second not in site.client.get(webhook["_links"]["self"]).text


def test_removed(site: Site) -> None:
    """A removed webhook is 404, also when it is removed again."""
    link = site.register()["_links"]["self"]
    reply, again = site.client.delete(link), site.client.delete(link)

    assert (reply.status, reply.text) == (204, "")
    assert (kind(again), kind(site.client.get(link))) == ((404, "not-found"), (404, "not-found"))
    assert site.client.get("/webhooks").json == {"items": []}


def test_enabled_again(site: Site) -> None:
    """A webhook that answered 410 is shown as disabled with the reason, and after enabling gets what it missed."""
    webhook = site.register()
    site._order(7)
    site.services.deliverer(Deadline.after(60)).signal(CALLER.partner, webhook["id"], "training#7")
    site.run(410)
    link = webhook["_links"]["self"]
    disabled = site.client.get(link).json

    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "The endpoint responded with status 410.")
    enabled = site.client.post(f"{link}/enable", None)
    assert (enabled.status, enabled.json["enabled"], enabled.json["disabledReason"]) == (200, True, None)
    assert enabled.json == site.client.get(link).json
    site.run()
    assert [Message.from_text(body).order for body in site.queue] == ["training#7"]


def test_enabling_an_enabled_webhook(site: Site) -> None:
    """Enabling an enabled webhook changes nothing."""
    webhook = site.register()
    reply = site.client.post(f"{webhook['_links']['self']}/enable", None)

    del webhook["secret"]
    assert (reply.status, reply.json) == (200, webhook)


def pause(site: Site, webhook_id: str) -> None:
    """Fail as often as it takes to pause the delivery, with one order."""
    key, values = health_key(CALLER.partner, webhook_id), {":times": FAILURES - 1}
    Table(site.faulty, "AccountsTable").update(Update(key, "SET failures = :times", values=values))
    site._order(7)
    site.services.deliverer(Deadline.after(60)).signal(CALLER.partner, webhook_id, "training#7")
    site.run(500)


def test_paused(site: Site) -> None:
    """A webhook whose endpoint fails twenty times in a row is shown as paused, with the time of the next try."""
    webhook = site.register()
    pause(site, webhook["id"])
    shown = site.client.get(webhook["_links"]["self"]).json
    until = datetime.fromisoformat(shown["delivery"].pop("pausedUntil"))

    assert shown["delivery"] == {"state": "paused", "failures": FAILURES}
    assert shown["enabled"]
    assert timedelta(seconds=54) <= until - site.now <= timedelta(seconds=66)
    (listed,) = site.client.get("/webhooks").json["items"]
    assert listed["delivery"]["state"] == "paused"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/enable", None),
        ("PATCH", "", {"url": URL}),
        ("PATCH", "", {"types": [NEW]}),
        ("POST", "/secret", None),
    ],
)
def test_the_end_of_a_pause(site: Site, method: str, path: str, body: Any) -> None:
    """Enabling a paused webhook, changing it or replacing its secret ends the pause and sends what it missed."""
    webhook = site.register()
    pause(site, webhook["id"])
    site.queue.clear()
    link = webhook["_links"]["self"]
    reply = site.client.request(method, f"{link}{path}", body=body)

    assert reply.status == 200
    assert reply.json["delivery"] == {"state": "active", "failures": 0, "pausedUntil": None}
    assert site.client.get(link).json["delivery"] == reply.json["delivery"]
    assert [Message.from_text(text).missed for text in site.queue] == [True]


def test_disabled_while_paused(site: Site) -> None:
    """A webhook that was disabled while its delivery was paused is shown as disabled."""
    webhook = site.register()
    pause(site, webhook["id"])
    webhooks = site.services.webhooks(Deadline.after(60))
    webhooks.disable(webhooks.get(CALLER.partner, webhook["id"]), "The endpoint responded with status 410.")

    assert site.client.get(webhook["_links"]["self"]).json["delivery"] == {
        "state": "disabled",
        "failures": FAILURES,
        "pausedUntil": None,
    }


# Parked events --------------------------------------------------------------------------------------------------------


def test_parked(site: Site) -> None:
    """A parked event is listed with its order, the time it was parked and the reason."""
    webhook = site.register()
    site.now += timedelta(hours=1)
    (event,) = site.park(webhook["id"], 7)
    reply = site.client.get(f"{webhook['_links']['self']}/parked")

    assert (reply.status, reply.json) == (
        200,
        {
            "items": [
                {
                    "eventId": event,
                    "type": NEW,
                    "orderId": "7",
                    "sequence": 1,
                    "parked": "2026-01-01T13:00:00.000000Z",
                    "reason": "The endpoint responded with status 500.",
                }
            ],
            "_links": {},
        },
    )


def test_parts_of_the_list(site: Site) -> None:
    """Following `next` lists each parked event once, by id."""
    webhook = site.register()
    events = site.park(webhook["id"], *range(1, 8))
    link: str | None = f"{webhook['_links']['self']}/parked?_pageSize=3"
    sizes, found = [], []
    while link:
        page = site.client.get(link).json
        sizes.append(len(page["items"]))
        found += [one["eventId"] for one in page["items"]]
        link = page["_links"].get("next")

    assert (sizes, found) == ([3, 3, 1], events)
    assert site.client.get(f"{webhook['_links']['self']}/parked?_pageSize=7").json["_links"] == {}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("_pageSize=0", ("_pageSize", "out_of_range")),
        ("_pageSize=501", ("_pageSize", "out_of_range")),
        ("_pageSize=x", ("_pageSize", "invalid_type")),
        ("_pageSize=1&_pageSize=2", ("_pageSize", "repeated")),
        ("pageSize=1", ("pageSize", "unknown_parameter")),
        ("_after=x", ("_after", "invalid_format")),
        (f"_after={NO_EVENT}%23", ("_after", "invalid_format")),
    ],
)
def test_invalid_pages(site: Site, query: str, fault: tuple[str, str]) -> None:
    """An invalid page of parked events is refused by the parameter's name."""
    reply = site.client.get(f"{site.register()['_links']['self']}/parked?{query}")

    assert (kind(reply), reply.faults) == ((400, "invalid-request"), [fault])


def test_replayed(site: Site) -> None:
    """A replayed event stays parked until it is delivered, and its id is case-insensitive."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    path = f"{webhook['_links']['self']}/parked"
    reply = site.client.post(f"{path}/{event.upper()}/replay", None)

    assert (reply.status, reply.text) == (202, "")
    assert [one["eventId"] for one in site.client.get(path).json["items"]] == [event]
    site.run()
    assert site.client.get(path).json["items"] == []
    assert kind(site.client.post(f"{path}/{event}/replay", None)) == (404, "not-found")


def test_replayed_while_disabled(site: Site) -> None:
    """A replay to a disabled webhook is 409 with advice."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    webhooks = site.services.webhooks(Deadline.after(60))
    webhooks.disable(webhooks.get(CALLER.partner, webhook["id"]), "The endpoint responded with status 410.")
    reply = site.client.post(f"{webhook['_links']['self']}/parked/{event}/replay", None)

    assert kind(reply) == (409, "webhook-disabled")
    assert "Enable the webhook first" in reply.json["detail"]
    assert site.queue == []


def test_replayed_without_the_grant(site: Site) -> None:
    """A replay of an event whose order the partner may not see any more is 409 with advice."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    partner = values.replace(PARTNER, grants=frozenset({"ecards"}))
    site.services.accounts(Deadline.after(60)).save_partner(partner)
    reply = site.client.post(f"{webhook['_links']['self']}/parked/{event}/replay", None)

    assert kind(reply) == (409, "event-withheld")
    assert "Ask support" in reply.json["detail"]
    assert site.queue == []


def test_parked_too_long_ago(site: Site) -> None:
    """An event is gone 30 days after it was parked, even if the table still has it."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    site.now += PARKED_KEPT
    path = f"{webhook['_links']['self']}/parked"

    assert site.client.get(path).json["items"] == []
    assert kind(site.client.post(f"{path}/{event}/replay", None)) == (404, "not-found")


# Ownership ------------------------------------------------------------------------------------------------------------

CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PATCH", "", {"types": [NEW]}),
    ("DELETE", "", None),
    ("POST", "/secret", None),
    ("POST", "/enable", None),
    ("GET", "/parked", None),
    ("POST", f"/parked/{NO_EVENT}/replay", None),
]


@pytest.mark.parametrize(("method", "rest", "body"), CALLS)
def test_another_partner_s(site: Site, method: str, rest: str, body: Any) -> None:
    """The answer for another partner's webhook is identical to the one for an unknown webhook, and nothing changes."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    site.register(site.stranger)
    rest = rest.replace(NO_EVENT, event)
    before = site.client.get("/webhooks").json, site.sign(webhook["id"])
    theirs = site.stranger.request(method, f"/webhooks/{webhook['id']}{rest}", body=body)
    unknown = site.stranger.request(method, f"/webhooks/{NO_WEBHOOK}{rest}", body=body)

    assert (kind(theirs), kind(unknown)) == ((404, "not-found"), (404, "not-found"))
    assert unknown.text == theirs.text.replace(webhook["id"], NO_WEBHOOK)
    assert unknown.headers == theirs.headers
    assert (site.client.get("/webhooks").json, site.sign(webhook["id"])) == before
    assert site.queue == []


@pytest.mark.parametrize(("method", "rest", "body"), CALLS)
@pytest.mark.parametrize(
    "segment",
    ["-", "x", NO_WEBHOOK.upper(), f"{NO_WEBHOOK}0", f"{NO_WEBHOOK[:-1]}", f"{NO_WEBHOOK[:-1]}%23", "\u0660" * 16],
)
def test_malformed_webhook_ids(site: Site, method: str, rest: str, body: Any, segment: str) -> None:
    """A malformed webhook id is 404, without a call to a table."""
    site.register()
    site.faulty.calls.clear()
    reply = site.client.request(method, f"/webhooks/{segment}{rest}", body=body)

    assert kind(reply) == (404, "not-found")
    assert site.faulty.calls == []


@pytest.mark.parametrize("segment", ["x", "-", NO_EVENT[:-1], f"{NO_EVENT}0"])
def test_malformed_event_ids(site: Site, segment: str) -> None:
    """A malformed event id is 404, as is one that is not parked."""
    link = site.register()["_links"]["self"]
    site.faulty.calls.clear()

    assert kind(site.client.post(f"{link}/parked/{segment}/replay", None)) == (404, "not-found")
    assert site.faulty.calls == []
    assert kind(site.client.post(f"{link}/parked/{NO_EVENT}/replay", None)) == (404, "not-found")


# Other refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/webhooks", "PUT", "GET, HEAD, OPTIONS, POST"),
        (f"/webhooks/{NO_WEBHOOK}", "PUT", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        (f"/webhooks/{NO_WEBHOOK}/secret", "GET", "OPTIONS, POST"),
        (f"/webhooks/{NO_WEBHOOK}/enable", "DELETE", "OPTIONS, POST"),
        (f"/webhooks/{NO_WEBHOOK}/parked", "POST", "GET, HEAD, OPTIONS"),
        (f"/webhooks/{NO_WEBHOOK}/parked/{NO_EVENT}/replay", "GET", "OPTIONS, POST"),
    ],
)
def test_methods(site: Site, path: str, method: str, allow: str) -> None:
    """An unsupported method is 405 with the supported ones."""
    reply = site.client.request(method, path)

    assert (kind(reply), reply.headers["Allow"]) == ((405, "method-not-allowed"), allow)


def test_paths(site: Site) -> None:
    """An unknown path below a webhook is 404."""
    assert kind(site.client.get(f"/webhooks/{NO_WEBHOOK}/x")) == (404, "not-found")


@pytest.mark.parametrize(("method", "rest", "body"), [("GET", None, None), ("POST", None, {"url": URL}), *CALLS])
@pytest.mark.usefixtures("retries_without_waiting")
def test_tables_out_of_reach(site: Site, method: str, rest: str | None, body: Any) -> None:
    """If the tables do not answer in time, every call is 503 with `Retry-After` and advice to read the list first."""
    path = "/webhooks" if rest is None else f"{site.register()['_links']['self']}{rest}"
    send = failing(NoAnswer("cut"), site.faulty)
    reply = Client(replace(site.services, send=send), CALLER).request(method, path, body=body)

    assert (kind(reply), reply.headers["Retry-After"]) == ((503, "service-unavailable"), "1")
    assert "read the list" in reply.json["detail"]


def test_without_kms_or_queue(site: Site) -> None:
    """If KMS or the queue does not answer, the answer is 503, and no webhook or secret is created."""
    webhook = site.register()
    (event,) = site.park(webhook["id"], 7)
    link = webhook["_links"]["self"]

    def broken(_: str, __: int) -> None:
        raise Unavailable

    client = Client(replace(site.services, kms=unavailable, webhook_queue=broken), CALLER)
    paths = [f"{link}/secret", f"{link}/enable", f"{link}/parked/{event}/replay"]
    replies = [client.post("/webhooks", {"url": URL}), *[client.post(path, None) for path in paths]]

    assert {kind(reply) for reply in replies} == {(503, "service-unavailable")}
    assert len(site.client.get("/webhooks").json["items"]) == 1
    assert verifies(webhook["secret"], site.sign(webhook["id"]), b"x")


def test_500(site: Site) -> None:
    """A 500 reveals nothing of the failure."""
    client = Client(replace(site.services, send=failing(RuntimeError("inner"), site.faulty)), CALLER)
    reply = client.get("/webhooks")

    assert kind(reply) == (500, "internal-server-error")
    assert "inner" not in reply.text


def test_answers_that_get_lost(site: Site) -> None:
    """A create or removal whose answer from the table is lost takes effect once, and the count is right."""
    site.faulty.meet("TransactWriteItems", answer_lost)
    first = site.register()
    site.faulty.meet("TransactWriteItems", answer_lost)
    assert site.client.delete(first["_links"]["self"]).status == 204
    for _ in range(WEBHOOKS_AT_MOST):
        site.register()

    assert site.client.post("/webhooks", {"url": URL}).status == 409
    assert len(site.client.get("/webhooks").json["items"]) == WEBHOOKS_AT_MOST


# Idempotency ----------------------------------------------------------------------------------------------------------

KEYED = {"Idempotency-Key": "key-1"}


def test_replay_is_the_first_answer_byte_for_byte(site: Site) -> None:
    """A retry with the same key and body gets the first answer, its secret included, and registers nothing."""
    first = site.client.post("/webhooks", {"url": URL, "types": [NEW]}, headers=KEYED)
    site.now += timedelta(hours=24)

    again = site.client.post("/webhooks", {"types": [NEW], "url": URL}, headers={"Idempotency-Key": '"key-1"'})

    assert (first.status, "Idempotent-Replayed" in first.headers) == (201, False)
    assert (again.status, again.text) == (201, first.text)
    assert again.headers == {**first.headers, "Idempotent-Replayed": "true"}
    assert verifies(again.json["secret"], site.sign(first.json["id"]), b"x")
    assert len(site.client.get("/webhooks").json["items"]) == 1


def test_replay_at_the_limit_and_after_a_removal(site: Site) -> None:
    """A retry gets the first answer even if the partner has the most webhooks, or its webhook was removed."""
    first = site.client.post("/webhooks", {"url": URL}, headers=KEYED)
    made = [site.register()["id"] for _ in range(WEBHOOKS_AT_MOST - 1)]

    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).text == first.text
    assert kind(site.client.post("/webhooks", {"url": URL}, headers={"Idempotency-Key": "key-2"}))[0] == 409
    site.client.delete(first.json["_links"]["self"])
    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).text == first.text
    assert [one["id"] for one in site.client.get("/webhooks").json["items"]] == sorted(made)


def test_key_of_another_request(site: Site) -> None:
    """The same key with another body is 422, registers nothing, and the first still works."""
    first = site.client.post("/webhooks", {"url": URL}, headers=KEYED)

    refused = site.client.post("/webhooks", {"url": URL, "types": [NEW]}, headers=KEYED)

    assert kind(refused) == (422, "idempotency-key-reused")
    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).text == first.text
    assert len(site.client.get("/webhooks").json["items"]) == 1


def test_keys_are_a_partner_s_own(site: Site) -> None:
    """The same key of two partners registers two webhooks."""
    first = site.client.post("/webhooks", {"url": URL}, headers=KEYED).json
    other = site.stranger.post("/webhooks", {"url": URL}, headers=KEYED)

    assert "Idempotent-Replayed" not in other.headers
    assert first["id"] != other.json["id"]


def test_nothing_is_kept_for_a_refused_registration(site: Site) -> None:
    """A key whose body was refused can be used for the corrected body, and an expired key for another."""
    assert site.client.post("/webhooks", {"url": "http://example.com/"}, headers=KEYED).status == 400
    first = site.client.post("/webhooks", {"url": URL}, headers=KEYED)
    site.now += timedelta(days=8)
    anew = site.client.post("/webhooks", {"url": URL, "types": [NEW]}, headers=KEYED)

    assert [(reply.status, "Idempotent-Replayed" in reply.headers) for reply in (first, anew)] == [(201, False)] * 2


@pytest.mark.parametrize("key", [["a", "b"], ["", ""], ["ü"]], ids=["two", "empty", "not ASCII"])
def test_invalid_keys(site: Site, key: list[str]) -> None:
    """An invalid key is 400 with the header's name."""
    reply = site.client.post("/webhooks", {"url": URL}, headers={"Idempotency-Key": key})

    assert (reply.status, [place for place, _ in reply.faults]) == (400, ["Idempotency-Key"])
    assert site.client.get("/webhooks").json == {"items": []}


def test_keyed_answers_that_get_lost(site: Site) -> None:
    """A registration whose answer from the table is lost takes effect once, and a retry gets the answer."""
    site.faulty.meet("TransactWriteItems", answer_lost)
    first = site.client.post("/webhooks", {"url": URL}, headers=KEYED)

    assert first.status == 201
    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).text == first.text
    assert len(site.client.get("/webhooks").json["items"]) == 1


def test_two_at_once_under_one_key(site: Site) -> None:
    """Of two registrations under one key at the same time, one is made, and both get its answer."""
    at_once: list[Reply] = []

    def meanwhile() -> None:
        at_once.append(site.client.post("/webhooks", {"url": URL}, headers=KEYED))

    site.faulty.meet("TransactWriteItems", interrupted(meanwhile))
    second = site.client.post("/webhooks", {"url": URL}, headers=KEYED)

    assert second.text == at_once[0].text
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(site.client.get("/webhooks").json["items"]) == 1


def test_secret_replaced_under_a_key(site: Site) -> None:
    """A retry gets the same new secret, and the secret that receivers know still signs beside it."""
    known = site.register()
    path = f"{known['_links']['self']}/secret"
    first = site.client.request("POST", path, headers=KEYED)
    again = site.client.request("POST", path, headers=KEYED)

    assert (again.status, again.text) == (200, first.text)
    assert again.headers == {**first.headers, "Idempotent-Replayed": "true"}
    for secret in (known["secret"], first.json["secret"]):
        assert verifies(secret, site.sign(known["id"]), b"x")
    assert site.client.request("POST", path, headers={"Idempotency-Key": "key-2"}).text != first.text


def test_secrets_of_two_webhooks_under_one_key(site: Site) -> None:
    """The same key for another webhook's secret is 422 and changes nothing; a registration may have it too."""
    one, other = site.register(), site.register()
    site.client.request("POST", f"{one['_links']['self']}/secret", headers=KEYED)
    before = site.sign(other["id"])

    assert kind(site.client.request("POST", f"{other['_links']['self']}/secret", headers=KEYED)) == (
        422,
        "idempotency-key-reused",
    )
    assert site.sign(other["id"]) == before
    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).status == 201


def test_keyed_secrets_whose_answer_gets_lost_or_late(site: Site) -> None:
    """A lost answer of the table is one new secret; two requests under one key at once get the same."""
    known = site.register()
    path = f"{known['_links']['self']}/secret"
    site.faulty.meet("TransactWriteItems", answer_lost)
    first = site.client.request("POST", path, headers=KEYED)
    at_once: list[Reply] = []
    site.faulty.meet(
        "TransactWriteItems",
        interrupted(lambda: at_once.append(site.client.request("POST", path, headers={"Idempotency-Key": "key-2"}))),
    )
    second = site.client.request("POST", path, headers={"Idempotency-Key": "key-2"})

    assert "Idempotent-Replayed" not in first.headers
    assert site.client.request("POST", path, headers=KEYED).text == first.text
    assert (second.status, second.text) == (200, at_once[0].text)


def test_keyed_secret_of_a_changed_webhook(site: Site) -> None:
    """A webhook that another request changes at the same time is 409, and the key can be used again."""
    link = site.register()["_links"]["self"]
    site.faulty.meet(
        "TransactWriteItems", interrupted(lambda: site.client.request("PATCH", link, body={"types": [NEW]}))
    )

    assert kind(site.client.request("POST", f"{link}/secret", headers=KEYED)) == (409, "changed-meanwhile")
    assert site.client.request("POST", f"{link}/secret", headers=KEYED).status == 200


def test_stored_answers_are_sealed(site: Site) -> None:
    """The table holds no secret of a webhook in plain text, and each sealed answer opens for its own key only."""
    secret = site.client.post("/webhooks", {"url": URL}, headers=KEYED).json["secret"]
    site.client.post("/webhooks", {"url": URL}, headers={"Idempotency-Key": "key-2"})
    table = Table(site.faulty, "AccountsTable")
    first, second = (
        IdempotencyRecords(table, CALLER.partner, lambda: site.now, "webhook").key(IdempotencyKey(key, ""))
        for key in ("key-1", "key-2")
    )
    stored, other = table.get(first), table.get(second)

    assert stored
    assert other
    assert secret.encode() not in stored["answer"]
    assert b"whsec_" not in stored["answer"]
    table.put(Put({**stored, "answer": other["answer"]}))
    assert site.client.post("/webhooks", {"url": URL}, headers=KEYED).status == 500


# Answers --------------------------------------------------------------------------------------------------------------


def test_links_under_a_stage(site: Site) -> None:
    """If the request's path begins with the stage's name, so does every link, and it can be followed."""
    staged = Client(site.services, CALLER, stage="live")
    created = staged.post("/webhooks", {"url": URL})
    link = f"/live/webhooks/{created.json['id']}"
    site.park(created.json["id"], 7, 8)
    parked = staged.get(f"{link.removeprefix('/live')}/parked?_pageSize=1").json

    assert (created.headers["Location"], created.json["_links"]["self"]) == (link, link)
    assert parked["_links"]["next"].startswith(f"{link}/parked?_pageSize=1&_after=")
    assert staged.get(parked["_links"]["next"].removeprefix("/live")).json["_links"] == {}


def test_answers_must_not_be_cached(site: Site) -> None:
    """No answer may be cached."""
    link = site.register()["_links"]["self"]
    replies = [site.client.get("/webhooks"), site.client.post(f"{link}/secret", None), site.client.get("/webhooks/x")]

    assert {"no-store"} == {reply.headers["Cache-Control"] for reply in replies}


def shown(site: Site) -> Iterator[tuple[str, Any]]:
    """Answers with the names of their schemas."""
    webhook = site.register(types=[NEW])
    link = webhook["_links"]["self"]
    site.park(webhook["id"], 7, 8)
    yield "WebhookWithSecret", webhook
    yield "WebhookWithSecret", site.client.post(f"{link}/secret", None).json
    yield "Webhook", site.client.get(link).json
    yield "Webhook", site.client.request("PATCH", link, body={}).json
    yield "WebhookList", site.client.get("/webhooks").json
    yield "WebhookParkedEventList", site.client.get(f"{link}/parked?_pageSize=1").json
    yield "Problem", site.client.get("/webhooks/x").json


def test_by_the_schemas(site: Site) -> None:
    """Every answer is valid for the reference's schemas."""
    components = openapi.document()["components"]
    for name, body in shown(site):
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(body)] == []


def test_no_secret_in_logs_or_tables(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The log has neither secrets nor URLs, and the table has no secret."""
    with caplog.at_level("INFO", "ordering"):
        webhook = site.register(url="https://example.com/?token=hush")
        site.client.post("/webhooks", {"url": "https://hush@example.com"})
    logged = caplog.text + repr([vars(one) for one in caplog.records])
    memory = site.faulty._send
    assert isinstance(memory, Memory)

    assert re.search("'status': 201", logged)
    assert not any(word in logged for word in ("hush", webhook["secret"], webhook["secret"][6:]))
    assert webhook["secret"][6:] not in repr([*memory.scan("AccountsTable")])


def test_the_counter_is_no_webhook(site: Site) -> None:
    """The item that counts a partner's webhooks is not listed as a webhook."""
    site.register()
    accounts = Table(site.faulty, "AccountsTable")

    assert accounts.get((f"WEBHOOKS#{CALLER.partner}", "-")) == {
        "pk": f"WEBHOOKS#{CALLER.partner}",
        "sk": "-",
        "webhooks": 1,
    }
    assert len(site.client.get("/webhooks").json["items"]) == 1
