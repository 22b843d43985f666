"""`ordering dev event`: the events that each command puts on the bus, and the errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ordering import values
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.ses import Letter
from ordering.ecards.incoming import PAYMENT, STOCK, sealing_context
from ordering.events.incoming import CANCELLATION, misfits, read_delivered
from ordering.fulfilment.incoming import envelopes
from ordering.identity.accounts import Accounts
from ordering.mail.incoming import read_notice
from ordering.mail.outbox import MailEventType, Outbox
from ordering_tools import cli, installation
from ordering_tools.installation import Installation
from ordering_tools.operations import commands, incoming
from ordering_tools.operations.signing import SigningKey
from ordering_tools.stacks import Stack
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import CARDS, COMPANY, Rewards, order_id, services_over
from support.partners import PARTNER
from support.training import School

NOT_RUNNING = "the local run is not running; start it with `make serve`, or name a stack with --stack"
STOCK_OF_CARD = ("--card", "1", "--face-value", "100 ₽")


@dataclass
class Bus:
    """An event bus that keeps its events, or responds with an error that a test has set."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=lambda: {"EventId": "1"})
    error: EndpointConnectionError | None = None
    queue: list[str] = field(default_factory=list)
    installation: Installation = field(init=False)

    def connect(self, service: str) -> Bus:
        assert service == "events"
        return self

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - the API's name
        if self.error:
            raise self.error
        self.taken += Entries
        return {"Entries": [self.answer]}


@pytest.fixture
def kms() -> MemoryKms:
    return MemoryKms()


@pytest.fixture
def bus(kms: MemoryKms, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """The bus of a running local run."""
    bus = Bus()
    bus.installation = Installation(
        Memory(),
        kms,
        lambda: SigningKey("", "", {}),
        "",
        "",
        incoming_queue=lambda body, _: bus.queue.append(body),
        stack=Stack({incoming.BUS: "the-bus"}),
        connect=bus.connect,
    )
    Accounts(bus.installation.accounts).save_partner(values.replace(PARTNER, id="granite-rewards", company="Granite"))
    monkeypatch.setattr(commands, "reopen", lambda _: bus.installation)
    return bus


@pytest.fixture
def run(bus: Bus, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:  # noqa: ARG001 - the command uses it
    """Runs `ordering dev event` with arguments; returns the exit code, the output and the errors."""

    def command(*words: str) -> tuple[int, str, str]:
        return cli.main(["dev", "event", *words, "--wait", "0"]), *capsys.readouterr()

    return command


Run = Callable[..., tuple[int, str, str]]


def company_of(bus: Bus) -> Rewards:
    """The company granite, with cards and no money."""
    installation = bus.installation
    assert isinstance(installation.kms, MemoryKms)
    Accounts(installation.accounts).save_partner(values.replace(PARTNER, id="granite", company="company"))
    company = Rewards(services_over(installation.send, kms=installation.kms), COMPANY)
    company.publish(CARDS)
    return company


def only_event(bus: Bus) -> dict[str, Any]:
    """The one event on the bus, which must match its schema."""
    (entry,) = bus.taken
    event: dict[str, Any] = json.loads(entry["Detail"])
    assert {name: entry[name] for name in ("EventBusName", "Source", "DetailType")} == {
        "EventBusName": "the-bus",
        "Source": incoming.SOURCES[event["type"]],
        "DetailType": event["type"],
    }
    assert misfits(envelopes()[event["type"]], event) == []
    return event


def test_payments(run: Run, bus: Bus) -> None:
    """A payment is put on the bus as it was typed, and the entry is printed as JSON."""
    code, printed, errors = run("payment", "granite-rewards", "250.50", "--operation", "client 1")
    event = only_event(bus)

    assert (code, errors) == (0, "")
    assert (event["type"], event["data"]) == (
        PAYMENT,
        {"company": "granite-rewards", "operation": "client 1", "amount": "250.50"},
    )
    printed, _, outcome = printed.rstrip().rpartition("\n")
    assert json.loads(printed) == {**bus.taken[0], "Detail": event}
    assert outcome.startswith("the payment 'client 1' is not booked yet; if it stays so see `ordering dead list`")


def test_stock(run: Run, bus: Bus, kms: MemoryKms, tmp_path: Path) -> None:
    """Codes are encrypted for their card, face value and batch; neither event nor output contains one in plain text."""
    (tmp_path / "codes").write_text(" SECRET-1 \n\nSECRET-2\n")
    code, printed, _ = run("stock", str(tmp_path / "codes"), "--card", "1", "--face-value", "100 ₽", "--batch", "b")
    event = only_event(bus)
    sealed = base64.b64decode(event["data"].pop("codes"))

    assert (code, event["type"]) == (0, STOCK)
    assert event["data"] == {"cardId": 1, "faceValue": "100 ₽", "batch": "b"}
    assert json.loads(EnvelopeSealer(kms).open(sealed, sealing_context(1, "100 ₽", "b"))) == ["SECRET-1", "SECRET-2"]
    assert [request["KeyId"] for name, request in kms.calls if name == "GenerateDataKey"] == [
        "alias/ordering-CertificatesKey"
    ]
    assert "SECRET" not in printed


def test_stock_that_would_be_refused(run: Run, bus: Bus, tmp_path: Path) -> None:
    """A file with an invalid code is refused by line, without the code, and no event is sent."""
    (tmp_path / "codes").write_text("SECRET-1\n\nSECRET\u200b-2\n", encoding="utf-8")
    code, _, errors = run("stock", str(tmp_path / "codes"), "--card", "1", "--face-value", "100 ₽", "--batch", "b")

    assert (code, bus.taken) == (1, [])
    assert errors == "nothing was loaded: invalid codes, by line: 3 has a character that is not shown, U+200B\n"


def test_stock_by_force(run: Run, bus: Bus, tmp_path: Path) -> None:
    """With --force the event asks for codes of another card and unknown face values; a byte order mark is dropped."""
    (tmp_path / "codes").write_bytes(b"\xef\xbb\xbfSECRET-1\r\n")
    stock = ("--card", "1", "--face-value", "100 ₽", "--batch", "b")
    run("stock", str(tmp_path / "codes"), *stock, "--force")

    assert only_event(bus)["data"]["force"] is True


def test_cancellations(run: Run, bus: Bus) -> None:
    """A cancellation names a training order by its id, an e-card order by company and id."""
    number, company = School(bus.installation.send).place(1), company_of(bus)
    company.place(1, orderId=order_id(1))
    codes = [run("cancel", word)[0] for word in (str(number), f"granite/{order_id(1)}")]
    events = [json.loads(entry["Detail"]) for entry in bus.taken]

    assert codes == [0, 0]
    assert {event["type"] for event in events} == {CANCELLATION}
    assert [event["data"]["order"] for event in events] == [
        {"kind": "training", "id": number},
        {"kind": "ecards", "company": "granite", "id": order_id(1)},
    ]


def test_the_effect_of_an_event(run: Run, bus: Bus, tmp_path: Path) -> None:
    """What an event has done is named, and that it has done nothing yet."""
    company = company_of(bus)
    company.place(1, orderId=order_id(1))
    (tmp_path / "codes").write_text("A\nB\n")
    waiting = "order granite/1 is Created still; if it stays so see `ordering dead list` and .ordering/functions.log"

    def outcome(*words: str) -> str:
        return str(json.loads(run(*words, "--json")[1])["outcome"])

    assert outcome("cancel", order_id(1)) == waiting
    company.orders.cancel(order_id(1))
    assert outcome("cancel", order_id(1)) == "order granite/1 is Cancelled"
    assert outcome("payment", "granite", "5", "--operation", "x").startswith("the payment 'x' is not booked yet")
    company.top_up("5", "x")
    assert outcome("payment", "granite", "5", "--operation", "x") == "the payment is booked, the balance is 5.00"
    batch = ("stock", str(tmp_path / "codes"), *STOCK_OF_CARD, "--batch", "b1 ")
    assert outcome(*batch).startswith("the batch 'b1 ' is not loaded yet")
    company.load(2)
    assert outcome(*batch) == "the batch is loaded, 2 free"


def test_waiting_for_an_effect(bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command waits for the effect, and looks again until it is there."""
    company = company_of(bus)
    monkeypatch.setattr("time.sleep", lambda _: company.top_up("5", "x"))

    assert cli.main(["dev", "event", "payment", "granite", "5", "--operation", "x", "--wait", "60"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the payment is booked, the balance is 5.00"


def test_events_are_the_local_run_s(run: Run, bus: Bus, tmp_path: Path) -> None:
    """No event is sent to a stack in AWS."""
    (tmp_path / "codes").write_text("A\n")
    bus.installation = replace(bus.installation, account="123456789012")

    for words in (
        ("payment", "granite-rewards", "5", "--operation", "x"),
        ("stock", str(tmp_path / "codes"), *STOCK_OF_CARD, "--batch", "b"),
        ("cancel", "7"),
        ("bounce", "7"),
    ):
        code, printed, errors = run(*words)
        assert (code, printed, bus.taken, bus.queue) == (1, "", [], [])
        assert errors.startswith("events are sent to the local run only")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["payment", "acme", "0", "--operation", "x"], "the event does not match its schema: data.amount"),
        (
            ["payment", "a#b", "1", "--operation", ""],
            "the event does not match its schema: data.company, data.operation",
        ),
        (["payment", "acme", "5", "--operation", "x"], "there is no partner 'acme'; see `ordering partner list`"),
        (["cancel", order_id(1)], f"there is no order '{order_id(1)}'; see `ordering order find --help`"),
        (["cancel", "0"], "there is no order '0'; see `ordering order find --help`"),
        (["bounce", "7"], "there is no order '7'; see `ordering order find --help`"),
    ],
)
def test_no_events(run: Run, bus: Bus, words: list[str], error: str) -> None:
    """An event that does not match its schema, or is about what does not exist, is not put on the bus."""
    assert run(*words) == (1, "", f"{error}\n")
    assert bus.taken == []


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ("\n", "there are no codes in"),
        ("\n".join(f"{number:0400}" for number in range(500)), "the event has 2"),
    ],
)
def test_too_few_and_too_many_codes(run: Run, bus: Bus, tmp_path: Path, codes: str, error: str) -> None:
    """No event is sent without codes, or with more codes than fit into an event of EventBridge."""
    (tmp_path / "codes").write_text(codes)
    code, _, errors = run("stock", str(tmp_path / "codes"), "--card", "1", "--face-value", "v", "--batch", "b")

    assert (code, bus.taken) == (1, [])
    assert errors.startswith(error)


def test_bounces(run: Run, bus: Bus) -> None:
    """A bounce is sent in the format of SES, and is added to the mail's history."""
    counted: list[str] = []
    outbox = Outbox(bus.installation.orders, lambda *_: "message-1", counted.append)
    number = School(bus.installation.send).place(3)
    assert run("bounce", str(number))[0] == 1
    outbox.send(outbox.mail(f"training#{number}", 1), 3, lambda: Letter("a@example.com", "s", "t"))

    assert run("bounce", str(number))[0] == 0
    (event,) = map(read_delivered, bus.queue)
    notice = read_notice(event)
    assert notice
    outbox.report(notice.tags, notice.type, notice.reason, notice.at)
    last = outbox.mail(f"training#{number}", 1).events[-1]
    assert event["source"] == "aws.ses"
    assert (last.type, last.reason) == (MailEventType.BOUNCED, "it cannot be delivered (Permanent, General)")
    assert counted == ["MailsSent", "MailsBounced"]


def test_errors_of_the_bus(run: Run, bus: Bus) -> None:
    """The command fails with the reason if the bus refuses the event, or cannot be reached."""
    bus.answer = {"ErrorCode": "InternalFailure", "ErrorMessage": "no"}
    number = str(School(bus.installation.send).place(1))
    assert run("cancel", number) == (1, "", "the event bus refused it: InternalFailure no\n")
    bus.error = EndpointConnectionError(endpoint_url="http://gone")
    assert run("cancel", number) == (
        1,
        "",
        'the event bus could not be reached: Could not connect to the endpoint URL: "http://gone"\n',
    )


def test_no_local_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the local run is not running, the command explains how to start it."""
    monkeypatch.undo()
    monkeypatch.setattr(installation, "find", lambda _: None)

    assert run("cancel", "7") == (1, "", f"{NOT_RUNNING}\n")
