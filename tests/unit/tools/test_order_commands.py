"""Support's commands for orders and their mails: `ordering order` and `mail`."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from ordering import values
from ordering.aws import sqs as queues
from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.dynamodb import Table, Update
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.search import SearchedBy, search
from ordering.book.unfinished import PROGRESS, is_marked
from ordering.clock import Deadline
from ordering.contexts import mailers
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProducts, NewProduct
from ordering.ecards.certificates import Certificates
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict, Unavailable
from ordering.identity.accounts import Accounts
from ordering.mail.mailing import Mailing, from_message
from ordering.mail.outbox import MailEventType, Outbox
from ordering.principal import DealTerms, User
from ordering_tools.audit import entries
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.mails import Mail as SentMail
from ordering_tools.operations import commands, mail
from ordering_tools.operations.finding import order_named
from ordering_tools.operations.orders import move_order
from ordering_tools.operations.webhooks import webhooks_of
from support.aws.faults import Faulty, interrupted
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.ses import MemorySes
from support.commands import Done, Queue, Run
from support.ecards import HUNDRED, Rewards, card, order_id
from support.gateway import REQUEST_ID
from support.orders import new_item, new_order, target
from support.partners import PARTNER, UK
from support.training import School

START = datetime(2026, 1, 1, 12, tzinfo=UTC)

ROBOT = User("robot", "R", "Obot", "robot@example.com")


def moved(run: Run, to: str, *more: str, order: str = order_id(1), company: str = "granite") -> Done:
    return run("order", "move", f"{company}/{order}", "--to", to, "--reason", "ticket 17", "--yes", *more)


def load(run: Run, path: str, batch: str = "b1", card_id: str = "1", face_value: str = "100 ₽") -> Done:
    return run("stock", "load", path, "--batch", batch, "--card", card_id, "--face-value", face_value)


# Orders -------------------------------------------------------------------------------------------------------------


def test_moved_to_the_end(company: Rewards, run: Run) -> None:
    """An order is moved by hand from paid to delivered, and each move prints the new status and count."""
    company.top_up(300)
    company.load(3)
    company.place(1, card(quantity=3))
    steps = [("ReadyForDelivery",), ("PartiallyDelivered",), ("PartiallyDelivered", "--count", "1"), ("Delivered",)]
    printed = [moved(run, *step).output.strip() for step in steps]

    assert printed == [
        "order granite/1 is ReadyForDelivery, 0 of 3 certificates handed over",
        "order granite/1 is PartiallyDelivered, 1 of 3 certificates handed over",
        "order granite/1 is PartiallyDelivered, 2 of 3 certificates handed over",
        "order granite/1 is Delivered, 3 of 3 certificates handed over",
    ]
    assert company.status() == "Delivered"


def test_several_handed_over(company: Rewards, run: Run) -> None:
    """With --count several certificates are handed over; Delivered hands over all that are left."""
    company.top_up(500)
    company.load(5)
    company.place(1, card(quantity=5))
    moved(run, "ReadyForDelivery")

    assert "3 of 5" in moved(run, "PartiallyDelivered", "--count", "3").output
    assert "has 2 left to hand over" in moved(run, "PartiallyDelivered", "--count", "3").error
    assert "5 of 5" in moved(run, "Delivered").output


def test_some_is_never_all(company: Rewards, run: Run) -> None:
    """Handing over the last certificates needs Delivered, so that no order is completed by mistake."""
    company.top_up(100)
    company.load(1)
    company.place(1, card(quantity=1))
    moved(run, "ReadyForDelivery")

    assert "to hand over all use --to Delivered" in moved(run, "PartiallyDelivered").error


def test_the_id_in_any_case(company: Rewards, run: Run) -> None:
    """An order's id can be typed in upper or lower case."""
    company.place(orderId="B5AA69DF-61A5-4D97-B1FB-4F6772DFBBEB")

    assert moved(run, "Cancelled", order="b5aa69DF-61a5-4d97-b1fb-4f6772dfbbeb").code == 0


def test_cancelled(company: Rewards, run: Run) -> None:
    """Cancelling an order refunds it; a second cancellation is refused and changes nothing."""
    company.top_up(100)
    company.place()

    assert moved(run, "Cancelled").output.splitlines() == [
        "order granite/1 is Cancelled, 0 of 1 certificates handed over",
        "100 refunded to granite",
    ]
    assert company.balance == "100"
    assert "Cancelled is final." in moved(run, "Cancelled").error
    assert company.balance == "100"


def test_cancelled_between(company: Rewards, run: Run) -> None:
    """Cancelling an order returns what was not handed over to stock, and says how much."""
    company.top_up(300)
    company.load(3)
    company.place(1, card(quantity=3))
    company.orders.advance(order_id(1))
    moved(run, "PartiallyDelivered")

    assert run("order", "cancel", "granite/1", "--reason", "ticket 17", "--yes").output.splitlines() == [
        "order granite/1 is Cancelled, 1 of 3 certificates handed over",
        "300 refunded to granite",
        "2 certificates returned to stock",
    ]


def test_impossible_moves(company: Rewards, run: Run) -> None:
    """A move that the lifecycle does not have is refused, with the possible moves, and changes nothing."""
    company.place()
    refused = moved(run, "Delivered").error

    assert refused == (
        f"Order {order_id(1)} is Created: delivery cannot make it Delivered; "
        "it can become Payed by system, Cancelled by support."
    )
    assert moved(run, "ReadyForDelivery").error == "order granite/1 was not moved: it is Created"
    assert company.status() == "Created"


def test_short_stock(company: Rewards, run: Run, codes: Callable[..., str]) -> None:
    """If stock is short the error names it and the order waits; loading certificates makes the order ready."""
    company.top_up(200)
    company.place(1, card(quantity=2))
    first, again = moved(run, "ReadyForDelivery").error, moved(run, "ReadyForDelivery").error

    assert first == again == "order granite/1 waits for certificates of 1#100 ₽; add some with `ordering stock load`"
    assert company.status() == "AwaitingCertificateAssignment"
    assert load(run, codes("a", "b")).output == "2 new, 0 known\n0 free\n"
    assert company.status() == "ReadyForDelivery"


@pytest.mark.parametrize("to", ["ReadyForDelivery", "Cancelled", "PartiallyDelivered"])
def test_delivered_is_final(company: Rewards, run: Run, to: str) -> None:
    """A delivered order cannot be moved."""
    company.top_up(100)
    company.load(1)
    company.place()
    moved(run, "ReadyForDelivery")
    moved(run, "Delivered")

    assert "Delivered" in moved(run, to).error
    assert company.status() == "Delivered"


def test_delivered_twice(company: Rewards, run: Run) -> None:
    """Delivering an order twice is refused, because it is delivered."""
    company.top_up(100)
    company.load(1)
    company.place()
    moved(run, "ReadyForDelivery")
    moved(run, "Delivered")

    assert "Delivered" in moved(run, "Delivered").error


def test_ready_twice(company: Rewards, run: Run) -> None:
    """Making an order ready twice is refused, because it is ready."""
    company.top_up(100)
    company.load(1)
    company.place()
    moved(run, "ReadyForDelivery")

    assert moved(run, "ReadyForDelivery").error == "order granite/1 was not moved: it is ReadyForDelivery"


@pytest.mark.parametrize("count", ["0", "-1"])
def test_invalid_counts(company: Rewards, run: Run, count: str) -> None:
    """--count must be at least 1."""
    company.top_up(200)
    company.load(2)
    company.place(1, card(quantity=2))
    moved(run, "ReadyForDelivery")

    assert moved(run, "PartiallyDelivered", f"--count={count}").error == f"--count is {count}; it must be at least 1"
    assert company.status() == "ReadyForDelivery"


@pytest.mark.parametrize("to", ["ReadyForDelivery", "PartiallyDelivered", "Delivered", "Cancelled"])
def test_unknown_orders(company: Rewards, run: Run, to: str) -> None:
    """An order of another company, an unknown order and a text that names none are errors."""
    company.place()

    for unknown in (f"granite/{order_id(2)}", f"two/{order_id(1)}", "granite/2", "1", "nobody/1", "x", ""):
        assert run("order", "move", unknown, "--to", to, "--reason", "x", "--yes").error == (
            f"there is no order '{unknown}'; see `ordering order find --help`"
        )
    assert company.status() == "Created"


@pytest.mark.parametrize("to", ["Payed", "Created", "AwaitingCertificateAssignment", "delivered", ""])
def test_targets(run: Run, to: str) -> None:
    """Statuses that only a payment or the stock can set are not valid targets."""
    done = moved(run, to)

    assert done.code == 2
    assert "is not one of 'ReadyForDelivery'" in done.errors


def test_moved_without_a_command(installation: Installation, company: Rewards) -> None:
    """`move_order` can be called by programs, and raises an exception for each error."""
    company.place()
    named, order = order_named(installation, order_id(1)), company.orders.order(order_id(1))

    with pytest.raises(NotDone, match="by hand"):
        move_order(installation, named, order, EcardStatus.PAYED)
    assert move_order(installation, named, order, EcardStatus.CANCELLED).status == "Cancelled"
    with pytest.raises(Conflict):
        move_order(installation, named, order, EcardStatus.CANCELLED)


# Orders and their mails ---------------------------------------------------------------------------------------------


@dataclass
class Mailroom:
    """Mails the orders of an installation, as the function for mails does."""

    installation: Installation
    ses: MemorySes = field(default_factory=MemorySes)
    now: datetime = START

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.installation.orders, self.ses.ses.send, now=self.tick)

    def tick(self) -> datetime:
        """The time, which advances by a second at each call."""
        self.now += timedelta(seconds=1)
        return self.now

    def work(self) -> None:
        """Process all messages of the queue."""
        queue = self.installation.mail_queue
        assert isinstance(queue, Queue)
        while queue.bodies:
            self.deliver(from_message(queue.bodies.pop()))

    def deliver(self, order: str) -> None:
        sealer = EnvelopeSealer(self.installation.kms)
        table, deadline = self.installation.orders, Deadline.after(600)
        Mailing(mailers(table, self.outbox, sealer, deadline, self.tick)).deliver(order)

    def refuse(self) -> None:
        self.ses.meet(CallRefused("SendEmail", "MessageRejected"))


@pytest.fixture
def mailroom(installation: Installation) -> Mailroom:
    return Mailroom(installation)


GRANITE = f"granite/{order_id(1)}"
CARDS_ORDER = f"ecards#granite#{order_id(1)}"


def document(done: Done) -> Any:
    """The JSON document that a command printed."""
    assert done.code == 0, done.errors
    return json.loads(done.output)


def table(output: str) -> list[str]:
    """The lines of a table, with one space between columns."""
    return [" ".join(line.split()) for line in output.splitlines()]


def ready(company: Rewards, quantity: int = 3) -> None:
    """Place an order, pay for it and assign its certificates."""
    company.services = replace(company.services, now=lambda: START)
    company.top_up(100 * quantity)
    company.load(quantity)
    company.place(1, card(quantity=quantity))
    company.orders.advance(order_id(1))


def test_show(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """The history of an order and of its mails is shown in one list, oldest first."""
    ready(company)
    mailroom.now += timedelta(minutes=1)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    lines = table(run("order", "show", f"granite/{order_id(1).upper()}").output)

    assert lines == [
        "order granite/1",
        f"id {order_id(1)}",
        "partner granite",
        "status ReadyForDelivery",
        "created 2026-01-01 12:00:00Z",
        "participant John Doe",
        "email sss@ss.ss",
        "phone 79251153242",
        "total 300",
        "debited 300",
        "certificates 3",
        "handed over 0",
        "in transit 0",
        "",
        "lines",
        "card name face value quantity price",
        "1 Bookshop 100 ₽ 3 100",
        "",
        "mails",
        "mail state codes bounced",
        "1 Refused 3 no",
        "",
        "history",
        "at what",
        "2026-01-01 12:00:00Z Payed",
        "2026-01-01 12:00:00Z ReadyForDelivery",
        (
            "2026-01-01 12:01:03Z mail 1 refused: SES rejected the mail: its content, its recipient, or a sender that "
            "is not verified."
        ),
    ]


def test_show_what_is_in_transit(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """Certificates in transit are counted; once the mail is sent, it is in the history before the delivery."""
    ready(company)
    mailroom.ses.meet(NotExecuted())
    with pytest.raises(Unavailable):
        mailroom.deliver(CARDS_ORDER)
    shown = document(run("order", "show", GRANITE, "--json"))
    assert (shown["certificates"], shown["handedOver"], shown["inTransit"]) == (3, 0, 3)
    mailroom.now += timedelta(seconds=5)
    mailroom.deliver(CARDS_ORDER)

    history = document(run("order", "show", GRANITE, "--json"))["history"]
    assert [row["what"] for row in history] == ["Payed", "ReadyForDelivery", "mail 1 sent", "Delivered"]


@pytest.fixture
def school(installation: Installation) -> School:
    """A business unit that places training orders."""
    assert isinstance(installation.kms, MemoryKms)
    ticks = itertools.count()
    return School(installation.send, installation.kms, lambda: START + timedelta(microseconds=next(ticks)))


def test_show_a_training_order(run: Run, school: School, mailroom: Mailroom) -> None:
    """A training order is named by its id, and shown without certificates."""
    number = school.place(2)
    school.issue(number)
    mailroom.deliver(f"training#{number}")
    shown = document(run("order", "show", str(number), "--json"))

    assert (shown["order"], shown["partner"], shown["status"]) == (str(number), "northwind", "Completed")
    assert (shown["seats"], shown["lines"][0]["quantity"], "certificates" in shown) == (2, 2, False)
    assert [row["what"] for row in shown["history"]] == ["New", "Completed"]


@pytest.mark.parametrize("unknown", ["99", f"granite/{order_id(9)}", order_id(9), "x", "granite/7", "training#x"])
def test_show_unknown_orders(run: Run, unknown: str) -> None:
    """An unknown order, and arguments that name no order, are errors."""
    for words in (("order", "show"), ("order", "trace"), ("mail", "again"), ("mail", "list", "--order")):
        assert run(*words, unknown).error == f"there is no order '{unknown}'; see `ordering order find --help`"
    assert run("order", "cancel", unknown, "--reason", "x", "--yes").code == 1


@pytest.fixture
def kept(mailroom: Mailroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mails that the mailroom sends are those of the local run."""

    def sent(_: object) -> list[SentMail]:
        return [
            SentMail(one.id, START, "orders@example.com", (one.letter.to,), one.letter.subject, one.letter.text, "")
            for one in mailroom.ses.taken
        ]

    monkeypatch.setattr(mail, "_mails", sent)


@pytest.mark.usefixtures("kept")
def test_show_the_mail_of_an_order(company: Rewards, school: School, run: Run, mailroom: Mailroom) -> None:
    """With --order the last mail of that order is shown, also after mails of other orders."""
    ready(company)
    mailroom.deliver(CARDS_ORDER)
    first = run("mail", "show", "1").output
    company.load(1, batch="more")
    company.top_up(100, "more")
    company.place(2, card())
    company.orders.advance(order_id(2))
    mailroom.deliver(f"ecards#granite#{order_id(2)}")

    number = str(school.place(1))
    assert len(mailroom.ses.taken) == 2
    assert run("mail", "show", "--order", GRANITE).output == first != run("mail", "show").output
    assert (
        run("mail", "show", "--order", number).error == f"no mail of order {number} has been sent; --wait waits for one"
    )


@pytest.mark.usefixtures("kept")
def test_wait_for_the_mail_of_an_order(
    company: Rewards, school: School, run: Run, mailroom: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --wait the command waits until the mail has been sent, and fails after a minute."""
    ready(company)
    number = str(school.place(1))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            mailroom.deliver(CARDS_ORDER)

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(time, "monotonic", lambda: sum(pauses))

    assert "Subject: " in run("mail", "show", "--wait", "--order", GRANITE).output
    assert len(pauses) == 3
    assert run("mail", "show", "--wait", "--order", number).error.startswith(f"no mail of order {number} has been sent")
    assert sum(pauses) == pytest.approx(60, abs=2)


def test_again(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """A mail that SES refused is put on the queue again, and sent."""
    ready(company)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    assert run("mail", "again", GRANITE).output == "mail 1 of order granite/1 is on the queue\n"
    mailroom.work()

    assert (len(mailroom.ses.taken), company.status()) == (1, "Delivered")


def test_again_after_the_queue_failed(company: Rewards, run: Run, mailroom: Mailroom, monkeypatch: Any) -> None:
    """If the queue could not be reached, the mail is sent after the command is repeated."""
    ready(company)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    broken = replace(mailroom.installation, mail_queue=queues.no_queue)
    with monkeypatch.context() as patch:
        patch.setattr(commands, "reopen", lambda _: broken)
        assert run("mail", "again", GRANITE).code == 1
    assert run("mail", "again", GRANITE).code == 0
    mailroom.work()

    assert company.status() == "Delivered"


def test_again_by_force(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """A mail that was sent is sent again only with --force; --mail selects the mail."""
    ready(company)
    mailroom.deliver(CARDS_ORDER)

    assert run("mail", "again", GRANITE).error == ("mail 1 of order granite/1 was sent; to send it again, use --force")
    assert run("mail", "again", GRANITE, "--mail", "2").error == ("order granite/1 has no mail 2; it has 1")
    assert run("mail", "again", GRANITE, "--mail", "1", "--force").code == 0
    mailroom.work()
    assert [letter.text for letter in mailroom.ses.letters] == [mailroom.ses.letters[0].text] * 2


def test_again_to_a_corrected_address(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """A mail that bounced is sent to the address in --to, and `order show` lists the correction and its reason."""
    ready(company)
    mailroom.deliver(CARDS_ORDER)
    mailroom.outbox.report(mailroom.ses.taken[0].told, MailEventType.BOUNCED, "it cannot be delivered", mailroom.tick())
    words = ["mail", "again", GRANITE]

    assert run(*words).error == (
        "mail 1 of order granite/1 was sent and bounced; "
        "to send it again, use --to for a corrected address, or --force for the same one"
    )
    assert run(*words, "--to", "x").error == "'x' is not a valid email address"
    assert run(*words, "--to", "").error == "'' is not a valid email address"
    assert run(*words, "--to", "new@example.com", "--reason", "ticket 17").output == (
        "mail 1 of order granite/1 is on the queue, to new@example.com\n"
    )
    mailroom.work()
    assert mailroom.ses.letters[1] == values.replace(mailroom.ses.letters[0], to="new@example.com")
    shown = document(run("order", "show", GRANITE, "--json"))
    assert shown["mailsGoTo"] == "new@example.com"
    assert {row["what"] for row in shown["history"]} >= {
        "mail 1 sent",
        "mail 1 bounced: it cannot be delivered",
        "mail 1 again to new@example.com: ticket 17",
        "mail 1 sent to new@example.com",
    }


def test_not_again(company: Rewards, run: Run, mailroom: Mailroom) -> None:
    """A mail whose certificates were partly handed over by hand, or whose order is cancelled, is not sent again."""
    ready(company)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    company.orders.hand_over(company.orders.order(order_id(1)), 1)
    assert "another mail sends the others" in run("mail", "again", GRANITE).error
    company.orders.cancel(order_id(1))
    assert "is Cancelled" in run("mail", "again", GRANITE).error

    assert mailroom.installation.mail_queue == Queue([])


# Refused mails ------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(company: Rewards, mailroom: Mailroom) -> Mailroom:
    """A mailroom whose two mails SES has refused, one of them long ago."""
    ready(company)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    mailroom.now = datetime.now(UTC) - timedelta(hours=1)
    company.load(1, batch="more")
    company.top_up(100, "more")
    company.place(2, card())
    company.orders.advance(order_id(2))
    mailroom.refuse()
    mailroom.deliver(f"ecards#granite#{order_id(2)}")
    return mailroom


@pytest.mark.usefixtures("refused")
def test_refused_mails(run: Run) -> None:
    """Refused mails are listed newest first, of a day or since another time, with SES's reason."""
    rows = document(run("mail", "list", "--refused", "--json"))
    assert [(row["order"], row["mail"], row["reason"][:12]) for row in rows] == [("granite/2", 1, "SES rejected")]
    assert "granite/1" not in run("mail", "list", "--refused", "--since", "2h").output
    since = run("mail", "list", "--refused", "--since", "2026-01-01", "--json")
    assert [row["order"] for row in document(since)] == ["granite/2", "granite/1"]
    assert run("mail", "list", "--refused", "--since", "5m").output == "no refused mails\n"


@pytest.mark.usefixtures("refused")
def test_the_index_is_a_moment_behind(run: Run, company: Rewards, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail that is no longer refused, or whose order is gone, is not listed even if the index still has it."""
    assert company.status(1) == "ReadyForDelivery"
    keys = [*search(Table(company.services.send, "OrdersTable"), SearchedBy.MAILS, "refused")]
    run("mail", "again", "granite/2")
    monkeypatch.setattr(mail, "search", lambda *_: iter([*keys, ("MAIL#training#9", "0000000001")]))
    rows = document(run("mail", "list", "--refused", "--json"))

    assert [row["order"] for row in rows] == ["granite/1"]


def test_all_refused_again(company: Rewards, run: Run, refused: Mailroom, installation: Installation) -> None:
    """All refused mails are put on the queue with one command, each noted in the audit trail of its order."""
    company.orders.cancel(order_id(2))
    done = run("mail", "again", "--refused", "--since", "2026-01-01", "--reason", "sender verified", "--json")

    assert document(done)["queued"] == 1
    assert [row["order"] for row in document(done)["notQueued"]] == ["granite/2"]
    refused.work()
    assert company.status(1) == "Delivered"
    again = table(run("mail", "again", "--refused", "--since", "2h").output)
    assert again == [
        "0 of 1 refused mails are on the queue",
        "order mail why",
        "granite/2 1 order granite/2 is Cancelled: its certificates are not mailed any more",
    ]
    assert run("mail", "again", "--refused", "--since", "5m").output == "no refused mails\n"
    months = {f"{datetime.now(UTC):%Y-%m}"}
    noted = [entry for month in months for entry in entries(installation.orders, month)]
    assert {(entry.subject, entry.reason) for entry in noted} == {("order granite/1", "sender verified")}


@pytest.mark.parametrize(
    "words",
    [
        ("mail", "again"),
        ("mail", "again", "1", "--refused"),
        ("mail", "again", "--refused", "--to", "a@example.com"),
        ("mail", "again", "--refused", "--mail", "1"),
        ("mail", "again", "1", "--since", "2h"),
        ("mail", "list", "--since", "2h"),
        ("mail", "show", "1", "--order", "1"),
        ("mail", "list", "--refused", "--since", "2999-01-01"),
        ("mail", "list", "--refused", "--since", "9999999w"),
        ("mail", "list", "--refused", "--since", "yesterday"),
        ("order", "list"),
        ("order", "list", "--partner", "two", "--status", "Held"),
        ("order", "list", "--partner", "two", "--limit", "-1"),
        ("order", "find"),
        ("order", "cancel", "1"),
        ("order", "move", "1", "--to", "Delivered"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    """Options that do not go together, or have no sense, are wrong usage."""
    done = run(*words)

    assert (done.code, done.output) == (2, "")
    assert "Traceback" not in done.errors


def test_mails_of_a_stack(run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack in AWS keeps no mails: the commands say what to ask for instead."""
    stack = replace(installation, account="123456789012")
    monkeypatch.setattr(commands, "open_stack", lambda *_: stack)

    for words in (("list",), ("show",)):
        error = run("mail", *words, "--stack", "ordering").error
        assert "keeps no mails; name an order with --order" in error


def test_the_last_mail_of_a_stack_s_order(
    company: Rewards, run: Run, mailroom: Mailroom, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stack's order, `mail show` shows what became of its last mail."""
    stack = replace(installation, account="123456789012")
    monkeypatch.setattr(commands, "open_stack", lambda *_: stack)
    ready(company)
    words = ("mail", "show", "--order", GRANITE, "--stack", "ordering")
    assert "no mail of order granite/1 has been sent" in run(*words).error
    mailroom.deliver(CARDS_ORDER)

    shown = document(run(*words, "--json"))
    assert (shown["mail"], shown["state"], shown["history"][0]["what"]) == (1, "Sent", "mail 1 sent")


# Finding and listing ------------------------------------------------------------------------------------------------


def found(run: Run, *words: str) -> list[str]:
    """The orders that a command lists, in its order."""
    return [row["order"] for row in document(run("order", *words, "--json"))]


@pytest.fixture
def deals(installation: Installation) -> DealOrders:
    """The deal orders of the account `crm`, with one for deal 26."""
    account = values.replace(
        PARTNER, id="crm", business_units=(), grants=frozenset({"deals"}), deals=DealTerms("enterprise")
    )
    Accounts(installation.accounts).save_partner(account)
    orders = DealOrders(installation.orders, "crm", lambda: START)
    orders.place(26, Decimal(5))
    return orders


def test_find(company: Rewards, school: School, deals: DealOrders, run: Run) -> None:
    """Orders are found by number, UUID, reference, address and deal, in upper and lower case."""
    number = school.place(1)
    placed = document(run("order", "show", str(number), "--json"))
    company.place(1)
    company.place(2)

    assert found(run, "find", str(number)) == [str(number)]
    assert found(run, "find", f" {placed['reference'].lower()} ") == [str(number)]
    assert found(run, "find", placed["email"].upper()) == [str(number)]
    assert found(run, "find", "SSS@ss.ss") == ["granite/2", "granite/1"]
    assert found(run, "find", order_id(2).replace("-", "")) == ["granite/2"]
    assert found(run, "find", "26") == ["crm/1"]
    assert found(run, "find", "crm/1") == ["crm/1"]
    assert found(run, "find", "SSS@ss.ss", "--limit", "1") == ["granite/2"]
    assert found(run, "find", "1", "--partner", "granite") == ["granite/1"]
    assert found(run, "find", "sss@ss.ss", "--partner", "two") == []
    assert found(run, "find", placed["reference"], "--since", "1h") == []
    assert run("order", "find", "PO-0").output == "no order has 'PO-0'\n"
    assert "no order has 'Ann Lee'; names are not searched, but `ordering contact list" in (
        run("order", "find", "Ann Lee").output
    )
    assert (
        run("order", "find", "1", "--partner", "nobody").error
        == "there is no partner 'nobody'; see `ordering partner list`"
    )
    deals.remove(1)
    assert found(run, "find", "26") == []


@pytest.mark.usefixtures("deals")
def test_one_order_of_each_kind_by_one_argument(company: Rewards, school: School, run: Run) -> None:
    """A command takes every way to name an order; a reference of several orders is refused with their numbers."""
    number = school.place(1)
    reference = document(run("order", "show", str(number), "--json"))["reference"]
    company.place(1)

    def shown(text: str) -> str:
        order: str = document(run("order", "show", text, "--json"))["order"]
        return order

    assert {shown(text) for text in (str(number), f"training#{number}", reference)} == {str(number)}
    cards = (order_id(1), order_id(1).upper(), order_id(1).replace("-", ""), GRANITE, "granite/1", CARDS_ORDER)
    assert {shown(text) for text in cards} == {"granite/1"}
    assert {shown(text) for text in ("crm/1", "deals#crm#1")} == {"crm/1"}
    again = school.place(1)
    assert run("order", "show", reference).error == (
        f"several orders have the reference '{reference}': {again}, {number}; name one of them"
    )


@pytest.mark.usefixtures("deals")
def test_list(company: Rewards, school: School, run: Run) -> None:
    """Orders of a partner or a business unit are listed newest first, by status and time."""
    numbers = [school.place(1) for _ in range(3)]
    school.orders().cancel(numbers[1])
    company.top_up(100)
    company.place(1)
    company.place(2)

    assert found(run, "list", "--partner", "northwind") == [str(number) for number in reversed(numbers)]
    assert found(run, "list", "--unit", UK.id, "--status", "cancelled") == [str(numbers[1])]
    assert found(run, "list", "--partner", "granite", "--status", "Payed") == ["granite/1"]
    assert found(run, "list", "--partner", "granite", "--since", "1h") == ["granite/2", "granite/1"]
    assert found(run, "list", "--partner", "northwind", "--since", "1h") == []
    assert found(run, "list", "--partner", "crm") == ["crm/1"]
    listed = run("order", "list", "--partner", "northwind", "--limit", "2")
    assert table(listed.output) == [
        "order partner status created",
        f"{numbers[2]} northwind New 2026-01-01 12:00:00Z",
        f"{numbers[1]} northwind Cancelled 2026-01-01 12:00:00Z",
        "there are more than 2; see --limit and --since",
    ]
    assert (
        run("order", "list", "--partner", "nobody").error == "there is no partner 'nobody'; see `ordering partner list`"
    )


def test_list_of_a_unit(school: School, run: Run, installation: Installation) -> None:
    """A business unit is named by its UUID, or by its name beside its partner; an unknown one is refused."""
    accounts = Accounts(installation.accounts)
    accounts.save_partner(PARTNER)
    number = str(school.place(1))
    for words in ((UK.id.upper(),), (UK.name, "--partner", "northwind"), (UK.id, "--partner", "northwind")):
        assert found(run, "list", "--unit", *words) == [number]
    unknown = str(uuid.uuid4())

    assert run("order", "list", "--unit", unknown).error == (
        f"no partner has the business unit {unknown}; `ordering partner show ID` lists a partner's"
    )
    assert "by its name together with --partner" in run("order", "list", "--unit", UK.name).error
    assert "name one of northwind's business units" in (
        run("order", "list", "--unit", unknown, "--partner", "northwind").error
    )
    accounts.save_partner(
        values.replace(PARTNER, business_units=(*PARTNER.business_units, values.replace(UK, id=unknown)))
    )
    assert run("order", "list", "--unit", unknown).output == "no orders\n"


def marks(installation: Installation) -> dict[str, str]:
    """The shards of all marked orders, by their partition keys."""
    return {item["pk"]: item["unfinished"] for item in installation.orders.scan("ORDER#") if is_marked(item)}


@pytest.mark.usefixtures("refused")
def test_orders_of_earlier_releases(
    company: Rewards, school: School, deals: DealOrders, run: Run, installation: Installation
) -> None:
    """`order index` lets orders and refused mails be found that were written without what they are found by.

    It also marks the orders that are unfinished.
    """
    number = school.place(1)
    company.place(3)
    marked = marks(installation)
    memory = installation.send
    assert isinstance(memory, Memory)
    for key, item in [*memory.scan("OrdersTable")]:
        if "search" in item:
            kept = {name: value for name, value in item.items() if name not in {"search", "at"} or "BOOK#" in key[0]}
            memory.load("OrdersTable", {name: kept[name] for name in kept.keys() - {"search"} - PROGRESS})
    assert found(run, "find", "sss@ss.ss") == []

    assert run("order", "index").output == f"{7 + len(marked)} orders and refused mails added to the indexes\n"
    assert marks(installation) == marked
    assert len(marked) == 4
    assert sorted(found(run, "find", "sss@ss.ss")) == ["granite/1", "granite/2", "granite/3"]
    assert found(run, "find", "po-1") == [str(number)]
    assert found(run, "find", "johnsmith@example.com") == [str(number)]
    assert found(run, "find", order_id(3)) == ["granite/3"]
    assert found(run, "find", "26") == ["crm/1"] == [f"crm/{deals.order(1).id}"]
    assert len(document(run("mail", "list", "--refused", "--since", "2026-01-01", "--json"))) == 2
    assert run("order", "index").output == "0 orders and refused mails added to the indexes\n"
    assert len([*entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")]) == 1


# Cancelling and tracing ---------------------------------------------------------------------------------------------


def test_cancel_a_training_order(school: School, run: Run) -> None:
    """A training order is cancelled with a reason, which its history keeps with the operator's name."""
    number = str(school.place(2))
    assert "agree to it with --yes" in run("order", "cancel", number, "--reason", "ticket 17").error
    done = run("order", "cancel", number, "--reason", "ticket 17", "--yes")

    assert done.output == f"order {number} is Cancelled: no access keys are issued\n"
    moment = document(run("order", "show", number, "--json"))["history"][-1]
    assert (moment["status"], moment["by"], moment["reason"]) == ("Cancelled", "local", "ticket 17")
    assert "Cancelled is final." in run("order", "cancel", number, "--reason", "x", "--yes").error


@pytest.mark.usefixtures("deals")
def test_a_deal_order_is_not_cancelled(run: Run) -> None:
    """A deal order has no status and no mails."""
    assert "its partner removes it" in run("order", "cancel", "crm/1", "--reason", "x", "--yes").error
    assert "is no e-card order" in run("order", "move", "crm/1", "--to", "Delivered", "--reason", "x").error
    assert "has no mails" in run("mail", "list", "--order", "crm/1").error


def test_moves_have_an_actor(company: Rewards, run: Run, installation: Installation) -> None:
    """A hand-over by a command has the operator's name and the reason in its history, and is in the audit trail."""
    company.top_up(200)
    company.load(2)
    company.place(1, card(quantity=2))
    moved(run, "ReadyForDelivery")
    moved(run, "PartiallyDelivered")

    last = company.orders.order(order_id(1)).state.history[-1]
    assert (last.status, last.by, last.reason) == ("PartiallyDelivered", "local", "ticket 17")
    (_, entry) = entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")
    assert (entry.action, entry.subject) == ("order move", "order granite/1")
    assert entry.before == {"status": "ReadyForDelivery", "handedOver": 0}
    assert entry.after == {"status": "PartiallyDelivered", "handedOver": 1}
    assert company.read(f"/v1/orders/{order_id(1)}")["history"][-1].keys() == {"status", "at"}


def changed_before_the_write(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]
) -> None:
    """Let commands meet a change between their read of an order and their write."""
    faulty = Faulty(installation.send)
    faulty.meet("TransactWriteItems", interrupted(change))
    monkeypatch.setattr(commands, "reopen", lambda _: replace(installation, send=faulty))


def test_the_audit_trail_has_what_was_cancelled(
    company: Rewards, run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an order changes between a cancellation's read and its write, the entry has the changed order as before."""
    company.top_up(200)
    company.load(2)
    company.place(1, card(quantity=2))
    company.orders.advance(order_id(1))
    change = partial(company.orders.hand_over, company.orders.order(order_id(1)), 1)
    changed_before_the_write(installation, monkeypatch, change)
    printed = run("order", "cancel", "granite/1", "--reason", "ticket 17", "--yes").output

    (entry,) = entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")
    assert entry.before == {"status": "PartiallyDelivered", "handedOver": 1}
    assert "1 certificates returned to stock" in printed


@pytest.mark.parametrize(
    ("to", "before", "after"),
    [("PartiallyDelivered", 1, 2), ("Delivered", 1, 3)],
)
def test_the_audit_trail_has_what_was_moved(
    company: Rewards,
    run: Run,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    before: int,
    after: int,
) -> None:
    """If an order changes between a move's read and its write, the entry has the changed order as before."""
    company.top_up(300)
    company.load(3)
    company.place(1, card(quantity=3))
    company.orders.advance(order_id(1))
    change = partial(company.orders.hand_over, company.orders.order(order_id(1)), 1)
    changed_before_the_write(installation, monkeypatch, change)
    assert moved(run, to).code == 0

    (entry,) = entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")
    assert entry.before == {"status": "PartiallyDelivered", "handedOver": before}
    assert entry.after == {"status": to, "handedOver": after}


def test_the_audit_trail_has_what_was_made_ready(
    company: Rewards, run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that waits for stock when it is written, and did not when it was read, is noted as waiting."""
    company.top_up(100)
    company.place(1)

    def change() -> None:
        company.orders.advance(order_id(1))
        sealer = EnvelopeSealer(installation.kms, "alias/CertificatesKey")
        Certificates(installation.orders, sealer).load(HUNDRED, "b1", ["code"])

    changed_before_the_write(installation, monkeypatch, change)
    assert moved(run, "ReadyForDelivery").code == 0
    (entry,) = entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")
    assert entry.before == {"status": "AwaitingCertificateAssignment", "handedOver": 0}


def test_a_cancelled_order_is_not_cancelled_again(
    school: School, run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a training order is cancelled between a cancellation's read and its write, the second one is not noted."""
    number = school.place(1)
    changed_before_the_write(installation, monkeypatch, lambda: school.orders().cancel(number))

    assert "Cancelled is final" in run("order", "cancel", str(number), "--reason", "ticket 17", "--yes").error
    assert [*entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")] == []


def test_trace_a_training_order(school: School, run: Run, installation: Installation) -> None:
    """A trace has the order's entry, its keys by number, its idempotency key's digest, its events and changes."""
    school.place(1)
    body = new_order(orderItems=[new_item(quantity=2)])
    made = school.client.post(target("orders"), body, headers={"Idempotency-Key": "k"})
    number = str(made.json["id"])
    school.issue(int(number))
    traced = document(run("order", "trace", number, "--json"))

    assert traced["entry"] == [{"book": f"training#{UK.id}", "position": 2, "state": "as the order"}]
    assert [row["sha256"] for row in traced["idempotencyKey"]] == [hashlib.sha256(b"k").hexdigest()]
    assert traced["idempotencyKey"][0]["rememberedUntil"] == "2026-01-03T12:00:00.000000Z"
    assert traced["accessKeys"] == [{"issued": 2, "seats": 2}]
    assert [(row["sequence"], row["published"]) for row in traced["events"]] == [(1, False), (2, False)]
    assert "keys" not in traced
    assert traced["request"] == made.headers["X-Request-Id"]
    assert installation.orders.get((f"KEYS#training#{number}", "000000"))


def test_trace_an_ecard_order(company: Rewards, run: Run, mailroom: Mailroom, installation: Installation) -> None:
    """A trace has the webhooks of the partner with what each has of the events, and who changed the order."""
    ready(company)
    mailroom.refuse()
    mailroom.deliver(CARDS_ORDER)
    webhook, _ = webhooks_of(installation).register("granite", "http://127.0.0.1:1/", [])
    company.place(2)
    run("order", "cancel", "granite/2", "--reason", "another order", "--yes")
    run("mail", "again", "granite/1", "--reason", "sender verified")
    traced = document(run("order", "trace", "granite/1", "--json"))

    assert [row["type"] for row in traced["events"]] == [
        "ordering.ecard_order.payed",
        "ordering.ecard_order.ready_for_delivery",
        "ordering.ecard_order.mail_refused",
    ]
    assert [(row["webhook"], row["settled"], row["events"]) for row in traced["webhooks"]] == [
        (webhook.id, 0, 2),
        (webhook.id, 0, 1),
    ]
    assert [(row["action"], row["reason"]) for row in traced["changes"]] == [("mail again", "sender verified")]
    output = run("order", "trace", "granite/1").output
    assert "sender verified" in output
    assert REQUEST_ID in output


def test_trace_an_entry_that_differs(company: Rewards, run: Run, installation: Installation) -> None:
    """An entry that says something else than its order, or is missing, is named."""
    company.place()
    key = ("BOOK#ecards#granite#L00", "0000000001")
    names = {"#order": "order", "#status": "status"}
    installation.orders.update(Update(key, "SET #order.#status = :s", names=names, values={":s": "Payed"}))
    assert document(run("order", "trace", order_id(1), "--json"))["entry"][0]["state"] == "differs: Payed"
    installation.orders.delete_all([key])
    assert document(run("order", "trace", order_id(1), "--json"))["entry"][0]["state"] == "missing"


def test_show_and_trace_a_deal_order(deals: DealOrders, run: Run) -> None:
    """A deal order is shown with its line items and its entry."""
    product = DealProducts(deals.table, "crm").add(NewProduct(name="Licence"))
    deals.lines(1).add(NewLine(product, Decimal(10), "EUR", Decimal(0), 3))
    traced = document(run("order", "trace", "crm/1", "--json"))

    assert (traced["order"], traced["deal"], traced["discount"]) == ("crm/1", "26", "5")
    assert [(line["name"], line["quantity"]) for line in traced["lines"]] == [("Licence", 3)]
    assert traced["entry"] == [{"book": "deals#crm", "position": 1, "state": "as the order"}]


@pytest.mark.parametrize(
    "text",
    ["", " ", "/", "a/", "/1", "a/b/c", "#", "training#", "ecards#granite#x", "deals#crm#0", "-1", "0", "9" * 5000],
)
@pytest.mark.usefixtures("deals")
def test_texts_that_name_no_order(run: Run, text: str) -> None:
    """Whatever the text, a command refuses it in one line, and a search finds nothing."""
    for words in (("order", "show"), ("order", "trace"), ("mail", "again"), ("mail", "list", "--order")):
        error = run(*words, "--", text).error if "--order" not in words else run(*words[:-1], f"--order={text}").error
        assert error == f"there is no order '{text}'; see `ordering order find --help`"
    assert document(run("order", "find", "--json", "--", text)) == []
