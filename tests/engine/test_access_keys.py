"""Access keys: every interleaving of clients that issue, cancel and read, with lost responses, and crashes anywhere.

After a crash of all clients in any state, repeating the issuing must complete the order without changing an existing
key, unless the order was cancelled. `ORDERING_EXPLORE=deep` loses more responses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest import mock

import pytest

from engine.explored import ANYHOW, Case, Mutant, ReadableSealer, every_interleaving, every_mutant
from ordering.aws.dynamodb import Check, Put, plain_item
from ordering.book.lifecycle import Actor
from ordering.clock import Deadline
from ordering.training import access_keys
from ordering.training import orders as training_orders
from ordering.training.access_keys import AccessKeys
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.statuses import TRAINING, TrainingStatus
from support.aws.memory import Memory
from support.partners import UK
from support.scheduler import START, TABLE, Checker, Result, Script, Setup, complete, operations
from support.training import School, Steps

PACK, QUANTITIES = 2, (3, 2)
SEATS = 5
NEW, COMPLETED, CANCELLED = TrainingStatus
WHOLE = 3
"""Packs in one transaction by which it issues all keys of the order."""

UNLIMITED = 1_000
"""More transactions than any issuing needs."""

ORDER = 1
"""The id of an installation's first order, where ids are reserved one by one."""

SEALER = ReadableSealer()


# Operations ----------------------------------------------------------------------------------------------------------


def issues(*steps: int) -> Script:
    """Issue in steps of so many transactions each, by default in one step without a limit."""
    return operations(
        *[
            ("issue", count, lambda orders, count=count: orders.issue_keys(ORDER, SEALER, Steps(count)))
            for count in steps or (UNLIMITED,)
        ]
    )


def cancels() -> Script:
    return operations(("cancel", None, lambda orders: str(orders.cancel(ORDER).status)))


def reads() -> Script:
    return operations(("read", None, lambda orders: tuple(key.key for key in orders.keys(ORDER, 0, 10, SEALER).items)))


SETUP = Setup(lambda table, now: TrainingOrders(table, UK.id, sequence=OrderIds(), now=now), 30, [access_keys])


def placed(*scripts: Script) -> Memory:
    """A table with an order, after some clients have come to their ends."""
    memory = Memory()
    assert School(memory, now=lambda: START).place(*QUANTITIES) == ORDER
    return complete(memory, SETUP, *scripts)


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyContents:
    """The order and its keys as they are stored."""

    orders: list[tuple[TrainingStatus, int]] = field(default_factory=list)
    listed: list[TrainingStatus] = field(default_factory=list)
    issued: list[int] = field(default_factory=list)
    """The number of keys in the order's item."""
    packs: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, memory: Memory) -> KeyContents:
        contents = cls()
        for (partition, sort), raw in memory.scan(TABLE):
            item = plain_item(raw)
            if sort == "ORDER":
                contents.orders.append((TrainingStatus(item["order"]["status"]), item["order"]["version"]))
                contents.issued.append(item.get("issued", 0))
            elif partition.startswith("BOOK#"):
                contents.listed.append(TrainingStatus(item["order"]["status"]))
            elif partition.startswith("KEYS#"):
                contents.packs[int(sort)] = SEALER.open(item["keys"], f"{partition}/{sort}".encode()).decode()
        return contents

    @property
    def status(self) -> TrainingStatus:
        ((status, _),) = self.orders
        return status

    @property
    def keys(self) -> list[str]:
        text = "".join(self.packs[pack] for pack in sorted(self.packs))
        return [text[at : at + 25] for at in range(0, len(text), 25)]

    def violations(self) -> Iterator[str]:
        if self.listed != [self.status]:
            yield f"the order is {self.status}, listed as {self.listed}"
        if sorted(self.packs) != [*range(len(self.packs))]:
            yield f"packs {sorted(self.packs)} are not the first ones"
        keys = self.keys
        if len({*keys}) < len(keys) or any(len(key) != 25 for key in keys):
            yield f"invalid or duplicate keys: {keys}"
        if len(keys) != min(PACK * len(self.packs), SEATS):
            yield f"{len(keys)} keys in {len(self.packs)} packs"
        if self.status is COMPLETED and len(keys) != SEATS:
            yield f"Completed with {len(keys)} keys"
        if self.issued[0] > len(keys):
            yield f"{self.issued[0]} keys are recorded, there are {len(keys)}"


class KeyChecker(Checker[KeyContents]):
    def view(self, memory: Memory) -> KeyContents:
        return KeyContents.of(memory)

    def state(self, view: KeyContents) -> Iterator[str]:
        return view.violations()

    def step(self, before: KeyContents, after: KeyContents) -> Iterator[str]:
        if not before.packs.items() <= after.packs.items():
            yield f"keys changed from {before.packs} to {after.packs}"
        if before.status is not NEW and (before.orders, before.packs) != (after.orders, after.packs):
            yield f"{before.status} is final: {before} became {after}"
        if before.status is not after.status and not any(
            TRAINING.allows(before.status, after.status, by) for by in Actor
        ):
            yield f"from {before.status} to {after.status}"
        if after.issued[0] < before.issued[0]:
            yield f"{before.issued} keys recorded, then {after.issued}"

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """Repeating the issuing gives each seat its key, unless the order was cancelled."""
        before, after = self.view(memory), self.view(complete(memory.fork(), setup, issues(2, UNLIMITED)))
        if after.status is not (CANCELLED if before.status is CANCELLED else COMPLETED):
            yield f"after recovery: {after.status}"
        for violation in [*after.violations(), *self.step(before, after)]:
            yield f"after recovery: {violation}"

    def accepts(self, result: Result, view: KeyContents) -> bool:
        match result:
            case Result("issue", _, True) | Result("cancel", _, "Conflict"):
                return view.status is not NEW
            case Result("issue", _, False):
                # The stream invokes the issuer again: after the change of `issued`, or of the status.
                return view.issued[0] > 0 or view.status is not NEW
            case Result("cancel", _, "Cancelled") | Result("read", _, "KeysNeverIssued"):
                return view.status is CANCELLED
            case Result("read", _, tuple(keys)):
                shown = [key.replace("-", "") for key in keys]
                return view.status is COMPLETED and shown == view.keys
        return result.value in {"Unavailable", "KeysNotIssued"}


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of two keys, so that a few keys fill several, and ids reserved one by one."""
    monkeypatch.setattr(access_keys, "PACK_SIZE", PACK)
    monkeypatch.setattr(training_orders, "_BLOCK", 1)


def case(clients: Sequence[Script], before: Sequence[Script] = (), lost: int = 1, at_once: int = 1) -> Case:
    """A case on the order after `before`; an issuer writes `at_once` packs in one transaction."""
    patches = [(access_keys, "PACKS_AT_ONCE", at_once)]
    return Case(clients, partial(placed, *before), SETUP, KeyChecker(), lost, patches=patches)


def begun_in_steps() -> Memory:
    """A table with an order whose first pack an issuer has written before it crashed, in steps of one pack."""
    with mock.patch.object(access_keys, "PACKS_AT_ONCE", 1):
        return placed(issues(1))


CASES = {
    "one issuer whose responses are lost": case([issues()], lost=3),
    "two issuers": case([issues(), issues()]),
    "two issuers of several packs": case([issues(), issues()], lost=2, at_once=2),
    "three issuers": case([issues(), issues(), issues()], lost=0, at_once=2),
    "two issuers, some keys there": case([issues(), issues()], [issues(1)]),
    "an issuer in steps and another one": case([issues(1, 2, 2), issues()], lost=0),
    "two issuers in steps": case([issues(1, 2, 2), issues(2, 2)], lost=0),
    "an issuer and a cancellation": case([issues(), cancels()], lost=2),
    "an issuer in steps and a cancellation": case([issues(1, 2, 2), cancels()]),
    "two issuers and a cancellation": case([issues(), issues(), cancels()], lost=0, at_once=2),
    "an issuer and two cancellations": case([issues(), cancels(), cancels()], [issues(2)], lost=0),
    "an issuer and a reader": case([issues(), reads()], lost=2),
    "an issuer, a cancellation and a reader": case([issues(), cancels(), reads()], [issues(2)], lost=0),
    "one transaction whose responses are lost": case([issues()], lost=3, at_once=WHOLE),
    "two issuers in one transaction each": case([issues(), issues()], lost=3, at_once=WHOLE),
    "three issuers in one transaction each": case([issues(), issues(), issues()], at_once=WHOLE),
    "two issuers in one transaction each, some keys there": replace(
        case([issues(), issues()], at_once=WHOLE), start=begun_in_steps
    ),
    "one transaction and a cancellation": case([issues(), cancels()], lost=2, at_once=WHOLE),
    "one transaction, a cancellation and a reader": case([issues(), cancels(), reads()], at_once=WHOLE),
}

test_every_interleaving = every_interleaving(
    "access keys", CASES, "In every interleaving, with crashes anywhere, no promise of access keys is broken."
)


# Mutants -------------------------------------------------------------------------------------------------------------


def puts_over_another(self: AccessKeys, pack: int, put: Callable[..., Put] = AccessKeys._put) -> Put:
    return Put(put(self, pack).item)


def puts_some(self: AccessKeys, puts: Callable[[AccessKeys], list[Put]] = AccessKeys.all_puts) -> list[Put]:
    return puts(self)[:-1]


def issues_to_cancelled(
    self: AccessKeys, allowed: Check, until: Deadline, issue: Callable[..., int] = AccessKeys.issue
) -> int:
    return issue(self, Check(allowed.key, ANYHOW), until)


def stops_early(self: AccessKeys, allowed: Check, until: Deadline, issue: Callable[..., int] = AccessKeys.issue) -> int:
    issue(self, allowed, until)
    return SEATS


def any_version(_: Any) -> tuple[str, dict[str, str], dict[str, int]]:
    return f"({ANYHOW}) AND #order.version > :none", {"#order": "order"}, {":none": 0}


def records_nothing(*_: Any) -> None:
    pass


MUTANTS = {
    "puts over another's keys": Mutant(CASES["two issuers"], [(AccessKeys, "_put", puts_over_another)]),
    "puts over another's keys in one transaction": Mutant(
        CASES["two issuers in one transaction each, some keys there"], [(AccessKeys, "_put", puts_over_another)]
    ),
    "completes a cancelled order in one transaction": Mutant(
        CASES["one transaction and a cancellation"], [(training_orders, "as_read", any_version)]
    ),
    "completes by half of the keys": Mutant(
        CASES["one transaction whose responses are lost"], [(AccessKeys, "all_puts", puts_some)]
    ),
    "issues to a cancelled order": Mutant(
        CASES["an issuer and a cancellation"], [(AccessKeys, "issue", issues_to_cancelled)]
    ),
    "completes before the last key": Mutant(
        CASES["an issuer in steps and another one"], [(AccessKeys, "issue", stops_early)]
    ),
    "changes the status of any version": Mutant(
        CASES["an issuer and a cancellation"], [(training_orders, "as_read", any_version)]
    ),
    "does not record that it stopped": Mutant(
        CASES["two issuers in steps"], [(TrainingOrders, "_record_progress", records_nothing)]
    ),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)
