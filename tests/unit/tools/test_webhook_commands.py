"""`ordering webhook`: the commands of operators, and the receiver for developers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

from ordering.aws.dynamodb import Update
from ordering.events.history import Event
from ordering.identity.accounts import Accounts
from ordering.webhooks.delivery import TRIES, Deliverer, Message
from ordering.webhooks.health import health_key
from ordering.webhooks.post import Poster
from ordering.webhooks.registrations import WEBHOOKS_AT_MOST, Author, Edit, secret_text, signed
from ordering.webhooks.slots import FAILURES
from ordering.webhooks.transport import Response
from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands, webhook_receiver
from ordering_tools.operations.signing import SigningKey
from ordering_tools.operations.webhook_receiver import Listener
from ordering_tools.operations.webhooks import deliverer_of, webhooks_of
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.partners import JOHN, PARTNER, SOURCE, UK

URL = "http://127.0.0.1:8787/"
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"
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
            Memory(), MemoryKms(), SigningKey("", "", {}), "", "", webhook_queue=lambda body, _: self.queue.append(body)
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
        deliverer: Deliverer = replace(deliverer_of(self.installation), post=lambda *_: Response(status))
        for body in self.queue[:]:
            self.queue.remove(body)
            deliverer.handle(body)

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
    """A webhook that was added is in the list with its types; its secret is printed only once."""
    first, secret = site.add()
    second, _ = site.add("--type", NEW, "--type", COMPLETED)
    lines = site.run("list", PARTNER.id).splitlines()

    assert secret.startswith("whsec_")
    assert [line.split()[0] for line in lines] == [first, second]
    assert lines[0].endswith(f"Z  enabled  {URL}  all types")
    assert lines[1].endswith(f"Z  enabled  {URL}  {COMPLETED}, {NEW}")
    assert secret not in site.run("list", PARTNER.id)


def test_what_cannot_be_added(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown partner, an invalid URL, an unknown type and an eleventh webhook are refused."""
    assert site.refused("add", "nobody", URL) == "there is no partner 'nobody'"
    assert "must be an absolute URL" in site.refused("add", PARTNER.id, "nonsense")
    with pytest.raises(SystemExit):
        cli.main(["webhook", "add", PARTNER.id, URL, "--type", "x"])
    assert "invalid choice: 'x'" in capsys.readouterr().err
    for _ in range(WEBHOOKS_AT_MOST):
        site.add()
    assert "the limit of 10 webhooks" in site.refused("add", PARTNER.id, URL)


def test_removed(site: Site) -> None:
    """A webhook that was removed is not listed any more, and cannot be removed again."""
    webhook, _ = site.add()
    site.run("remove", PARTNER.id, webhook)

    assert site.run("list", PARTNER.id) == ""
    assert site.refused("remove", PARTNER.id, webhook) == f"There is no webhook '{webhook}'."


def test_disabled_and_enabled(site: Site) -> None:
    """A webhook whose endpoint responded with 410 is listed as disabled; enabled, it gets the events that it missed."""
    webhook, _ = site.add()
    site.place(7)
    deliverer_of(site.installation).signal(PARTNER.id, webhook, "training#7")
    site.deliver(410)
    assert "disabled: The endpoint responded with status 410." in site.run("list", PARTNER.id)
    assert "Z  enabled  " in site.run("enable", PARTNER.id, webhook)
    site.deliver(204)

    assert [Message.from_text(body).order for body in site.queue] == ["training#7"]


def test_listed_with_the_user_who_registered_it(site: Site) -> None:
    """A webhook is listed with the users and tokens that registered it, set its URL and replaced its secret."""
    webhooks = webhooks_of(site.installation)
    webhook, _ = webhooks.register(PARTNER.id, URL, (), Author("u1", "t1"))
    assert site.run("list", PARTNER.id).endswith("all types  by user u1, token t1")
    webhooks.change(PARTNER.id, webhook.id, Edit(Author("u2", "t2")), url=f"{URL}/2")
    webhooks.replace_secret(PARTNER.id, webhook.id, Edit(Author("u3", "t3")))

    assert site.run("list", PARTNER.id).endswith(
        "by user u1, token t1  URL by user u2, token t2  secret by user u3, token t3"
    )


def test_a_partner_that_is_off(site: Site) -> None:
    """A partner that is switched off gets no events; switched on again, it gets at once those that it missed."""
    webhook, _ = site.add()
    site.place(7)
    assert cli.main(["partner", "off", PARTNER.id]) == 0
    deliverer_of(site.installation).signal(PARTNER.id, webhook, "training#7")
    site.deliver(204)
    site.queue.clear()
    assert cli.main(["partner", "on", PARTNER.id]) == 0
    assert site.read_output()[0].splitlines() == ["northwind: off", "northwind: on"]
    site.deliver(204)

    assert [Message.from_text(body).order for body in site.queue] == ["training#7"]


def test_an_unknown_partner(site: Site) -> None:
    """A partner that does not exist cannot be switched off or on, and no record is made of it."""
    assert [cli.main(["partner", word, "nobody"]) for word in ("off", "on")] == [1, 1]
    assert "there is no partner 'nobody'" in site.read_output()[1]
    assert Accounts(site.installation.accounts).partner("nobody") is None


def test_a_new_secret(site: Site) -> None:
    """A new secret differs from the old one, and is printed without other text, so that it can be piped."""
    webhook, first = site.add()
    second = site.run("secret", PARTNER.id, webhook)

    assert re.fullmatch("whsec_[A-Za-z0-9+/=]{44}", second)
    assert second != first


def test_parked_and_replayed(site: Site) -> None:
    """Parked events are listed with their order and the reason; one event or all can be sent again."""
    webhook, _ = site.add()
    site.park(webhook, 7, 8, 9)
    lines = site.run("parked", PARTNER.id, webhook).splitlines()
    event = lines[0].split()[0]

    assert len(lines) == 3
    assert {line.split("Z  ")[1] for line in lines} == {
        f"training#{order} 1  {NEW}  The endpoint responded with status 500." for order in (7, 8, 9)
    }
    assert "1 on the queue" in site.run("replay", PARTNER.id, webhook, event.upper())
    site.deliver(204)
    assert event not in site.run("parked", PARTNER.id, webhook)
    assert "2 on the queue" in site.run("replay", PARTNER.id, webhook, "--all")
    site.deliver(204)
    assert site.run("parked", PARTNER.id, webhook) == ""


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
    assert re.search(
        r"  paused until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ after 20 failures  ", site.run("list", PARTNER.id)
    )
    site.run(command, PARTNER.id, webhook)

    assert "  enabled  " in site.run("list", PARTNER.id)


def test_long_lists_are_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parked events are listed, each once, even if they are read in several pages."""
    monkeypatch.setattr("ordering_tools.operations.webhooks._PART", 2)
    webhook, _ = site.add()
    site.park(webhook, 1, 2, 3, 4, 5)
    found = [line.split()[0] for line in site.run("parked", PARTNER.id, webhook).splitlines()]

    assert (len(found), found) == (5, sorted({*found}))


def test_what_cannot_be_replayed(site: Site) -> None:
    """An invalid event id, an event that is not parked and an unknown webhook are errors; nothing is queued."""
    webhook, _ = site.add()

    assert "'x' is not a valid event id" in site.refused("replay", PARTNER.id, webhook, "x")
    assert site.refused("replay", PARTNER.id, webhook, EVENT.id) == f"There is no parked event '{EVENT.id}'."
    assert site.refused("replay", PARTNER.id, "nothing", "--all") == "There is no webhook 'nothing'."
    assert site.queue == []


# Developers -----------------------------------------------------------------------------------------------------------


@contextmanager
def listening_with(*secrets: str, answer: int = 204) -> Iterator[Listener]:
    with Listener(0, secrets, answer) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listener
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


def test_large_bodies() -> None:
    """A body that is larger than any event is refused without being read."""
    with listening_with() as listener:
        connection = HTTPConnection("127.0.0.1", listener.server_port, timeout=5)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(webhook_receiver.LARGEST_BODY + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_listening_that_cannot_begin(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is in use, or a malformed secret, ends the command with an error."""
    with listening_with() as listener:
        assert cli.main(["webhook", "listen", "--port", str(listener.server_port)]) == 1
    assert f"cannot listen on port {listener.server_port}" in capsys.readouterr().err
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
