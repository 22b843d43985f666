"""`ordering contact export` and `erase`: all that is held of a person, and its removal from what may lose it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ordering import values
from ordering.aws.dynamodb import Put, Update
from ordering.aws.ses import Letter
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProducts, NewProduct
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts, Contact
from ordering.mail.history import read_moments
from ordering.mail.outbox import MailEventType, Outbox
from ordering_tools import audit, cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.people import ERASED
from ordering_tools.operations.signing import SigningKey
from support.aws.faults import Faulty
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done
from support.ecards import AUDIENCE, CARDS, COMPANY, ISSUER, Rewards, card, order_id, services_over
from support.partners import JOHN, PARTNER, UK
from support.training import School

ANN = "ann@example.com"
NAMESAKE = "joann@example.com"
ORDER = f"ecards#granite#{order_id(1)}"
ENTRY = "order granite/1"
WHY = ("--reason", "request of 29 November")
NOW = datetime.now(UTC)

Run = Callable[..., Done]


@dataclass
class Office:
    """An installation in which a company has ordered for Ann, and has had its mail corrected to another address."""

    memory: Memory
    installation: Installation
    company: Rewards

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.installation.orders, lambda *_: "message-1")

    def mail_to(self, address: str) -> None:
        """Send the order's mail, which bounces; send it again to a corrected address, where it bounces as well."""
        mail = self.outbox.mail(ORDER, 1)
        self.outbox.send(mail, 1, lambda: Letter(ANN, "subject", "text"))
        self.bounce()
        self.outbox.again(ORDER, 1, to=address, reason=f"{address} was misspelt")
        self.outbox.send(self.outbox.mail(ORDER, 1), 1, lambda: Letter(ANN, "subject", "text"))
        self.bounce()

    def bounce(self) -> None:
        tags = {name: [value] for name, value in self.outbox.mail(ORDER, 1).tags().items()}
        self.outbox.report(tags, MailEventType.BOUNCED, "no such user", NOW)

    def deliver(self) -> None:
        order = self.company.orders.order(order_id(1))
        assert self.company.orders.hand_over(order, 1).status is EcardStatus.DELIVERED

    def holds(self, text: str) -> list[str]:
        """The partitions of the records that have a text."""
        return sorted(
            pk
            for table in ("OrdersTable", "CatalogueTable", "AccountsTable")
            for (pk, _), item in self.memory.scan(table)
            if text in repr(item)
        )


@pytest.fixture
def office() -> Office:
    memory, kms = Memory(), MemoryKms()
    installation = Installation(memory, kms, lambda: SigningKey("", "", {}), ISSUER, AUDIENCE)
    accounts = Accounts(installation.accounts)
    accounts.save_partner(PARTNER)
    accounts.save_partner(values.replace(PARTNER, id="granite", grants=frozenset({"ecards"}), company="company"))
    for email in (ANN, NAMESAKE):
        accounts.save_contact(UK.id, email, Contact("Ann", "Lee"))
    company = Rewards(services_over(memory, kms=kms), COMPANY)
    company.publish(CARDS)
    company.top_up(200)
    company.load(2)
    for number, email in ((1, "Ann@Example.com"), (2, NAMESAKE)):
        company.place(number, card(), participant={"email": email, "name": "Ann Lee", "phone": "79251150000"})
        company.orders.advance(order_id(number))
    return Office(memory, installation, company)


@pytest.fixture
def run(office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering contact` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: office.installation)

    def command(*words: str) -> Done:
        return Done(cli.main(["contact", *words]), *capsys.readouterr())

    return command


def erased(run: Run, email: str = ANN) -> dict[str, Any]:
    """What an erasure printed."""
    done = run("erase", email, *WHY, "--yes", "--json")
    assert done.code == 0, done.errors
    printed: dict[str, Any] = json.loads(done.output)
    return printed


def named(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in rows]


def test_all_that_is_held(office: Office, run: Run) -> None:
    """An address is found in every record, in upper or lower case, and not as a part of a longer one."""
    office.mail_to(ANN)
    printed = run("export", "ANN@example.com").output.splitlines()

    assert [tuple(re.split("  +", line.strip())) for line in printed] == [
        ("kind", "name"),
        ("contact", f"unit {UK.id}"),
        ("list entry", ENTRY),
        ("search index", ENTRY),
        ("mail", ENTRY),
        ("mail history", ENTRY),
        ("mail history", ENTRY),
        ("corrected address", ENTRY),
        ("order", ENTRY),
    ]


def test_names_of_deals(office: Office, run: Run) -> None:
    """A line item is named by its order, and a product by its number, as commands name them."""
    site = office.installation
    orders = DealOrders(site.orders, "crm")
    orders.place(26, Decimal(5))
    product = DealProducts(site.catalogue, "crm").add(NewProduct(name=f"Licence of {ANN}"))
    orders.lines(1).add(NewLine(product, Decimal(10), "EUR", Decimal(0), 3))

    assert {("list entry", "order crm/1"), ("list entry", "product crm/1")} <= {*named(erased(run)["stays"])}


def test_what_is_handed_out(office: Office, run: Run) -> None:
    """The document has the person's data, orders with their lines and mails, and nothing that is encrypted or inner."""
    office.mail_to("other@example.com")
    held = {one["kind"]: one["data"] for one in json.loads(run("export", ANN, "--json").output)["held"]}

    assert held["contact"] == {"email": ANN, "forename": "Ann", "surname": "Lee"}
    order = held["order"]
    assert order["participant"] == {"email": "Ann@Example.com", "name": "Ann Lee", "phone": "79251150000"}
    assert [line["quantity"] for line in order["lines"]] == [1]
    assert [mail["state"] for mail in order["mails"]] == ["Sent"]
    assert not {"fingerprint", "writers", "pk"} & order.keys()


def test_a_partner_s_user(office: Office, run: Run) -> None:
    """Of a partner's users only the person is handed out; training orders have their lines."""
    kms = office.installation.kms
    assert isinstance(kms, MemoryKms)
    number = School(office.memory, kms, lambda: NOW).place(3)
    document = json.loads(run("export", JOHN.user_name, "--json").output)
    held = {(one["kind"], one["name"]): one["data"] for one in document["held"]}

    assert [user["id"] for user in held["partner's user", "partner northwind"]["users"]] == [JOHN.id]
    assert [line["quantity"] for line in held["order", f"order {number}"]["lines"]] == [3]


def test_what_is_erased(office: Office, run: Run) -> None:
    """All but the order's own facts loses the address; what stays is named, with the reason."""
    office.mail_to(ANN)
    office.deliver()
    before = office.outbox.mail(ORDER, 1)
    outcome = erased(run)
    after = office.outbox.mail(ORDER, 1)

    assert named(outcome["removed"]) == [
        ("contact", f"unit {UK.id}"),
        ("search index", ENTRY),
        ("mail", ENTRY),
        ("mail history", ENTRY),
        ("mail history", ENTRY),
        ("corrected address", ENTRY),
    ]
    assert named(outcome["stays"]) == [("list entry", ENTRY), ("order", ENTRY)]
    assert {one["why"] for one in outcome["stays"]} == {
        "the order's own facts: whom the partner ordered for; its accounts and its API show them"
    }
    assert office.holds(ANN.partition("@")[0] + "@example.com") == office.holds(NAMESAKE)
    assert Accounts(office.installation.accounts).contact(UK.id, ANN) is None
    assert office.outbox.corrected_address(ORDER) == ""
    assert {to for _, to in after.corrected} == {event.to for event in after.events if event.to} == {ERASED}
    assert (after.state, after.attempts, after.version) == (before.state, before.attempts, before.version + 1)
    assert [moment.to for moment in read_moments(office.installation.orders, ORDER)] == ["", ERASED, ERASED]


def test_nothing_of_others_is_erased(office: Office, run: Run) -> None:
    """A person whose address ends with the erased one keeps everything."""
    before = office.holds(NAMESAKE)
    erased(run)

    assert office.holds(NAMESAKE) == before
    assert Accounts(office.installation.accounts).contact(UK.id, NAMESAKE) == Contact("Ann", "Lee")


def test_mails_that_are_not_done(office: Office, run: Run) -> None:
    """Where mails go stays until the order is final and its mails are done; then the same call removes it."""
    office.mail_to(ANN)
    stays = {one["kind"]: one["why"] for one in erased(run)["stays"]}

    assert stays["mail"] == stays["corrected address"] == "the order or its mail is not done; erase again when it is"
    assert office.outbox.corrected_address(ORDER) == ANN
    office.deliver()
    office.outbox.again(ORDER, 1, reason="x", force=True)
    assert "corrected address" in dict(named(erased(run)["stays"]))
    office.outbox.send(office.outbox.mail(ORDER, 1), 1, lambda: Letter(ANN, "subject", "text"))
    assert {kind for kind, _ in named(erased(run)["stays"])} == {"list entry", "order"}


def test_an_erasure_is_noted(office: Office, run: Run) -> None:
    """The audit trail has who erased a person and why, and not whom: neither address nor name."""
    office.mail_to(ANN)
    office.deliver()
    erased(run)
    month = f"{datetime.now(UTC):%Y-%m}"
    noted = {*map(repr, [*audit.entries(office.installation.orders, month)])} | {
        *map(repr, audit.entries(office.installation.accounts, month))
    }
    (entry,) = noted

    assert "request of 29 November" in entry
    assert not re.search("ann|lee", entry, re.IGNORECASE)


def test_an_erasure_is_asked_for(office: Office, run: Run) -> None:
    """Nothing is erased before it was agreed to, or without a reason."""
    before = office.holds(ANN)

    assert "2 records lose the address for good" in run("erase", ANN, *WHY).error
    assert "--reason" in run("erase", ANN, "--yes").errors
    assert office.holds(ANN) == before


def test_after_a_crash(office: Office, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure that ended half-way is completed by the same command."""
    office.mail_to(ANN)
    office.deliver()
    faulty = Faulty(office.memory)

    def fail(*_: Any) -> Any:
        raise Unavailable("gone")

    faulty.meet("TransactWriteItems", fail, after=3)
    whole = office.installation
    monkeypatch.setattr(office, "installation", replace(whole, send=faulty))
    assert run("erase", ANN, *WHY, "--yes").code == 1
    monkeypatch.setattr(office, "installation", whole)

    assert named(erased(run)["removed"]) == [
        ("mail history", ENTRY),
        ("mail history", ENTRY),
        ("corrected address", ENTRY),
    ]
    assert erased(run)["removed"] == []


def test_a_change_at_the_same_moment(office: Office, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that changed since it was read keeps its change, and is named."""
    office.mail_to(ANN)
    office.deliver()
    faulty = Faulty(office.memory)
    key = (f"MAIL#{ORDER}", "0000000001")

    def change(send: Any, operation: str, request: dict[str, Any]) -> Any:
        office.installation.orders.update(Update(key, "ADD version :one", values={":one": 1}))
        return send(operation, request)

    faulty.meet("TransactWriteItems", change, after=2)
    whole = office.installation
    monkeypatch.setattr(office, "installation", replace(whole, send=faulty))
    stays = {one["kind"]: one["why"] for one in erased(run)["stays"]}

    assert stays["mail"] == "it changed at the same moment; erase again"
    assert office.outbox.mail(ORDER, 1).corrected[-1][1] == ANN


def test_words_of_others(office: Office, run: Run) -> None:
    """An address in an operator's words, and in a stored response, is found, and stays with a reason."""
    once = {"pk": "ONCE#northwind#1", "sk": "-", "answer": json.dumps({"contact": ANN}).encode()}
    office.installation.accounts.put(Put(once))
    office.company.orders.correct_balance("c1", Decimal(1), by="local/bob", reason=f"refund for {ANN}")
    stays = {(one["kind"], one["name"]): one["why"] for one in erased(run)["stays"]}

    assert stays["ledger", "partner granite"] == "evidence of a change of money"
    assert "it expires within 48 hours" in stays["response", "partner northwind"]


@pytest.mark.parametrize("command", [("export",), ("erase", *WHY, "--yes")])
def test_nobody(run: Run, command: tuple[str, ...]) -> None:
    """An address that nothing has, and what is no address, are answered in a line."""
    assert run(*command, "nobody@example.com").output == "nothing is held of nobody@example.com\n"
    assert run(*command, "ann").error == "'ann' is no e-mail address"
