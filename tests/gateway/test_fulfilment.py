"""Asynchronous work after an order, on the built functions: from HTTP to mails, webhooks and events.

Each test has partners, a company and stock of its own; the tests of webhooks share two partners' orders.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any, Self

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
from ordering.values import replace
from ordering_tools.demo import training as demo
from ordering_tools.local.engine.engine import connect
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
class TrainingPartner:
    """A partner with a business unit of its own, who orders seats and reads their keys."""

    real: RealStack
    http: httpx.Client
    address: str
    """The recipient of its keys."""

    def order(self, *items: dict[str, Any], **changes: Any) -> int:
        """Place an order of one seat, or of these items, whose keys are mailed; returns its id."""
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
        """Request an order's mail a second time, wait until that is handled, and return the only mail."""
        assert eventually(lambda: self.mails(order)), "no mail"
        message = to_message(f"training#{order}")
        self.real.installation.mail_queue(message, 0)
        assert eventually(lambda: not self.real.queued("MailQueue", message))
        (mail,) = self.mails(order)
        return mail


@dataclass(frozen=True)
class Hook:
    """A partner's webhook, and the messages it received."""

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
        """Wait for this many messages, of one order if given, check each, and return their events."""

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
    """The codes that a mail has; checks that both forms have the same codes, each once."""
    found = [code for code in codes if code in mail.text]

    assert [mail.text.count(code) for code in found] == [1] * len(found)
    assert [mail.html.count(code) for code in codes] == [mail.text.count(code) for code in codes]
    return found


@pytest.fixture(scope="module")
def training_partners(real: RealStack) -> Iterator[Callable[[], TrainingPartner]]:
    """Creates training partners without orders."""
    with ExitStack() as closing:

        def add() -> TrainingPartner:
            unit = BusinessUnit(str(uuid.uuid4()), "Training")
            partner = replace(demo.NORTHWIND, id=f"training-{secrets.token_hex(4)}", business_units=(unit,))
            real.accounts.save_partner(partner)
            Catalogue(real.installation.catalogue, unit.id).publish([(demo.AZ_300, (demo.AZ_300_STANDARD,))])
            claims = Claims(secrets.token_urlsafe(16), partner.id, demo.JOHN.id, system_clock() + demo.VALID, None)
            headers = bearer(real.installation.signer.issue(claims))
            http = httpx.Client(base_url=real.stack.base_url, headers=headers, timeout=30)
            return TrainingPartner(real, closing.enter_context(http), an_address())

        yield add


@pytest.fixture
def training_partner(training_partners: Callable[[], TrainingPartner]) -> TrainingPartner:
    """A training partner for one test only."""
    return training_partners()


@dataclass(frozen=True)
class Notified:
    """Two partners' orders, and the webhooks that are notified of them."""

    training_partner: TrainingPartner
    seats: int
    """The id of the training partner's order."""
    company: Company
    codes: list[str]
    """The certificates in stock for the company's order."""
    willing: Hook
    slow: Hook
    """A webhook that answers its first message with 500."""
    gone: Hook
    """A webhook that answers its first message with 410, and later ones with 204."""

    @property
    def hooks(self) -> tuple[Hook, ...]:
        return self.willing, self.slow, self.gone


@pytest.fixture(scope="module")
def notified(
    training_partners: Callable[[], TrainingPartner], companies: Callable[[int], Company]
) -> Iterator[Notified]:
    training_partner, company = training_partners(), companies(1_000)
    codes = company.load(2)
    with ExitStack() as closing:

        def register(http: httpx.Client, *answers: int, types: tuple[str, ...] = ()) -> Hook:
            receiver = closing.enter_context(Receiver([status(code) for code in answers], shared=True))
            answer = http.post("/webhooks", json={"url": receiver.url, "types": types})
            assert answer.status_code == 201, answer.text
            return Hook(http, receiver, answer.json()["id"], answer.json()["secret"])

        willing = register(company.http, 204)
        # One type, so that one message of the queue is about the order: of two, both could try at once.
        slow = register(training_partner.http, 500, 204, types=(COMPLETED,))
        gone = register(training_partner.http, 410, 204, types=(NEW,))
        seats = training_partner.order()
        company.made(company.card(quantity=2))
        yield Notified(training_partner, seats, company, codes, willing, slow, gone)


# Mails.


def test_an_order_is_followed_in_the_log(training_partner: TrainingPartner) -> None:
    """`ordering logs` shows the steps of an order's work, each with its function, and finds the create's request."""
    order = training_partner.order()
    training_partner.wait(order)
    training_partner.mail(order)
    logs = training_partner.real.ordering

    def steps() -> list[tuple[str, str]]:
        shown = json.loads(logs("logs", str(order), "--json").out)
        return [(line["function"], line["message"]) for line in shown]

    expected = {
        ("TrainingOrders", "request"),
        ("Stream", "order moved"),
        ("Stream", "events published"),
        ("Mails", "mail sent"),
    }
    assert eventually(lambda: expected <= {*steps()}), steps()
    lines = json.loads(logs("logs", str(order), "--json").out)
    (created,) = (line["request"] for line in lines if line.get("route") == "POST /api/v2/orders")
    followed = json.loads(logs("logs", "--request", created, "--json").out)
    assert {("Access", "access"), *expected} <= {(line["function"], line["message"]) for line in followed}
    of_request = logs("logs", "--request", created)
    assert f"all about the order: ordering logs 'training#{order}'" in of_request.out


def test_lost_records_are_found_by_a_scan(training_partner: TrainingPartner) -> None:
    """A dead letter whose records the stream does not have is replayed by a scan; finished work is not done again."""
    order = training_partner.order()
    training_partner.wait(order)
    training_partner.mail(order)
    real = training_partner.real
    times = ("approximateArrivalOfFirstRecord", "approximateArrivalOfLastRecord")
    numbers = {"startSequenceNumber": "0" * 20 + "1", "endSequenceNumber": "0" * 20 + "2", "batchSize": 2}
    batch = {"streamArn": "arn:aws:dynamodb:us-east-1:000000000000:table/gone/stream/1", "shardId": "x" * 28, **numbers}
    batch |= dict.fromkeys(times, f"{system_clock():%Y-%m-%dT%H:%M:%SZ}")
    request = {"functionArn": "f", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6}
    body = json.dumps({"requestContext": request, "DDBStreamBatchInfo": batch})
    queue = real.stack.queue("StreamDeadLetters")
    sent = connect("sqs", real.services).send_message(QueueUrl=queue, MessageBody=body)["MessageId"]

    assert "With --scan the command finds" in real.ordering("dead", "replay", sent).err
    done = real.ordering("dead", "replay", sent, "--scan", "--yes")
    assert (done.code, "items back to work" in done.out) == (0, True)
    assert eventually(lambda: not real.queued("LaterQueue", f"ORDER#training#{order}"))
    assert len(training_partner.mails(order)) == 1


def test_keys_are_mailed(training_partner: TrainingPartner) -> None:
    """Access keys are mailed once, in both forms, to the order's contact, with feedback links where enabled."""
    link = {"feedbackLinkUri": "https://example.com/feedback?a=1&b=2", "feedbackLinkText": "How was it?"}
    unwanted = {"feedbackLinkUri": "https://example.com/unwanted", "enableFeedbackLink": False}
    quiet = training_partner.order(emailKeys=False)
    order = training_partner.order(
        seats(3, enableFeedbackLink=True, **link), seats(2, **unwanted), purchaseOrderReference="<PO> & Söhne"
    )
    for one in (quiet, order):
        training_partner.wait(one)
    mail, keys = training_partner.mail(order), training_partner.keys(order)
    html = unescape(mail.html)
    listed = json.loads(training_partner.real.ordering("mail", "list", "--json").out)
    number = next(row["number"] for row in listed if training_partner.address in row["to"])
    shown = training_partner.real.command("mail", "show", str(number))

    assert (mail.recipients, mail.sender) == ((training_partner.address,), "orders@ordering.example.com")
    assert training_partner.mails(quiet) == []
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
    assert f"To: {training_partner.address}\n" in shown.stdout
    assert shown.stdout.strip().endswith(mail.text.strip())


def test_certificates_are_mailed(companies: Callable[[int], Company]) -> None:
    """Participants are mailed their certificates, each once; the company reads the same ones; the accounts add up."""
    company = companies(0)
    people = [participant(), participant()]
    first = company.made(company.card(quantity=3), company.card(MONTH, 2), participant=people[0])
    codes = company.load(5)
    # Only fulfilment notices that this covers the order, and further down that its certificates were loaded.
    company.orders.balance.top_up("first", Decimal(1_000), system_clock())
    company.wait(first, WAITING)
    second = company.made(company.card(quantity=2), participant=people[1])
    company.wait(second, "Delivered")
    codes += company.load(2, MONTH)
    company.wait(first, "Delivered")
    mails = [mail for person in people for mail in company.real.mails_to(person["email"])]
    shown = [shown_in(mail, codes) for mail in mails]
    read = company.read(f"/v1/orders/{first['id']}/certificates")["data"]

    assert sorted(one["code"] for one in read) == sorted(shown[0])
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
    """Certificates of a mail that SES refused stay with the order until an operator sends it again."""
    codes = company.load(1)
    person = participant("outside.test")
    with company.real.sandbox():
        order = company.made(participant=person)
        company.wait_refused(order)
        refused = company.status(order), company.real.mails_to(person["email"])
    again = company.real.ordering("mail", "again", order["id"])
    company.wait(order, "Delivered")
    (mail,) = company.real.mails_to(person["email"])

    assert refused == ("ReadyForDelivery", [])
    assert (again.code, again.out) == (0, f"mail 1 of order {company.id}/1 is on the queue")
    assert shown_in(mail, codes) == codes


# Webhooks.


def test_webhook_is_notified(notified: Notified) -> None:
    """Each status change of an order is posted, in order, signed and valid for its schema; a duplicate has its id."""

    def by_id() -> dict[str, dict[str, Any]]:
        """The events without duplicates, at the place of the first: delivery promises at least once."""
        events: dict[str, dict[str, Any]] = {}
        for event in notified.willing.events(3):
            assert events.setdefault(event["id"], event) == event
        return events

    assert eventually(lambda: len(by_id()) == 3)
    events = [*by_id().values()]

    assert [event["type"].rpartition(".")[2] for event in events] == ["payed", "ready_for_delivery", "delivered"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert {event["data"]["partner"] for event in events} == {notified.company.id}
    assert [event["data"]["order"]["status"] for event in events] == ["Payed", "ReadyForDelivery", "Delivered"]


def test_webhook_that_answers_410(notified: Notified) -> None:
    """A webhook that answers 410 gets nothing more until it is enabled, and then what it missed."""
    notified.gone.events(1)
    assert eventually(lambda: not notified.gone.shown()["enabled"])
    notified.training_partner.wait(notified.seats)
    missed = notified.training_partner.order()
    notified.training_partner.wait(missed)
    disabled = notified.gone.shown()
    assert eventually(lambda: not notified.training_partner.real.queued("WebhookQueue", notified.gone.id))
    before = len(notified.gone.received)
    enabled = notified.gone.http.post(f"/webhooks/{notified.gone.id}/enable")
    events = notified.gone.events(3)

    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "The endpoint responded with status 410.")
    assert before == 1
    assert (enabled.status_code, enabled.json()["enabled"]) == (200, True)
    assert {event["type"] for event in events} == {NEW}
    assert events[0]["data"]["order"]["id"] == notified.seats
    assert {event["data"]["order"]["id"] for event in events[1:]} == {notified.seats, missed}


# Incoming events.


def test_payment_and_stock_by_events(companies: Callable[[int], Company], tmp_path: Path) -> None:
    """Events with a payment and certificates pay and deliver an order; duplicates change nothing."""
    company, person = companies(0), participant()
    order = company.made(participant=person)
    payment = ["dev", "event", "payment", company.id, "250.50", "--operation", "wire-1"]
    codes = [secrets.token_hex(8) for _ in range(3)]
    (tmp_path / "codes").write_text("\n".join(codes))
    stock = ["--card", str(company.stock().card_id), "--face-value", HUNDRED, "--batch", "first"]
    done_twice = [company.real.ordering(*payment) for _ in range(2)]
    company.wait(order, WAITING)
    load = ["dev", "event", "stock", str(tmp_path / "codes"), *stock]
    done_twice += [company.real.ordering(*load) for _ in range(2)]
    company.wait(order, "Delivered")
    assert eventually(lambda: not company.real.queued("IncomingQueue", ""))
    (mail,) = company.real.mails_to(person["email"])

    assert [done.code for done in done_twice] == [0] * 4
    assert company.history(order) == ["Created", "Payed", WAITING, "ReadyForDelivery", "Delivered"]
    assert (company.balance, company.free()) == ("150.50", 2)
    assert len(shown_in(mail, codes)) == 1
    assert not any(code in done.out for code in codes for done in done_twice)


def test_cancellation_by_event(companies: Callable[[int], Company], training_partner: TrainingPartner) -> None:
    """An event cancels a waiting order; for a completed one it is refused and logged."""
    company = companies(0)
    waiting, done = company.made(), training_partner.order()
    training_partner.wait(done)
    asked = company.real.ordering("dev", "event", "cancel", f"{company.id}/{waiting['id']}")
    late = training_partner.real.ordering("dev", "event", "cancel", str(done), "--wait", "0", "--json")
    sent = json.loads(late.out)
    event = sent["Detail"]["id"]
    company.wait(waiting, "Cancelled")
    refusals = eventually(
        lambda: [
            json.loads(line) for line in training_partner.real.logs.splitlines() if event in line and "refused" in line
        ]
    )

    assert (asked.code, late.code) == (0, 0)
    assert asked.out.splitlines()[-1] == f"order {company.id}/1 is Cancelled"
    assert sent["outcome"].startswith(f"order {done} is Completed still")
    assert company.history(waiting) == ["Created", "Cancelled"]
    assert [(one["message"], one["level"]) for one in refusals] == [("event refused", "WARNING")]
    assert training_partner.status(done) == "Completed"


# Failures.


@contextmanager
def unreadable(real: RealStack) -> Iterator[tuple[str, str]]:
    """Put an unreadable order into the table, and delete it at the end."""
    key = "ORDER#training#2147483647", "ORDER"
    real.installation.orders.put(Put({"pk": key[0], "sk": key[1], "order": "none"}))
    try:
        yield key
    finally:
        real.installation.orders.delete_all([key])


def test_unreadable_item(training_partner: TrainingPartner, company: Company) -> None:
    """An unreadable item goes to the retry queue, and the stream handles other orders without a failure."""
    company.load(1)
    # Until then, the batches of the demo's orders are counted, not printed.
    assert eventually(lambda: "done so far: " in training_partner.real.stack.printed())
    printed = len(training_partner.real.stack.printed())
    with unreadable(training_partner.real) as key:
        seat, card = training_partner.order(), company.made()
        training_partner.wait(seat)
        company.wait(card, "Delivered")
        to_retry = eventually(lambda: training_partner.real.queued("LaterQueue", json.dumps(key)))
        calls = [
            line
            for line in training_partner.real.stack.printed()[printed:].splitlines()
            if line.startswith("StreamFunction ")
        ]

    assert [message["Body"] for message in to_retry] == [json.dumps(key)]
    assert calls
    assert not [line for line in calls if "failed" in line]
    assert "ORDER#training#2147483647" in training_partner.real.logs


def running() -> list[int]:
    """All processes of this machine."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*")]


def runs(process: int, real: RealStack, function: str) -> bool:
    """Whether a process runs a function of this stack."""
    marks = {f"AWS_LAMBDA_FUNCTION_NAME={function}".encode(), f"AWS_ENDPOINT_URL={real.services}".encode()}
    try:
        environment = (Path("/proc") / str(process) / "environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return False
    return marks <= {*environment.split(b"\0")}


class Held:
    """The processes of a function, also those that start meanwhile: they run only when they are let.

    A process is stopped long before it can do anything: a thread looks at all new ones every few milliseconds.
    """

    def __init__(self, real: RealStack, function: str) -> None:
        self._real, self._function = real, function
        self._stopped: set[int] = set()
        self._first_seen: dict[int, float] = {}
        self._released = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._stop_new()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._watcher.join()
        self._send(signal.SIGCONT)

    def run(self, seconds: float) -> None:
        """Let those that were stopped run for some time."""
        self._send(signal.SIGCONT)
        time.sleep(seconds)
        self._send(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill all that are stopped."""
        self._stopped -= self._send(signal.SIGKILL)

    def _watch(self) -> None:
        while not self._released.wait(0.002):
            self._stop_new()

    def _stop_new(self) -> None:
        now = time.monotonic()
        for number in running():
            # A process has its environment a moment after it is there.
            is_new = now - self._first_seen.setdefault(number, now) < 1 and number not in self._stopped
            if is_new and runs(number, self._real, self._function):
                send(number, signal.SIGSTOP)
                self._stopped.add(number)

    def _send(self, number: signal.Signals) -> set[int]:
        """Send a signal to those that are stopped; returns their numbers."""
        stopped = {*self._stopped}
        for process in stopped:
            send(process, number)
        return stopped


def send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.kill(process, number)


def interrupted_order(partner: TrainingPartner, issuing: Held) -> tuple[int, int]:
    """Place an order of many seats, and kill the processes that issue its keys up to three times.

    They run a fiftieth of a second at a time, so that most of the keys are not there yet when the first ones are seen.

    Returns:
        The order's id, and how many times they were killed with a part of the keys issued.
    """
    order = partner.order(seats(SEATS))
    killed, seen, changed = 0, 0, time.monotonic()
    while seen < PACKS and killed < 3:
        issuing.run(0.02)
        there = packs(partner.real, order)
        if seen < there < PACKS:
            issuing.kill()
            killed += 1
            redeliver(partner.real, order)
        if there > seen:
            seen, changed = there, time.monotonic()
        assert time.monotonic() < changed + 60, f"{there} packs"
    return order, killed


def packs(real: RealStack, order: int) -> int:
    """How many packs of an order's keys are issued."""
    return sum(1 for _ in real.installation.orders.query(f"KEYS#training#{order}", " ", "~"))


def redeliver(real: RealStack, order: int) -> None:
    """Send a large order's message again, as its queue would do three minutes after a kill."""
    large, body = real.stack.queue("LargeOrdersQueue"), json.dumps([f"ORDER#training#{order}", "ORDER"])
    connect("sqs", real.services).send_message(QueueUrl=large, MessageBody=body)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="elsewhere functions have no processes to be found")
def test_killed_in_the_middle(training_partner: TrainingPartner) -> None:
    """A large order whose functions are killed at work is completed with unique keys, in one mail."""
    real, order, killed = training_partner.real, 0, 0
    # The mails of the demo's orders would wait for the processes that are held here.
    assert eventually(lambda: "done so far: " in real.stack.printed())
    with Held(real, "MailsFunction") as mailing:
        with Held(real, "StreamFunction") as issuing:
            # On a busy machine this test may wait so long that all keys of an order are issued meanwhile.
            for _ in range(5):
                order, killed = interrupted_order(training_partner, issuing)
                if killed:
                    break
        message = to_message(f"training#{order}")
        assert eventually(
            lambda: any(one["ReceiveCount"] for one in real.queued("MailQueue", message)),
            progress=lambda: packs(real, order),
        )
        assert Outbox(real.installation.orders).mail(f"training#{order}", 1).state is MailState.OPEN
        mailing.kill()
    training_partner.wait(order)
    # The queue would redeliver the message after six minutes. Deliveries that overlapped may have sent more than one.
    waiting = len(real.queued("MailQueue", message))
    real.installation.mail_queue(message, 0)
    assert eventually(lambda: training_partner.mails(order))
    assert eventually(lambda: 0 < len(real.queued("MailQueue", message)) <= waiting)
    keys = training_partner.keys(order)
    (mail,) = training_partner.mails(order)

    assert killed
    assert len({*keys}) == len(keys) == SEATS
    assert KEY.findall(mail.text) == keys


def test_webhook_that_fails_once(notified: Notified) -> None:
    """A failed message is retried after a pause, with the same body and a new signature."""
    events = notified.slow.events(2, notified.seats)
    first, again = (message for message in notified.slow.received if message.headers["webhook-id"] == events[0]["id"])

    assert [event["type"] for event in events] == [COMPLETED, COMPLETED]
    assert first.body == again.body
    assert int(again.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 7
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]


# Logs.


def test_nothing_secret_in_the_logs(notified: Notified) -> None:
    """The logs and the terminal have no key, certificate, secret, URL or personal data."""
    notified.training_partner.wait(notified.seats)
    notified.training_partner.mail(notified.seats)
    (order,) = notified.company.read("/v1/orders")["data"]
    notified.company.wait(order, "Delivered")
    for hook in notified.hooks:
        hook.events(1)
    keys, logs = notified.training_partner.keys(notified.seats), notified.training_partner.real.logs
    people = [notified.training_partner.address, *PARTICIPANT.values(), "Quillfeather", "quillfeather"]

    assert len(keys) == 1
    assert all(hook.id in logs for hook in notified.hooks)
    for secret in [
        *keys,
        *notified.codes,
        *(hook.secret for hook in notified.hooks),
        *people,
        "/hook?",
        "from=ordering",
    ]:
        assert secret not in logs
