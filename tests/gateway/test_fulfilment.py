"""What happens after an order is taken, without anybody's doing: on the built functions, from HTTP to mails and back.

Each test has partners, a company and stock that no other test changes; those of webhooks share two partners' orders.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from standardwebhooks.webhooks import Webhook

from gateway.ecard_helpers import HUNDRED, MONTH, PARTICIPANT, WAITING, Company, bearer
from gateway.waiting import eventually
from ordering.aws.dynamodb import Put
from ordering.clock import system_clock
from ordering.identity.tokens import Claims
from ordering.mail.mailing import to_message
from ordering.mail.outbox import MailState, Outbox
from ordering.principal import BusinessUnit
from ordering.training.access_keys import PACK_SIZE
from ordering.training.catalogue import Catalogue
from ordering_tools.demo import training as demo
from ordering_tools.local.engine.mails import Mail
from support.real_stack import RealStack
from support.receiver import Received, Receiver, status, verifies

pytestmark = pytest.mark.gateway

EVENTS = Path(__file__).resolve().parents[2] / "docs" / "events"
KEY = re.compile(r"\b\w{5}(?:-\w{5}){4}\b")
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"
SEATS = 10_000
PACKS = SEATS // PACK_SIZE


@dataclass(frozen=True)
class School:
    """A partner with a business unit of its own, who orders seats and reads their keys."""

    real: RealStack
    http: httpx.Client
    address: str
    """Where its keys are mailed to."""

    def order(self, *items: dict[str, Any], **changes: Any) -> int:
        """Place an order whose keys are mailed, of one seat unless items are given; returns its id."""
        body = {
            "purchaseOrderReference": f"PO-{secrets.token_hex(4)}",
            "contactEmail": self.address,
            "emailKeys": True,
            "orderItems": [*items] or [seats(1)],
        }
        answer = self.http.post("/api/v2/orders", json={**body, **changes})
        assert answer.status_code == 201, answer.text
        order: int = answer.json()["id"]
        return order

    def status(self, order: int) -> str:
        shown: str = self.http.get(f"/api/v2/orders/{order}").json()["orderStatus"]
        return shown

    def wait(self, order: int) -> None:
        """Wait until the keys of an order are issued."""
        assert eventually(lambda: self.status(order) == "Completed"), self.status(order)

    def keys(self, order: int) -> list[str]:
        found: list[str] = []
        target: str | None = f"/api/v2/orders/{order}/keys?_pageSize=500"
        while target:
            page = self.http.get(target).json()
            found += [item["key"] for item in page["items"]]
            target = page["_links"].get("next")
        return found

    def mails(self, order: int) -> list[Mail]:
        return [mail for mail in self.real.mails_to(self.address) if f"Order number: {order}\n" in mail.text]

    def mail(self, order: int) -> Mail:
        """Wait until all is mailed that there is to mail of an order, if asked twice, and return its one mail."""
        assert eventually(lambda: self.mails(order)), "no mail"
        message = to_message(f"training#{order}")
        self.real.installation.mail_queue(message, 0)
        assert eventually(lambda: not self.real.queued("MailQueue", message))
        (mail,) = self.mails(order)
        return mail


@dataclass(frozen=True)
class Hook:
    """An address of a partner's, and what comes there."""

    http: httpx.Client
    receiver: Receiver
    id: str
    secret: str

    @property
    def received(self) -> list[Received]:
        return self.receiver.received

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.http.get(f"/webhooks/{self.id}").json()
        return shown

    def events(self, count: int, order: int | None = None) -> list[dict[str, Any]]:
        """Wait for so many messages, of one order if it is given, each of which must be as it should; return events."""

        def found() -> list[dict[str, Any]]:
            events = [self._event(message) for message in [*self.received]]
            return [event for event in events if order in {None, event["data"]["order"]["id"]}]

        assert eventually(lambda: len(found()) >= count), len(found())
        return found()

    def _event(self, message: Received) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(message.body)
        shape = json.loads((EVENTS / f"{event['type']}.v{event['version']}.json").read_text())
        Draft202012Validator(shape).validate(event)

        assert message.line == "POST /hook?from=ordering HTTP/1.1"
        assert message.headers["webhook-id"] == event["id"]
        assert verifies(self.secret, message.headers, message.body)
        assert not verifies(self.secret, message.headers, message.body + b" ")
        assert Webhook(self.secret).verify(message.body, dict(message.headers)) == event
        return event


def seats(count: int, **more: Any) -> dict[str, Any]:
    return {"featureSetId": demo.AZ_300_STANDARD.id, "quantity": count, **more}


def an_address(domain: str = "example.com") -> str:
    return f"{secrets.token_hex(4)}.quillfeather@{domain}"


def participant(domain: str = "example.com") -> dict[str, str]:
    return {**PARTICIPANT, "email": an_address(domain)}


def shown_in(mail: Mail, codes: list[str]) -> list[str]:
    """Return which codes a mail has; both its forms must have the same, and each once."""
    found = [code for code in codes if code in mail.text]

    assert [mail.text.count(code) for code in found] == [1] * len(found)
    assert [mail.html.count(code) for code in codes] == [mail.text.count(code) for code in codes]
    return found


@pytest.fixture(scope="module")
def schools(real: RealStack) -> Iterator[Callable[[], School]]:
    """Make schools that have ordered nothing yet."""
    with ExitStack() as closing:

        def add() -> School:
            unit = BusinessUnit(str(uuid.uuid4()), "School")
            partner = replace(demo.partners()[0], id=f"school-{secrets.token_hex(4)}", business_units=(unit,))
            real.accounts.save_partner(partner)
            Catalogue(real.installation.catalogue, unit.id).publish([(demo.AZ_300, (demo.AZ_300_STANDARD,))])
            claims = Claims(secrets.token_urlsafe(16), partner.id, demo.JOHN.id, system_clock() + demo.VALID, None)
            headers = bearer(real.installation.signer.issue(claims))
            http = httpx.Client(base_url=real.stack.base_url, headers=headers, timeout=30)
            return School(real, closing.enter_context(http), an_address())

        yield add


@pytest.fixture
def school(schools: Callable[[], School]) -> School:
    """A school that only one test uses."""
    return schools()


@dataclass(frozen=True)
class Told:
    """Two partners' orders, and the addresses that are told of them."""

    school: School
    seats: int
    """The school's order."""
    company: Company
    codes: list[str]
    """All that is in stock for the company's order."""
    willing: Hook
    slow: Hook
    """One that does not take its first message at once."""
    gone: Hook
    """One that is gone when its first message comes, and later is there."""

    @property
    def hooks(self) -> tuple[Hook, ...]:
        return self.willing, self.slow, self.gone


@pytest.fixture(scope="module")
def told(schools: Callable[[], School], companies: Callable[[int], Company]) -> Iterator[Told]:
    school, company = schools(), companies(1_000)
    codes = company.load(2)
    with ExitStack() as closing:

        def register(http: httpx.Client, *answers: int, types: tuple[str, ...] = ()) -> Hook:
            receiver = closing.enter_context(Receiver([status(code) for code in answers]))
            answer = http.post("/webhooks", json={"url": receiver.url, "types": types})
            assert answer.status_code == 201, answer.text
            return Hook(http, receiver, answer.json()["id"], answer.json()["secret"])

        willing = register(company.http, 204)
        # One type, so that one message of the queue is about the order: two at once may both try.
        slow = register(school.http, 500, 204, types=(COMPLETED,))
        gone = register(school.http, 410, 204, types=(NEW,))
        seats = school.order()
        company.made(company.card(quantity=2))
        yield Told(school, seats, company, codes, willing, slow, gone)


# Mails.


def test_keys_are_mailed(school: School) -> None:
    """Access keys are mailed once, in both forms, to whom the order names, with links where feedback is wanted."""
    link = {"feedbackLinkUri": "https://example.com/feedback?a=1&b=2", "feedbackLinkText": "How was it?"}
    unwanted = {"feedbackLinkUri": "https://example.com/unwanted", "enableFeedbackLink": False}
    quiet = school.order(emailKeys=False)
    order = school.order(
        seats(3, enableFeedbackLink=True, **link), seats(2, **unwanted), purchaseOrderReference="<PO> & Söhne"
    )
    for one in (quiet, order):
        school.wait(one)
    mail, keys = school.mail(order), school.keys(order)
    html = unescape(mail.html)
    number = 1 + next(
        index
        for index, line in enumerate(school.real.ordering("mail", "list").out.splitlines())
        if school.address in line
    )
    shown = school.real.command("mail", "show", str(number))

    assert (mail.recipients, mail.sender) == ((school.address,), "orders@ordering.example.com")
    assert school.mails(quiet) == []
    assert len({*keys}) == 5
    assert KEY.findall(mail.text) == KEY.findall(html) == keys
    for text in (mail.subject, mail.text, html):
        assert "<PO> & Söhne" in text
    for text in (mail.text, html):
        assert "How was it?" in text
        assert "https://example.com/feedback?a=1&b=2" in text
        assert "unwanted" not in text
    assert "<PO>" not in mail.html
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"To: {school.address}\n" in shown.stdout
    assert shown.stdout.strip().endswith(mail.text.strip())


def test_certificates_are_mailed(companies: Callable[[int], Company]) -> None:
    """Participants get what comes into stock, none twice, once money and stock are there; balance and stock add up."""
    company = companies(0)
    people = [participant(), participant()]
    first = company.made(company.card(quantity=3), company.card(MONTH, 2), participant=people[0])
    codes = company.load(5)
    # Only fulfilment sees that this covers the order, and further down that its certificates have come.
    company.orders.balance.top_up("first", Decimal(1_000), system_clock())
    company.wait(first, WAITING)
    second = company.made(company.card(quantity=2), participant=people[1])
    company.wait(second, "Delivered")
    codes += company.load(2, MONTH)
    company.wait(first, "Delivered")
    mails = [mail for person in people for mail in company.real.mails_to(person["email"])]
    shown = [shown_in(mail, codes) for mail in mails]

    assert company.history(first) == ["Created", "Payed", WAITING, "ReadyForDelivery", "Delivered"]
    assert company.history(second) == ["Payed", "ReadyForDelivery", "Delivered"]
    assert [(mail.recipients, len(found)) for mail, found in zip(mails, shown, strict=True)] == [
        ((people[0]["email"],), 5),
        ((people[1]["email"],), 2),
    ]
    assert sorted([*shown[0], *shown[1]]) == sorted(codes)
    assert {*codes[5:]} < {*shown[0]}
    assert (company.free(), company.free(MONTH), company.balance) == (0, 0, "101")
    assert sum(entry.amount for entry in company.orders.balance.entries()) == 101


def test_refused_mail_is_sent_again(company: Company) -> None:
    """What SES refused stays with the order, until an operator has it mailed again."""
    codes = company.load(1)
    person = participant("outside.test")
    with company.real.sandbox():
        order = company.made(participant=person)
        company.wait_refused(order)
        refused = company.status(order), company.real.mails_to(person["email"])
    again = company.real.ordering("mail", "again", company.id, order["id"])
    company.wait(order, "Delivered")
    (mail,) = company.real.mails_to(person["email"])

    assert refused == ("ReadyForDelivery", [])
    assert (again.code, again.out) == (0, f"mail 1 of ecards#{company.id}#{order['id']} is on the queue")
    assert shown_in(mail, codes) == codes


# Webhooks.


def test_webhook_is_told(told: Told) -> None:
    """Each move of an order is posted once and in order, signed, and as its schema has it."""
    events = told.willing.events(3)

    assert [event["type"].rpartition(".")[2] for event in events] == ["payed", "ready_for_delivery", "delivered"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert {event["data"]["partner"] for event in events} == {told.company.id}
    assert [event["data"]["order"]["status"] for event in events] == ["Payed", "ReadyForDelivery", "Delivered"]


def test_webhook_that_is_gone(told: Told) -> None:
    """One that answers 410 is sent nothing more, until it is enabled; then it gets what it missed."""
    told.gone.events(1)
    assert eventually(lambda: not told.gone.shown()["enabled"])
    told.school.wait(told.seats)
    missed = told.school.order()
    told.school.wait(missed)
    disabled = told.gone.shown()
    assert eventually(lambda: not told.school.real.queued("WebhookQueue", told.gone.id))
    before = len(told.gone.received)
    enabled = told.gone.http.post(f"/webhooks/{told.gone.id}/enable")
    events = told.gone.events(3)

    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "The endpoint responded with status 410.")
    assert before == 1
    assert (enabled.status_code, enabled.json()["enabled"]) == (200, True)
    assert {event["type"] for event in events} == {NEW}
    assert events[0]["data"]["order"]["id"] == told.seats
    assert {event["data"]["order"]["id"] for event in events[1:]} == {told.seats, missed}


# What others tell.


def test_payment_and_stock_by_events(companies: Callable[[int], Company], tmp_path: Path) -> None:
    """An order is paid when a payment is told of and delivered when certificates are, each once if told twice."""
    company, person = companies(0), participant()
    order = company.made(participant=person)
    payment = ["event", "payment", company.id, "250.50", "--operation", "wire-1"]
    codes = [secrets.token_hex(8) for _ in range(3)]
    (tmp_path / "codes").write_text("\n".join(codes))
    stock = ["--card", str(company.stock().card_id), "--face-value", HUNDRED, "--batch", "first"]
    told = [company.real.ordering(*payment) for _ in range(2)]
    company.wait(order, WAITING)
    told += [company.real.ordering("event", "stock", str(tmp_path / "codes"), *stock) for _ in range(2)]
    company.wait(order, "Delivered")
    assert eventually(lambda: not company.real.queued("IncomingQueue", ""))
    (mail,) = company.real.mails_to(person["email"])

    assert [done.code for done in told] == [0] * 4
    assert company.history(order) == ["Created", "Payed", WAITING, "ReadyForDelivery", "Delivered"]
    assert (company.balance, company.free()) == ("150.50", 2)
    assert len(shown_in(mail, codes)) == 1
    assert not any(code in done.out for code in codes for done in told)


def test_cancellation_by_event(companies: Callable[[int], Company], school: School) -> None:
    """An order that waits is cancelled when that is asked for; one that is done stays, and the log says so."""
    company = companies(0)
    waiting, done = company.made(), school.order()
    school.wait(done)
    asked = company.real.ordering("event", "cancel", str(waiting["id"]), "--company", company.id)
    late = school.real.ordering("event", "cancel", str(done))
    event = json.loads(late.out)["Detail"]["id"]
    company.wait(waiting, "Cancelled")
    refusals = eventually(
        lambda: [json.loads(line) for line in school.real.logs.splitlines() if event in line and "refused" in line]
    )

    assert (asked.code, late.code) == (0, 0)
    assert company.history(waiting) == ["Created", "Cancelled"]
    assert [(one["message"], one["level"]) for one in refusals] == [("event refused", "WARNING")]
    assert school.status(done) == "Completed"


# What goes wrong.


@contextmanager
def unreadable(real: RealStack) -> Iterator[tuple[str, str]]:
    """Put something into the orders table that should be an order, and is none; it is gone in the end."""
    key = "ORDER#training#2147483647", "ORDER"
    real.installation.orders.put(Put({"pk": key[0], "sk": key[1], "order": "none"}))
    try:
        yield key
    finally:
        real.installation.orders.delete_all([key])


def test_unreadable_item(school: School, company: Company) -> None:
    """What fulfilment cannot read is put aside, and the stream goes on to everybody else's orders without a pause."""
    company.load(1)
    said = len(school.real.stack.printed())
    with unreadable(school.real) as key:
        seat, card = school.order(), company.made()
        school.wait(seat)
        company.wait(card, "Delivered")
        aside = eventually(lambda: school.real.queued("LaterQueue", json.dumps(key)))
        calls = [
            line
            for line in school.real.stack.printed()[said:].splitlines()
            if line.startswith("StreamFunction.Changed ")
        ]

    assert [message["Body"] for message in aside] == [json.dumps(key)]
    assert calls
    assert not [line for line in calls if "failed" in line]
    assert "ORDER#training#2147483647" in school.real.logs


def processes(real: RealStack, function: str) -> list[int]:
    """Return the processes of a function of this stack, by what only they have in their environment."""
    marks = {f"AWS_LAMBDA_FUNCTION_NAME={function}".encode(), f"AWS_ENDPOINT_URL={real.services}".encode()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if marks <= {*environment.split(b"\0")}:
            found.append(int(process.name))
    return found


def kill_if(check: Callable[[], bool], real: RealStack, function: str) -> bool:
    """Hold a function's processes where they are, and kill them if that is where they should be; says whether."""
    held, killing = processes(real, function), False
    try:
        for process in held:
            send(process, signal.SIGSTOP)
        killing = bool(held) and check()
    finally:
        for process in held:
            send(process, signal.SIGKILL if killing else signal.SIGCONT)
    return killing


def send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(process, number)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="elsewhere functions have no processes to be found")
def test_killed_in_the_middle(school: School) -> None:
    """A large order whose functions are killed at work is completed: all keys differ, and go out in one mail."""
    real, table = school.real, school.real.installation.orders
    order = school.order(seats(SEATS))
    name = f"training#{order}"

    def packs() -> int:
        return sum(1 for _ in table.query(f"KEYS#{name}", " ", "~"))

    def kill_after(count: int) -> bool:
        """Kill who issues keys as soon as there are more packs of them than that, unless all are there."""
        assert eventually(lambda: packs() > count, pause=0.005)
        return kill_if(lambda: packs() < PACKS, real, "StreamFunction")

    def is_unsent() -> bool:
        return Outbox(table).mail(name, 1).state is MailState.OPEN

    killed, seen = 0, 0
    while killed < 3 and kill_after(seen):
        killed, seen = killed + 1, min(packs(), PACKS - 1)
    # A process that must start first leaves more time to be killed before it has claimed the mail.
    kill_if(is_unsent, real, "MailsFunction")
    school.wait(order)
    assert eventually(lambda: [one for one in real.queued("MailQueue", to_message(name)) if one["ReceiveCount"]])
    assert eventually(lambda: kill_if(is_unsent, real, "MailsFunction"), pause=0.005)
    # What the queue does by itself after six minutes.
    real.installation.mail_queue(to_message(name), 0)
    assert eventually(lambda: school.mails(order))
    assert eventually(lambda: len(real.queued("MailQueue", to_message(name))) == 1)
    keys = school.keys(order)
    (mail,) = school.mails(order)

    assert killed
    assert len({*keys}) == len(keys) == SEATS
    assert KEY.findall(mail.text) == keys


def test_webhook_that_is_slow(told: Told) -> None:
    """What is not taken comes again after a pause, the same and signed anew."""
    events = told.slow.events(2, told.seats)
    first, again = (message for message in told.slow.received if message.headers["webhook-id"] == events[0]["id"])

    assert [event["type"] for event in events] == [COMPLETED, COMPLETED]
    assert first.body == again.body
    assert int(again.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 7
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]


# What is written down of it.


def test_nothing_secret_in_the_logs(told: Told) -> None:
    """No key, certificate or secret, and neither people nor where webhooks lead, is in the logs or on the terminal."""
    told.school.wait(told.seats)
    told.school.mail(told.seats)
    (order,) = told.company.read("/v1/orders")["data"]
    told.company.wait(order, "Delivered")
    for hook in told.hooks:
        hook.events(1)
    keys, logs = told.school.keys(told.seats), told.school.real.logs
    people = [told.school.address, *PARTICIPANT.values(), "Quillfeather", "quillfeather"]

    assert len(keys) == 1
    assert all(hook.id in logs for hook in told.hooks)
    for secret in [*keys, *told.codes, *(hook.secret for hook in told.hooks), *people, "/hook?", "from=ordering"]:
        assert secret not in logs
