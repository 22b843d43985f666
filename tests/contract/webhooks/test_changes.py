"""`ETag` and `If-Match` of webhooks, and who changed them: a change replaces only what its caller has read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.idempotency import IdempotencyKey, IdempotencyRecords
from ordering.clock import Deadline, system_clock
from ordering.values import replace
from ordering.webhooks.registrations import REPLACEMENT_KIND
from support.aws.faults import Faulty, answer_lost, interrupted
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import Client, Reply
from support.partners import CALLER, JOHN, PARTNER
from support.services import Services

URL = "https://example.com/hook"
NEW = "ordering.training_order.new"
ABSENT, STALE = "/webhooks/0123456789abcdef", '"99"'


def patching(body: dict[str, Any]) -> Callable[[Client, str, dict[str, Any]], Reply]:
    return lambda client, link, headers: client.request("PATCH", link, body=body, headers=headers)


CHANGES: dict[str, Callable[[Client, str, dict[str, Any]], Reply]] = {
    "types": patching({"types": [NEW]}),
    "URL": patching({"url": f"{URL}/2"}),
    "nothing": patching({}),
    "secret": lambda client, link, headers: client.request("POST", f"{link}/secret", headers=headers),
    "keyed secret": lambda client, link, headers: client.request(
        "POST", f"{link}/secret", headers={"Idempotency-Key": f"key of {link}", **headers}
    ),
    "enabled": lambda client, link, headers: client.request("POST", f"{link}/enable", headers=headers),
    "removed": lambda client, link, headers: client.request("DELETE", link, headers=headers),
}
WRITES = {"types": "PutItem", "URL": "PutItem", "secret": "PutItem", "keyed secret": "TransactWriteItems"}
EACH = pytest.mark.parametrize("change", CHANGES)
EACH_WRITE = pytest.mark.parametrize("change", WRITES)


class Site:
    """An installation whose partner has no webhooks yet."""

    def __init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.services = Services(
            self.faulty,
            "OrdersTable",
            "CatalogueTable",
            "AccountsTable",
            kms=MemoryKms(),
            webhook_secrets_key="alias/WebhookSecretsKey",
            webhook_queue=lambda *_: None,
        )
        self.services.accounts(Deadline.after(60)).save_partner(PARTNER)
        self.client = self.with_token("token-1")

    def with_token(self, token_id: str) -> Client:
        return Client(self.services, replace(CALLER, token_id=token_id))

    def register(self) -> str:
        link: str = self.client.post("/webhooks", {"url": URL}).headers["Location"]
        return link

    def tag_of(self, link: str) -> str:
        tag: str = self.client.get(link).headers["ETag"]
        return tag

    def make(self, change: str, link: str, tag: str | list[str] | None = None) -> Reply:
        return CHANGES[change](self.client, link, {} if tag is None else {"If-Match": tag})


@pytest.fixture
def site() -> Site:
    return Site()


def kind(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["type"].rpartition("#")[2]


# Versions -------------------------------------------------------------------------------------------------------------


def test_tags(site: Site) -> None:
    """Each response with one webhook has its strong tag, which each change of the webhook changes."""
    link = site.register()
    tags = [site.tag_of(link)]
    for change in WRITES:
        reply = site.make(change, link)
        assert reply.headers["ETag"] == site.tag_of(link)
        tags.append(reply.headers["ETag"])

    assert len({*tags}) == len(WRITES) + 1
    assert all(tag.startswith('"') for tag in tags)
    assert {site.make(change, link).headers["ETag"] for change in ("nothing", "URL", "enabled")} == {tags[-1]}


@pytest.mark.parametrize("key", [None, "key"])
def test_tag_of_a_registration(site: Site, key: str | None) -> None:
    """The response to a registration, and its replay, have the tag that a read of the webhook has."""
    headers = {} if key is None else {"Idempotency-Key": key}
    made = [site.client.post("/webhooks", {"url": URL}, headers=headers) for _ in range(1 if key is None else 2)]

    assert {reply.headers["ETag"] for reply in made} == {site.tag_of(made[0].headers["Location"])}


@EACH
@pytest.mark.parametrize("named", ["{tag}", ["{tag}", '"x"'], "*", None])
def test_a_change_of_what_was_read(site: Site, change: str, named: str | list[str] | None) -> None:
    """A change that names the current tag takes effect, as does one that names `*` or nothing."""
    link = site.register()
    tag = site.tag_of(link)
    sent = [one.format(tag=tag) for one in named] if isinstance(named, list) else named and named.format(tag=tag)

    assert site.make(change, link, sent).status == (204 if change == "removed" else 200)


@EACH
@pytest.mark.parametrize("named", [STALE, '"1"', 'W/"2"', '"02"', '""'])
def test_a_change_of_what_has_changed(site: Site, change: str, named: str) -> None:
    """A change that names another tag, or a weak one, is 412, says what to do, and changes nothing."""
    link = site.register()
    assert site.make("types", link).headers["ETag"] == '"2"'
    before = site.client.get(link)
    reply = site.make(change, link, named)

    assert kind(reply) == (412, "precondition-failed")
    assert "Read it again" in reply.json["detail"]
    assert site.client.get(link) == before


@EACH
def test_malformed(site: Site, change: str) -> None:
    """A field that breaks the grammar is 400 and changes nothing."""
    link = site.register()
    before = site.client.get(link)
    reply = site.make(change, link, "1")

    assert kind(reply) == (400, "invalid-request")
    assert [error["parameter"] for error in reply.json["errors"]] == ["If-Match"]
    assert site.client.get(link) == before


@EACH
@pytest.mark.parametrize("tag", [STALE, "*"])
def test_nothing_there(site: Site, change: str, tag: str) -> None:
    """A webhook that does not exist is 404, whatever tag is named (RFC 9110, 13.2.1)."""
    assert kind(site.make(change, ABSENT, tag)) == (404, "not-found")


@EACH_WRITE
def test_two_changes_at_once(site: Site, change: str) -> None:
    """Of two equal changes that have read one tag, and arrive at the same time, one takes effect, and one is 412."""
    link = site.register()
    tag = site.tag_of(link)
    replies: list[Reply] = []
    other = "secret" if change == "keyed secret" else change
    site.faulty.meet(WRITES[change], interrupted(lambda: replies.append(site.make(other, link, tag))))
    replies.append(site.make(change, link, tag))

    assert replies[0].status == 200
    assert kind(replies[1]) == (412, "precondition-failed")
    assert site.tag_of(link) == replies[0].headers["ETag"]


@EACH_WRITE
def test_a_change_whose_response_from_the_table_is_lost(site: Site, change: str) -> None:
    """A change that took effect is 200 if only the table's response was lost: its own retry does not refuse it."""
    link = site.register()
    tag = site.tag_of(link)
    site.faulty.meet(WRITES[change], answer_lost)
    reply = site.make(change, link, tag)

    assert (reply.status, reply.headers["ETag"], site.tag_of(link)) == (200, '"2"', '"2"')


def test_equal_changes_without_the_field(site: Site) -> None:
    """Two equal changes at the same time that name no tag both succeed, as both callers get what they asked for."""
    link = site.register()
    replies: list[Reply] = []
    site.faulty.meet("PutItem", interrupted(lambda: replies.append(site.make("types", link))))
    replies.append(site.make("types", link))

    assert [reply.status for reply in replies] == [200, 200]


def test_a_removal_and_a_change_at_once(site: Site) -> None:
    """A removal during which the webhook changes is 412, and the webhook stays."""
    link = site.register()
    tag = site.tag_of(link)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.make("types", link)))

    assert kind(site.make("removed", link, tag)) == (412, "precondition-failed")
    assert site.client.get(link).json["types"] == [NEW]


@EACH_WRITE
def test_a_change_and_a_removal_at_once(site: Site, change: str) -> None:
    """A change during which the webhook is removed is 412, and the webhook stays removed."""
    link = site.register()
    tag = site.tag_of(link)
    site.faulty.meet(WRITES[change], interrupted(lambda: site.make("removed", link)))

    assert kind(site.make(change, link, tag)) == (412, "precondition-failed")
    assert kind(site.client.get(link)) == (404, "not-found")


def test_a_removal_whose_response_from_the_table_is_lost(site: Site) -> None:
    """A removal that took effect is 204 if only the table's response was lost, and counts once."""
    link = site.register()
    tag = site.tag_of(link)
    site.faulty.meet("TransactWriteItems", answer_lost)

    assert site.make("removed", link, tag).status == 204
    assert [site.client.post("/webhooks", {"url": URL}).status for _ in range(11)] == [201] * 10 + [409]


def test_a_replay_of_a_replacement(site: Site) -> None:
    """A retry with the same key and the same tag gets the first response, though the webhook has another tag now."""
    link = site.register()
    tag = site.tag_of(link)
    first = site.make("keyed secret", link, tag)
    site.make("types", link)
    again = site.make("keyed secret", link, tag)

    assert (again.status, again.text) == (200, first.text)
    assert again.headers == {**first.headers, "Idempotent-Replayed": "true"}


def test_a_refused_replacement_leaves_the_key_free(site: Site) -> None:
    """A replacement that is 412 keeps nothing under its key, so the same key works with the current tag."""
    link = site.register()

    assert kind(site.make("keyed secret", link, STALE)) == (412, "precondition-failed")
    assert site.make("keyed secret", link, site.tag_of(link)).status == 200


def test_a_replay_of_an_earlier_release(site: Site) -> None:
    """The tag of a replay whose record an earlier release wrote names no version, so a change with it is refused."""
    link = site.register()
    first = site.make("keyed secret", link)
    table = Table(site.faulty, "AccountsTable")
    records = IdempotencyRecords(table, CALLER.partner, system_clock, REPLACEMENT_KIND)
    record = table.get(records.key(IdempotencyKey(f"key of {link}", "")))
    assert record
    table.put_all([{**record, "orderId": 0}])
    again = site.make("keyed secret", link)

    assert (again.text, again.headers["ETag"]) == (first.text, '"0"')
    assert kind(site.make("types", link, again.headers["ETag"])) == (412, "precondition-failed")


def test_no_copies(site: Site) -> None:
    """A read of a webhook is never 304: what its delivery notes is shown, and is no part of the version."""
    link = site.register()
    reply = site.client.request("GET", link, headers={"If-None-Match": site.tag_of(link)})

    assert (reply.status, reply.json["url"]) == (200, URL)


# Who changed it -------------------------------------------------------------------------------------------------------


def test_who_changed_it(site: Site) -> None:
    """A webhook shows who set its present URL and who replaced its secret; other changes leave both as they are."""
    link = site.register()
    CHANGES["URL"](site.with_token("token-2"), link, {})
    site.make("types", link)
    CHANGES["secret"](site.with_token("token-3"), link, {})
    CHANGES["URL"](site.with_token("token-4"), link, {})
    shown = site.client.get(link).json

    assert shown["createdBy"] == {"userId": JOHN.id, "tokenId": "token-1"}
    assert shown["urlChangedBy"] == {"userId": JOHN.id, "tokenId": "token-2"}
    assert shown["secretReplacedBy"] == {"userId": JOHN.id, "tokenId": "token-3"}
    assert site.client.get("/webhooks").json["items"] == [shown]


def test_who_replaced_it_with_a_key(site: Site) -> None:
    """A secret that was replaced with an idempotency key shows who replaced it first, and no retry."""
    link = site.register()
    CHANGES["keyed secret"](site.with_token("token-2"), link, {})
    CHANGES["keyed secret"](site.with_token("token-3"), link, {})

    assert site.client.get(link).json["secretReplacedBy"] == {"userId": JOHN.id, "tokenId": "token-2"}


def test_a_secret_that_support_replaced(site: Site) -> None:
    """A secret that support replaced names no user and no token."""
    link = site.register()
    site.make("secret", link)
    site.services.webhooks(Deadline.after(60)).replace_secret(CALLER.partner, link.rpartition("/")[2])

    assert site.client.get(link).json["secretReplacedBy"] is None
