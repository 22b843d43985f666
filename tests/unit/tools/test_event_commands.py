"""`ordering event republish`: events of histories are put on the bus again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ordering import values
from ordering.deals.orders import DealOrders
from ordering.events.history import event_id
from ordering.identity.accounts import Accounts
from ordering.mail.history import name_of_mails
from ordering.principal import DealTerms
from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from support.aws.memory import Memory
from support.commands import Done, Run
from support.partners import PARTNER
from support.recording import KnownKms, Recording
from support.scenarios import Day


@dataclass
class Bus:
    """A client of EventBridge that keeps what it accepts, and refuses the groups' entries that it is to refuse."""

    details: list[dict[str, Any]] = field(default_factory=list)
    refuse: Callable[[Mapping[str, Any]], bool] = lambda _: False
    code: str = "MalformedDetail"

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - botocore's argument
        answers = []
        for entry in Entries:
            detail = json.loads(entry["Detail"])
            if self.refuse(detail):
                answers.append({"ErrorCode": self.code})
                continue
            assert (entry["Source"], entry["DetailType"]) == ("ordering", detail["type"])
            self.details.append(detail)
            answers.append({"EventId": "1"})
        return {"Entries": answers}


@dataclass(frozen=True)
class Evening:
    """A stack at the end of a day of orders, and the events that it published."""

    tables: Memory
    kms: KnownKms
    published: Mapping[str, dict[str, Any]]
    """The events by id."""
    plain: int

    @property
    def histories(self) -> list[str]:
        """The names of all histories that can be."""
        orders = [key[0].removeprefix("ORDER#") for key, _ in self.tables.scan("OrdersTable") if key[1] == "ORDER"]
        return [*orders, *map(name_of_mails, orders)]

    def site(self, bus: Bus) -> Installation:
        """A copy of the stack."""
        site = Recording(self.kms).installation(self.tables.fork())
        return replace(site, connect=lambda service: {"events": bus}[service])


@pytest.fixture(scope="module")
def evening() -> Evening:
    kms = KnownKms()
    day = Day(kms=kms)
    day.begin()
    day.world.run()
    day.world.now += timedelta(hours=1)
    day.bounce_and_resend()
    tables = day.world.tables
    site = Recording(kms).installation(tables)
    Accounts(site.accounts).save_partner(
        values.replace(PARTNER, id="crm", business_units=(), grants=frozenset({"deals"}), deals=DealTerms("enterprise"))
    )
    DealOrders(site.orders, "crm").place(26, Decimal(5))
    published = {event["id"]: event for event in (json.loads(entry["Detail"]) for entry in day.world.bus)}
    return Evening(tables, kms, published, day.plain)


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def run(evening: Evening, bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering` on a copy of the evening's stack, whose bus is `bus`."""
    site = evening.site(bus)
    monkeypatch.setattr(commands, "open_stack", lambda *_: site)

    def command(*words: str) -> Done:
        code = cli.main([*words, "--stack", "ordering", "--yes"])
        return Done(code, *capsys.readouterr())

    return command


def test_all_events_are_republished(evening: Evening, bus: Bus, run: Run) -> None:
    """All events of orders and mails are put on the bus again, each as it was, and those of a history in sequence."""
    done = run("event", "republish", "--since", "2000-01-01")
    sequences: dict[str, list[int]] = {}
    for event in bus.details:
        history = next(name for name in evening.histories if event_id(name, event["sequence"] - 1) == event["id"])
        sequences.setdefault(history, []).append(event["sequence"])

    assert done.output == f"{len(evening.published)} events are on the bus again\n"
    assert {event["id"]: event for event in bus.details} == evening.published
    assert len(bus.details) == len(evening.published)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values())
    assert any(name.startswith("mails#") for name in sequences)


def test_one_order(evening: Evening, bus: Bus, run: Run) -> None:
    """The events of one order are put on the bus again, and the change is noted with its reason."""
    run("event", "republish", str(evening.plain), "--reason", "ticket 17")
    audit = json.loads(run("audit", "list", "--json").output)
    noted = [(one["subject"], one["reason"]) for one in audit if one["action"] == "event republish"]

    assert {event["data"]["order"]["id"] for event in bus.details} == {evening.plain}
    assert [event["type"].rpartition(".")[2] for event in bus.details] == ["new", "completed"]
    assert (f"events {evening.plain}", "ticket 17") in noted


def test_only_since(evening: Evening, bus: Bus, run: Run) -> None:
    """Events before a time stay away, also those of an order whose later ones are republished."""
    times = {event["time"] for event in evening.published.values()}
    limit = min(times - {min(times)})
    run("event", "republish", "--since", limit)
    expected = {one for one, event in evening.published.items() if event["time"] >= limit}

    assert 0 < len(expected) < len(evening.published)
    assert {event["id"] for event in bus.details} == expected


def test_refused_events(evening: Evening, bus: Bus, run: Run) -> None:
    """The histories of which an event is refused are named, and the events of all others are on the bus."""
    bus.refuse = lambda event: event["data"]["order"]["id"] == evening.plain
    done = run("event", "republish", "--since", "2000-01-01")

    assert done.code == 1
    assert f"not all of 1 histories (training#{evening.plain}); run it again" in done.errors
    assert {*evening.published} - {event["id"] for event in bus.details} == {
        event_id(f"training#{evening.plain}", index) for index in range(2)
    }


def test_no_bus(evening: Evening, run: Run, bus: Bus) -> None:
    """A bus that cannot be called is an error with the reason."""

    def unreachable(_: Mapping[str, Any]) -> bool:
        raise EndpointConnectionError(endpoint_url="https://events")

    bus.refuse = unreachable

    assert "the event bus cannot be called: Could not connect" in run("event", "republish", str(evening.plain)).errors


def test_what_is_meant_must_be_said(run: Run) -> None:
    """Neither an order nor a time is wrong usage; an order of a kind without events is an error."""
    assert "name an order, or a time with --since" in run("event", "republish").errors
    assert "order crm/1 has no events" in run("event", "republish", "crm/1").errors
