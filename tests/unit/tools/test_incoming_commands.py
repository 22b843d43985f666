"""`ordering event`: the events that each command puts on the bus, and the errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.ses import Letter
from ordering.ecards.incoming import PAYMENT, STOCK, sealing_context
from ordering.events.incoming import CANCELLATION, misfits, read_delivered
from ordering.fulfilment.incoming import envelopes
from ordering.mail.incoming import read_notice
from ordering.mail.outbox import MailEventType, Outbox
from ordering_tools import cli, installation
from ordering_tools.installation import Installation
from ordering_tools.local.engine.state import Running
from ordering_tools.operations import commands, incoming
from ordering_tools.operations.signing import SigningKey
from ordering_tools.stacks import Stack
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.training import School

ORDER = "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb"
RUNNING = Running("http://here", "http://dynamodb", "http://services", "http://functions", "template.yaml", 1)


@dataclass
class Bus:
    """An event bus that keeps its events, or responds with an error that a test has set."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=lambda: {"EventId": "1"})
    error: EndpointConnectionError | None = None
    queue: list[str] = field(default_factory=list)
    installation: Installation = field(init=False)

    def connect(self, service: str, endpoint: str) -> Bus:
        assert (endpoint, service) == (RUNNING.services, "events")
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
    opened = bus.installation = Installation(
        Memory(), kms, SigningKey("", "", {}), "", "", incoming_queue=lambda body, _: bus.queue.append(body)
    )
    monkeypatch.setattr(commands, "reopen", lambda _: opened)
    monkeypatch.setattr(installation, "find", lambda _: RUNNING)
    monkeypatch.setattr(incoming, "connect", bus.connect)
    monkeypatch.setattr(incoming, "read_stack", lambda _: Stack({incoming.BUS: "the-bus"}, {}))
    return bus


@pytest.fixture
def run(bus: Bus, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:  # noqa: ARG001 - the command uses it
    """Runs `ordering event` with arguments; returns the exit code, the output and the errors."""

    def command(*words: str) -> tuple[int, str, str]:
        return cli.main(["event", *words]), *capsys.readouterr()

    return command


Run = Callable[..., tuple[int, str, str]]


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
    assert json.loads(printed) == {**bus.taken[0], "Detail": event}


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


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["35044"], {"kind": "training", "id": 35044}),
        ([ORDER, "--company", "granite-rewards"], {"kind": "ecards", "company": "granite-rewards", "id": ORDER}),
    ],
)
def test_cancellations(run: Run, bus: Bus, words: list[str], order: dict[str, Any]) -> None:
    """A cancellation names a training order by its id, an e-card order by company and id."""
    code, _, _ = run("cancel", *words)
    event = only_event(bus)

    assert (code, event["type"], event["data"]) == (0, CANCELLATION, {"order": order})


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["payment", "acme", "0", "--operation", "x"], "the event does not match its schema: data.amount"),
        (
            ["payment", "a#b", "1", "--operation", ""],
            "the event does not match its schema: data.company, data.operation",
        ),
        (["cancel", ORDER], f"'{ORDER}' is not a valid training order id; for an e-card order add --company"),
        (["cancel", "0"], "the event does not match its schema: data.order.id"),
        (["cancel", "7", "--company", "acme"], "the event does not match its schema: data.order.id"),
    ],
)
def test_no_events(run: Run, bus: Bus, words: list[str], error: str) -> None:
    """An event that does not match its schema is not put on the bus."""
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
    assert run("cancel", "7") == (1, "", "the event bus refused it: InternalFailure no\n")
    bus.error = EndpointConnectionError(endpoint_url="http://gone")
    assert run("cancel", "7") == (
        1,
        "",
        'the event bus could not be reached: Could not connect to the endpoint URL: "http://gone"\n',
    )


def test_no_local_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the local run is not running, the command explains how to start it."""
    monkeypatch.setattr(installation, "find", lambda _: None)

    assert run("cancel", "7") == (1, "", "the local run is not running; start it with `make serve`\n")
