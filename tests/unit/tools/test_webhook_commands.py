"""`ordering webhook`: the commands of operators, and the receiver for developers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import pytest
from pydantic import TypeAdapter

from ordering import values
from ordering.aws.dynamodb import Update
from ordering.contexts import event_shapes, event_types
from ordering.errors import Invalid
from ordering.events.history import Event
from ordering.events.shapes import EventEnvelope
from ordering.identity.accounts import Accounts
from ordering.webhooks.delivery import TRIES, Deliverer, Message
from ordering.webhooks.health import health_key
from ordering.webhooks.post import Poster
from ordering.webhooks.registrations import WEBHOOKS_AT_MOST, Author, Edit, secret_text, signed
from ordering.webhooks.slots import FAILURES
from ordering.webhooks.transport import Response
from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.signing import SigningKey
from ordering_tools.operations.webhook_receiver import LARGEST_MESSAGE, Listener
from ordering_tools.operations.webhooks import deliverer_of, sample_event, webhooks_of
from ordering_tools.stacks import Stack
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.partners import JOHN, PARTNER, SOURCE, UK

URL = "http://127.0.0.1:8787/"
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"
WHY = ("--reason", "ticket 17", "--yes")
CHANGES = ("remove", "enable", "secret", "replay")
KEY, OTHER = b"k" * 32, b"o" * 32
EVENT = Event(
    "99999999-0000-4000-8000-000000000009", NEW, datetime(2026, 1, 1, tzinfo=UTC), "training#7", 1, {"order": {"id": 7}}
)


@dataclass
class Site:
    """A local installation with one partner, and the command on it."""

    queue: list[str] = field(default_factory=list)
    read_output: Callable[[], Sequence[str]] = lambda: ("", "")

    def __post_init__(self) -> None:
        self.installation = Installation(
            Memory(),
            MemoryKms(),
            lambda: SigningKey("", "", {}),
            "",
            "",
            webhook_queue=lambda body, _: self.queue.append(body),
        )
        Accounts(self.installation.accounts).save_partner(PARTNER)

    def run(self, *words: str) -> str:
        """Run `ordering webhook` with arguments, and return its output."""
        assert cli.main(["webhook", *words]) == 0
        printed, errors = self.read_output()
        assert errors == ""
        return printed.strip()

    def refused(self, *words: str) -> str:
        assert cli.main(["webhook", *words]) == 1
        printed, errors = self.read_output()
        assert printed == ""
        return errors.strip()

    def add(self, *words: str) -> tuple[str, str]:
        webhook, secret = self.run("add", PARTNER.id, URL, *words).split()
        return webhook, secret

    def deliver(self, status: int) -> None:
        """Process all messages of the queue; every endpoint responds with that status."""
        deliverer: Deliverer = values.replace(deliverer_of(self.installation), post=lambda *_: Response(status))
        for body in self.queue[:]:
            self.queue.remove(body)
            deliverer.handle(body)

    def shown(self, webhook: str) -> Any:
        """What `ordering webhook show --json` prints."""
        return json.loads(self.run("show", PARTNER.id, webhook, "--json"))

    def park(self, webhook: str, *orders: int) -> None:
        for order in orders:
            self.place(order)
            self.queue.append(Message(PARTNER.id, webhook, f"training#{order}", tries=TRIES - 1).to_text())
        self.deliver(500)

    def place(self, order: int) -> None:
        moment = "2036-01-01T12:00:00.000000Z"
        raw: dict[str, Any] = {
            "id": order,
            "partner": PARTNER.id,
            "unit": {"id": UK.id, "name": UK.name},
            "user": {"id": JOHN.id},
            "source": {"id": SOURCE.id},
            "reference": "PO",
            "contact": {"forename": "J", "surname": "S", "email": "j@example.com"},
            "emailKeys": False,
            "created": moment,
            "status": "New",
            "version": 1,
            "history": [{"status": "New", "at": moment}],
        }
        self.installation.orders.put_all([{"pk": f"ORDER#training#{order}", "sk": "ORDER", "order": raw}])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    site = Site(read_output=capsys.readouterr)
    monkeypatch.setattr(commands, "reopen", lambda _: site.installation)
    return site


# Operators ------------------------------------------------------------------------------------------------------------


def test_added_and_listed(site: Site) -> None:
    """A webhook that was added is in the list, oldest first, and shown with its types; its secret is printed once."""
    first, secret = site.add()
    second, _ = site.add("--type", NEW, "--type", COMPLETED)

    assert secret.startswith("whsec_")
    assert [line.split() for line in site.run("list", PARTNER.id).splitlines()] == [
        ["webhook", "state", "url"],
        [first, "enabled", URL],
        [second, "enabled", URL],
    ]
    assert site.shown(first)["types"] == ["all types"]
    assert site.shown(second)["types"] == [COMPLETED, NEW]
    assert not any(
        secret in site.run(*words, PARTNER.id, *more) for words, more in ((["list"], ()), (["show"], (first,)))
    )


def test_what_cannot_be_added(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown partner, an invalid URL, an unknown type and an eleventh webhook are refused."""
    assert site.refused("add", "nobody", URL) == "there is no partner 'nobody'; see `ordering partner list`"
    assert "must be an absolute URL" in site.refused("add", PARTNER.id, "nonsense")
    assert cli.main(["webhook", "add", PARTNER.id, URL, "--type", "x"]) == 2
    assert "'x' is not one of" in capsys.readouterr().err
    for _ in range(WEBHOOKS_AT_MOST):
        site.add()
    assert "the limit of 10 webhooks" in site.refused("add", PARTNER.id, URL)


def test_addresses_of_a_stack(site: Site) -> None:
    """On a stack in AWS a webhook leads to a public address, with TLS, and its secret is encrypted with its own key."""
    kms = site.installation.kms
    asked: list[Any] = []

    def recorded(operation: str, request: dict[str, Any]) -> Any:
        asked.append(request.get("KeyId"))
        return kms(operation, request)

    stack = replace(site.installation, account="123456789012", kms=recorded, stack=Stack(name="shop"))
    for url in ("http://example.com/", "https://127.0.0.1/"):
        with pytest.raises(Invalid):
            webhooks_of(stack).register(PARTNER.id, url)
    webhooks_of(stack).register(PARTNER.id, "https://example.com/")
    assert asked == ["alias/shop-WebhookSecretsKey"]


@pytest.mark.parametrize("words", [("list",), *((word, "x") for word in (*CHANGES, "show", "parked", "test"))])
def test_webhooks_of_no_partner(site: Site, words: tuple[str, ...]) -> None:
    """Every command refuses a partner that does not exist."""
    command, *rest = words
    more = {"replay": ("--all",), "secret": WHY}.get(command, ())

    assert "there is no partner 'nobody'" in site.refused(command, "nobody", *rest, *more)


@pytest.mark.parametrize("command", [*CHANGES, "show", "parked", "test"])
def test_no_such_webhook(site: Site, command: str) -> None:
    """Every command refuses a webhook that does not exist."""
    more = {"replay": ("--all",), "secret": WHY}.get(command, ())

    assert site.refused(command, PARTNER.id, "nothing", *more) == "There is no webhook 'nothing'."


def test_removed(site: Site) -> None:
    """A webhook that was removed is not listed any more, and cannot be removed again; --yes agrees to it."""
    webhook, _ = site.add()
    assert "agree to it with --yes" in site.refused("remove", PARTNER.id, webhook)
    site.run("remove", PARTNER.id, webhook, "--yes")

    assert site.run("list", PARTNER.id) == "no webhooks; add one with `ordering webhook add`"
    assert site.refused("remove", PARTNER.id, webhook) == f"There is no webhook '{webhook}'."


def test_changes_are_noted(site: Site) -> None:
    """Each change of a webhook is in the audit trail, and its secrets are not."""
    webhook, secret = site.add()
    secrets = [secret, site.run("secret", PARTNER.id, webhook, *WHY)]
    site.run("enable", PARTNER.id, webhook)
    site.run("replay", PARTNER.id, webhook, "--all")
    site.run("remove", PARTNER.id, webhook, "--yes")
    found = [*entries(site.installation.accounts, f"{datetime.now(UTC):%Y-%m}")]

    assert [one.action for one in found] == [
        f"webhook {word}" for word in ("add", "secret", "enable", "replay", "remove")
    ]
    assert {one.subject for one in found[1:]} == {f"webhook {webhook} of {PARTNER.id}"}
    assert (found[1].reason, found[4].before) == ("ticket 17", {"url": URL})
    assert not any(secret in repr(found) for secret in secrets)


def test_disabled_and_enabled(site: Site) -> None:
    """A webhook whose endpoint responded with 410 is shown as disabled; enabled, it gets the events that it missed."""
    webhook, _ = site.add()
    site.place(7)
    deliverer_of(site.installation).signal(PARTNER.id, webhook, "training#7")
    site.deliver(410)
    assert site.shown(webhook)["state"] == "disabled"
    assert site.shown(webhook)["why"] == "The endpoint responded with status 410."
    assert json.loads(site.run("enable", PARTNER.id, webhook, "--json"))["state"] == "enabled"
    site.deliver(204)

    assert [Message.from_text(body).order for body in site.queue] == ["training#7"]


def test_shown_with_the_user_who_registered_it(site: Site) -> None:
    """A webhook is shown with the users and tokens that registered it, set its URL and replaced its secret."""
    webhooks = webhooks_of(site.installation)
    webhook, _ = webhooks.register(PARTNER.id, URL, (), Author("u1", "t1"))
    acts = ("registeredBy", "urlBy", "secretBy")
    assert [site.shown(webhook.id)[act] for act in acts] == ["user u1, token t1", None, None]
    webhooks.change(PARTNER.id, webhook.id, Edit(Author("u2", "t2")), url=f"{URL}/2")
    webhooks.replace_secret(PARTNER.id, webhook.id, Edit(Author("u3", "t3")))

    assert [site.shown(webhook.id)[act] for act in acts] == [f"user u{one}, token t{one}" for one in (1, 2, 3)]


def test_a_partner_that_is_disabled(site: Site) -> None:
    """A partner that is disabled gets no events; enabled again, it gets at once those that it missed."""
    webhook, _ = site.add()
    site.place(7)
    assert cli.main(["partner", "disable", PARTNER.id, *WHY]) == 0
    deliverer_of(site.installation).signal(PARTNER.id, webhook, "training#7")
    site.deliver(204)
    site.queue.clear()
    assert cli.main(["partner", "enable", PARTNER.id, *WHY]) == 0
    assert [line.split(";")[0] for line in site.read_output()[0].splitlines()] == [
        "partner northwind is disabled",
        "partner northwind is enabled",
    ]
    site.deliver(204)

    assert [Message.from_text(body).order for body in site.queue] == ["training#7"]


def test_an_unknown_partner(site: Site) -> None:
    """A partner that does not exist cannot be disabled or enabled, and no record is made of it."""
    assert [cli.main(["partner", word, "nobody", *WHY]) for word in ("disable", "enable")] == [1, 1]
    assert "there is no partner 'nobody'" in site.read_output()[1]
    assert Accounts(site.installation.accounts).partner("nobody") is None


def test_a_new_secret(site: Site) -> None:
    """A new secret differs from the old one, and is printed without other text, so that it can be piped."""
    webhook, first = site.add()
    second = site.run("secret", PARTNER.id, webhook, *WHY)

    assert re.fullmatch("whsec_[A-Za-z0-9+/=]{44}", second)
    assert second != first


def test_parked_and_replayed(site: Site) -> None:
    """Parked events are listed with their order and the reason; one event or all can be sent again."""
    webhook, _ = site.add()
    site.park(webhook, 7, 8, 9)
    lines = site.run("parked", PARTNER.id, webhook).splitlines()
    event = lines[0].split()[0]

    assert len(lines) == 9
    assert [line.strip() for line in lines[1::3]] == [f"order {order} 1  {NEW}" for order in (7, 8, 9)]
    assert {line.strip() for line in lines[2::3]} == {"The endpoint responded with status 500."}
    assert "1 on the queue" in site.run("replay", PARTNER.id, webhook, event.upper())
    site.deliver(204)
    assert event not in site.run("parked", PARTNER.id, webhook)
    assert "2 on the queue" in site.run("replay", PARTNER.id, webhook, "--all")
    site.deliver(204)
    assert site.run("parked", PARTNER.id, webhook) == "no parked events"


def test_replayed_without_some_orders(site: Site) -> None:
    """A replay of all events leaves out those of orders that the partner may not see; one of them alone is refused."""
    webhook, _ = site.add()
    site.park(webhook, 7, 8)
    Accounts(site.installation.accounts).set_active(PARTNER.id, active=False)
    event = site.run("parked", PARTNER.id, webhook).split()[0]

    assert "the partner is switched off" in site.refused("replay", PARTNER.id, webhook, event)
    lines = site.run("replay", PARTNER.id, webhook, "--all").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["0", "2"]
    assert site.queue == []


@pytest.mark.parametrize("command", ["enable", "secret"])
def test_paused(site: Site, command: str) -> None:
    """A paused webhook is listed with the end of the pause; enabling it or replacing its secret ends the pause."""
    webhook, _ = site.add()
    values = {":times": FAILURES - 1}
    update = Update(health_key(PARTNER.id, webhook), "SET failures = :times", values=values)
    site.installation.accounts.update(update)
    site.place(7)
    deliverer_of(site.installation).signal(PARTNER.id, webhook, "training#7")
    site.deliver(500)
    shown = site.shown(webhook)
    assert (shown["state"], shown["failures"]) == ("paused", 20)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", shown["pausedUntil"])
    site.run(command, PARTNER.id, webhook, *WHY)

    assert site.shown(webhook)["state"] == "enabled"


def test_long_lists_are_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parked events are listed, each once, even if they are read in several pages."""
    monkeypatch.setattr("ordering_tools.operations.webhooks._PART", 2)
    webhook, _ = site.add()
    site.park(webhook, 1, 2, 3, 4, 5)
    found = json.loads(site.run("parked", PARTNER.id, webhook, "--json"))

    assert [one["order"] for one in found] == ["1", "2", "3", "4", "5"]
    assert len({one["event"] for one in found}) == 5


def test_what_cannot_be_replayed(site: Site) -> None:
    """An invalid event id, an event that is not parked and an unknown webhook are errors; nothing is queued."""
    webhook, _ = site.add()

    assert "'x' is not a valid event id" in site.refused("replay", PARTNER.id, webhook, "x")
    assert site.refused("replay", PARTNER.id, webhook, EVENT.id) == f"There is no parked event '{EVENT.id}'."
    assert site.refused("replay", PARTNER.id, "nothing", "--all") == "There is no webhook 'nothing'."
    assert [cli.main(["webhook", "replay", PARTNER.id, webhook, *more]) for more in ((), (EVENT.id, "--all"))] == [2, 2]
    assert site.queue == []


# Developers -----------------------------------------------------------------------------------------------------------


@contextmanager
def listening_with(*secrets: str, answer: int = 204) -> Iterator[Listener]:
    with Listener(0, secrets, answer) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


def send(listener: Listener, key: bytes = KEY, *, at: datetime | None = None, body: bytes | None = None) -> int:
    """Post an event as it is posted to partners."""
    text = EVENT.to_text().encode()
    headers = signed([key], EVENT.id, at or datetime.now(UTC), text)
    poster = Poster(anywhere=True, resolve=lambda *_: ["127.0.0.1"])
    return poster.post(listener.url, headers, text if body is None else body).status


def test_verified(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that a secret verifies is printed with type, order and sequence; a duplicate is marked as such."""
    with listening_with(secret_text(OTHER), secret_text(KEY)) as listener:
        assert [send(listener), send(listener)] == [204, 204]
    first, second = capsys.readouterr().out.splitlines()

    assert re.fullmatch(rf"\d\d:\d\d:\d\d  {NEW}  order 7  sequence 1  verified", first)
    assert second.endswith("verified  duplicate")


@pytest.mark.parametrize(
    "wrong",
    [{"key": OTHER}, {"at": datetime.now(UTC) - timedelta(minutes=6)}, {"body": b"{}"}, {"body": b"\xff"}],
    ids=["another key", "long ago", "another body", "no text"],
)
def test_refused(wrong: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A message that no secret verifies is refused, and is printed as refused instead of as an event."""
    with listening_with(secret_text(KEY)) as listener:
        assert send(listener, **wrong) == 401
    printed = capsys.readouterr().out

    assert "refused: " in printed
    assert NEW not in printed


@pytest.mark.parametrize("signature", ["", "nonsense", "v1,***", "v1"])
def test_malformed_signatures(signature: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed signature is refused like a wrong one."""
    with listening_with(secret_text(KEY)) as listener:
        headers = {**signed([KEY], "m", datetime.now(UTC), b"{}"), "webhook-signature": signature}
        assert Poster(anywhere=True).post(listener.url, headers, b"{}").status == 401

    assert "refused: " in capsys.readouterr().out


def test_without_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a secret every message is accepted and printed as not verified, even if it is not an event."""
    with listening_with(answer=410) as listener:
        assert [send(listener), send(listener, body=b"[]")] == [410, 410]
    event, other = capsys.readouterr().out.splitlines()

    assert event.endswith("sequence 1  not verified (no --secret)")
    assert "not an order event  not verified" in other


def test_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    """A message of more than 1 MB is refused with 413, and all methods but POST with 405; nothing is printed."""
    with listening_with() as listener:
        assert send(listener, body=b"x" * (LARGEST_MESSAGE + 1)) == 413
        assert httpx.get(listener.url).status_code == 405

    assert capsys.readouterr().out == ""


def test_sample_events(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A test sends one signed event about an order that does not exist, and says what the endpoint responded."""
    webhook, secret = site.add("--type", COMPLETED)
    with listening_with(secret) as listener:
        webhooks_of(site.installation).change(PARTNER.id, webhook, url=listener.url)
        assert cli.main(["webhook", "test", PARTNER.id, webhook]) == 0
    received, said = capsys.readouterr().out.splitlines()

    assert received.split("  ")[1:] == [COMPLETED, "order 2147483647", "sequence 1", "verified"]
    assert re.fullmatch(rf"{listener.url} accepted event [0-9a-f-]{{36}} of type {COMPLETED} with status 204", said)
    assert [one.action for one in entries(site.installation.accounts, f"{datetime.now(UTC):%Y-%m}")][
        -1
    ] == "webhook test"


def test_sample_events_that_are_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint that refuses the event, or does not respond, fails the test, and the webhook stays as it is."""
    webhook, _ = site.add()
    with listening_with(answer=410) as listener:
        webhooks_of(site.installation).change(PARTNER.id, webhook, url=listener.url)
        assert cli.main(["webhook", "test", PARTNER.id, webhook, "--type", NEW]) == 1
    assert f"{listener.url} refused event " in capsys.readouterr().err
    assert "there was no response: the connection failed" in site.refused("test", PARTNER.id, webhook)
    assert site.shown(webhook)["state"] == "enabled"


@pytest.mark.parametrize("event_type", sorted(event_types()))
def test_sample_events_have_their_shape(event_type: str) -> None:
    """The sample of each type has the shape of its events."""
    event = json.dumps(sample_event(event_type, "northwind"))
    shape: Any = EventEnvelope[Literal[event_type], event_shapes()[event_type]]  # type: ignore[valid-type, misc] # known at run time only

    assert TypeAdapter(shape).validate_json(event)["data"]["partner"] == "northwind"


def test_listening_that_cannot_begin(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is in use, or a malformed secret, ends the command with an error."""
    with listening_with() as listener:
        assert cli.main(["webhook", "listen", "--port", str(listener.server_address[1])]) == 1
    assert f"cannot listen on port {listener.server_address[1]}" in capsys.readouterr().err
    for secret in ("whsec_", "whsec_a"):
        assert cli.main(["webhook", "listen", "--port", "0", "--secret", secret]) == 1
        assert capsys.readouterr().err == "a secret is `whsec_` followed by base64\n"


def test_listening_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints its URL, and Ctrl-C ends it with exit code 0."""

    def interrupted(_: Listener) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Listener, "serve_forever", interrupted)

    assert cli.main(["webhook", "listen", "--port", "0"]) == 0
    assert re.fullmatch(r"listening at http://127\.0\.0\.1:\d+/\n", capsys.readouterr().out)
