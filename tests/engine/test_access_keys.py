"""Every order of the steps of a few clients that issue, cancel and read, with mishaps, and mistakes that are found.

Steps, mishaps and crashes are those of `support/scheduler.py`. At every state what is stored must make sense, and when
everybody died there, repeating the issuing must complete the order without changing a key that is there, unless it was
cancelled. `ORDERING_EXPLORE=deep` takes more mishaps.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from ordering.aws.dynamodb import Check, Put, Table, plain_item
from ordering.book import orderbook
from ordering.book.lifecycle import Actor
from ordering.clock import Clock, Deadline
from ordering.training import access_keys
from ordering.training import orders as training_orders
from ordering.training.access_keys import AccessKeys
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.statuses import TRAINING, TrainingStatus
from support import scheduler
from support.aws.memory import Memory
from support.partners import UK
from support.scheduler import START, TABLE, Client, Event, Explored, Explorer, Log, Setting, Violation
from support.training import School, Steps

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
PACK, QUANTITIES = 2, (3, 2)
SEATS = 5
NEW, COMPLETED, CANCELLED = TrainingStatus
KEPT = 1_000
"""More steps than there are."""

Act = Callable[["Desk", Log], None]


# What clients do -----------------------------------------------------------------------------------------------------


class Labels:
    """A sealer that hides nothing, but opens only what was sealed under the same context."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return context + b"|" + plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        label, _, plain = sealed.partition(b"|")
        assert label == context
        return plain


class Desk:
    """What a client has in its hands: the orders of the unit, and the one that all is about."""

    def __init__(self, table: Table, now: Clock) -> None:
        self.orders = TrainingOrders(table, UK.id, sequence=OrderIds(), now=now)

    def issue(self, steps: int) -> bool:
        return self.orders.issue_keys(ORDER, Labels(), Steps(steps))

    def keys(self) -> tuple[str, ...]:
        return tuple(key.key for key in self.orders.keys(ORDER, 0, 10, Labels()).items)


class DeskSetting(Setting):
    """Gives scripts a desk in place of a book."""

    def book(self, table: Table, now: Clock) -> Any:
        return Desk(table, now)


class Drawn:
    """What `secrets` gives a client: never the same twice, and the same in every replay."""

    def __init__(self) -> None:
        # The scheduler gives the client names of its own, which are the same in every replay.
        self._names = vars(orderbook)["secrets"]

    def token_bytes(self, count: int) -> bytes:
        return hashlib.shake_128(self._names.token_hex(8).encode()).digest(count)


def acts(*steps: tuple[str, Any, Callable[[Desk], Any]]) -> Act:
    """Do one thing after another, each an operation of its own."""

    def script(desk: Desk, log: Log) -> None:
        with mock.patch.object(access_keys, "secrets", Drawn()):
            for kind, detail, act in steps:
                with log.operation(kind, detail) as told:
                    told(act(desk))

    return script


def issues(*steps: int) -> Act:
    """Issue in steps of so many transactions, by default in one that has all the time."""
    return acts(*[("issue", count, partial(Desk.issue, steps=count)) for count in steps or (KEPT,)])


def cancels() -> Act:
    return acts(("cancel", None, lambda desk: str(desk.orders.cancel(ORDER).status)))


def reads() -> Act:
    return acts(("read", None, Desk.keys))


ORDER = 1
"""The id of an installation's first order, where ids are given out one by one."""


def prepared(*steps: Act) -> Memory:
    """An engine with an order, on which some clients have come to their end."""
    memory = Memory()
    assert School(memory, now=lambda: START).place(*QUANTITIES) == ORDER
    return _after(memory, *steps)


def _after(memory: Memory, *steps: Act) -> Memory:
    for step in steps:
        log = Log()
        with mock.patch.object(orderbook, "secrets", SimpleNamespace(token_hex=lambda _: f"before {time.monotonic()}")):
            step(Desk(Table(memory, TABLE, first_pause=0.0), lambda: START), log)
        assert log.running is None
    return memory


# What must hold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """What an engine holds of the order."""

    orders: list[tuple[TrainingStatus, int]] = field(default_factory=list)
    listed: list[TrainingStatus] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    """How many keys there are, as the order's item says."""
    packs: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, memory: Memory) -> Contents:
        contents = cls()
        for (partition, sort), raw in memory.scan(TABLE):
            item = plain_item(raw)
            if sort == "ORDER":
                contents.orders.append((TrainingStatus(item["order"]["status"]), item["order"]["version"]))
                contents.told.append(item.get("issued", 0))
            elif partition.startswith("BOOK#"):
                contents.listed.append(TrainingStatus(item["order"]["status"]))
            elif partition.startswith("KEYS#"):
                plain = Labels().open(item["keys"], f"{partition}/{sort}".encode())
                contents.packs[int(sort)] = plain.decode()
        return contents

    @property
    def status(self) -> TrainingStatus:
        ((status, _),) = self.orders
        return status

    @property
    def keys(self) -> list[str]:
        text = "".join(self.packs[pack] for pack in sorted(self.packs))
        return [text[at : at + 25] for at in range(0, len(text), 25)]

    def wrongs(self) -> Iterator[str]:
        """Tell what no moment of any history may show."""
        if self.listed != [self.status]:
            yield f"the order is {self.status}, listed as {self.listed}"
        if sorted(self.packs) != [*range(len(self.packs))]:
            yield f"packs {sorted(self.packs)} are not the first ones"
        keys = self.keys
        if len({*keys}) < len(keys) or any(len(key) != 25 for key in keys):
            yield f"keys that are no keys, or twice there: {keys}"
        if len(keys) != min(PACK * len(self.packs), SEATS):
            yield f"{len(keys)} keys in {len(self.packs)} packs"
        if self.status is COMPLETED and len(keys) != SEATS:
            yield f"Completed with {len(keys)} keys"
        if self.told[0] > len(keys):
            yield f"{self.told[0]} keys are told, there are {len(keys)}"


def changes_wrongly(before: Contents, after: Contents) -> Iterator[str]:
    """Tell what no step may do."""
    if not before.packs.items() <= after.packs.items():
        yield f"keys changed from {before.packs} to {after.packs}"
    if before.status is not NEW and (before.orders, before.packs) != (after.orders, after.packs):
        yield f"{before.status} is final: {before} became {after}"
    if before.status is not after.status and not any(TRAINING.allows(before.status, after.status, by) for by in Actor):
        yield f"from {before.status} to {after.status}"
    if after.told[0] < before.told[0]:
        yield f"told {before.told} keys, then {after.told}"


class DeskJudge:
    """What is promised of access keys."""

    def reads(self, running: tuple[str, Any]) -> bool:  # noqa: ARG002 - as it is called
        return False

    def view(self, memory: Memory) -> Contents:
        return Contents.of(memory)

    def summary(self, view: Contents) -> Hashable:  # noqa: ARG002 - as it is called
        return None

    def contents(self, view: Contents) -> Iterator[str]:
        yield from view.wrongs()

    def step(self, before: Contents, after: Contents) -> Iterator[str]:
        yield from changes_wrongly(before, after)

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """When everybody died, repeating the issuing gives every seat its key, unless the order was cancelled."""
        before, later = Contents.of(memory), memory.fork()
        _after(later, issues(2, KEPT))
        rested = Contents.of(later)
        if rested.status is not (CANCELLED if before.status is CANCELLED else COMPLETED):
            yield f"after everything was repeated: {rested.status}"
        for wrong in [*rested.wrongs(), *changes_wrongly(before, rested)]:
            yield f"after everything was repeated: {wrong}"

    def told(
        self,
        event: Event,
        earlier: Sequence[Event],  # noqa: ARG002 - as it is called
        witnessed: Sequence[Any],  # noqa: ARG002 - as it is called
        view: Contents,
    ) -> Iterator[str]:
        if not self._fits(event, view):
            yield f"{event}: there is {view}"

    def _fits(self, event: Event, view: Contents) -> bool:
        match event:
            case Event("issue", _, True) | Event("cancel", _, "Conflict"):
                return view.status is not NEW
            case Event("issue", _, False):
                # The stream tells of it again: by what it says, or by a status that is final.
                return view.told[0] > 0 or view.status is not NEW
            case Event("cancel", _, "Cancelled") | Event("read", _, "KeysNeverIssued"):
                return view.status is CANCELLED
            case Event("read", _, tuple(keys)):
                shown = [key.replace("-", "") for key in keys]
                return view.status is COMPLETED and shown == view.keys
        return event.value in {"Unavailable", "KeysNotIssued"}


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys are many packs, and sealed keys can be compared as texts."""
    monkeypatch.setattr(access_keys, "PACK_SIZE", PACK)
    monkeypatch.setattr(access_keys, "PACKS_AT_ONCE", 1)
    monkeypatch.setattr(scheduler, "json", SimpleNamespace(dumps=partial(json.dumps, default=repr)))
    monkeypatch.setattr(training_orders, "_BLOCK", 1)


@dataclass(frozen=True)
class Case:
    """Clients, what happened before them, and what may happen to them."""

    scripts: Sequence[Act]
    found: Sequence[Act] = ()
    mishaps: int = 1
    at_once: int = 1

    def explore(self, mishaps: int | None = None) -> Explored:
        with mock.patch.object(access_keys, "PACKS_AT_ONCE", self.at_once):
            return Explorer(
                [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)],  # type: ignore[arg-type] # the setting gives it a desk
                DeskJudge(),
                start=prepared(*self.found),
                setting=DeskSetting(retries=30),
                mishaps=self.mishaps if mishaps is None else mishaps,
            ).run()


CASES = {
    "one issuer whose responses are lost": Case([issues()], mishaps=3),
    "two issuers": Case([issues(), issues()]),
    "two issuers of several packs": Case([issues(), issues()], mishaps=2, at_once=2),
    "three issuers": Case([issues(), issues(), issues()], mishaps=0, at_once=2),
    "two issuers, some keys there": Case([issues(), issues()], [issues(1)]),
    "an issuer in steps and another one": Case([issues(1, 2, 2), issues()], mishaps=0),
    "two issuers in steps": Case([issues(1, 2, 2), issues(2, 2)], mishaps=0),
    "an issuer and a cancellation": Case([issues(), cancels()], mishaps=2),
    "an issuer in steps and a cancellation": Case([issues(1, 2, 2), cancels()]),
    "two issuers and a cancellation": Case([issues(), issues(), cancels()], mishaps=0, at_once=2),
    "an issuer and two cancellations": Case([issues(), cancels(), cancels()], [issues(2)], mishaps=0),
    "an issuer and a reader": Case([issues(), reads()], mishaps=2),
    "an issuer, a cancellation and a reader": Case([issues(), cancels(), reads()], [issues(2)], mishaps=0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, and wherever clients die, no promise of access keys is broken."""
    began = time.monotonic()
    explored = case.explore(case.mishaps + 1 if DEEP else None)

    report(f"access keys, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 10


# The checker can fail: what has one thing wrong each.

ANYHOW = "attribute_exists(pk) OR attribute_not_exists(pk)"


def puts_over_another(self: AccessKeys, pack: int, put: Callable[..., Put] = AccessKeys._put) -> Put:
    return Put(put(self, pack).item)


def issues_to_anybody(
    self: AccessKeys, allowed: Check, until: Deadline, issue: Callable[..., int] = AccessKeys.issue
) -> int:
    return issue(self, Check(allowed.key, ANYHOW), until)


def stops_early(self: AccessKeys, allowed: Check, until: Deadline, issue: Callable[..., int] = AccessKeys.issue) -> int:
    issue(self, allowed, until)
    return SEATS


def whatever_was_read(_: Any) -> tuple[str, dict[str, str], dict[str, int]]:
    return f"({ANYHOW}) AND #order.version > :none", {"#order": "order"}, {":none": 0}


def tells_nobody(*_: Any) -> None:
    pass


Patch = tuple[Any, str, Any]
MUTANTS: dict[str, tuple[str, Patch]] = {
    "puts over another's keys": ("two issuers", (AccessKeys, "_put", puts_over_another)),
    "issues to whoever was cancelled": ("an issuer and a cancellation", (AccessKeys, "issue", issues_to_anybody)),
    "completes before the last key": ("an issuer in steps and another one", (AccessKeys, "issue", stops_early)),
    "moves what has moved": ("an issuer and a cancellation", (training_orders, "_as_read", whatever_was_read)),
    "tells nobody to go on": ("two issuers in steps", (TrainingOrders, "_record_progress", tells_nobody)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistakes_are_found(mutant: str) -> None:
    """The checker finds what is wrong with an issuing that has one mistake."""
    name, (owner, attribute, wrong) = MUTANTS[mutant]

    with mock.patch.object(owner, attribute, wrong), pytest.raises(Violation):
        CASES[name].explore()
