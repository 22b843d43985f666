"""What the explored tests share: a case, its exploration, and mutants that a case must find.

A test file defines the operations of its clients, a `Checker` with its promises, its cases, and its mutants. See
`support/scheduler.py` for the steps, and tests/README.md for how to write one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from ordering.aws import dynamodb
from ordering.aws.dynamodb import Item, NoAnswer, Send, Table, _item, plain_item
from ordering.errors import Unavailable
from support.aws.memory import Memory
from support.scheduler import TABLE, Checker, Client, Explored, Explorer, Script, Setup, Violation

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"

ANYHOW = "attribute_exists(pk) OR attribute_not_exists(pk)"
"""A condition that always holds, for mutants."""

Patch = tuple[Any, str, Any]
"""An object or a module, the name of its attribute, and another value for it."""


@dataclass(frozen=True)
class Case:
    """Clients, the contents that they start from, and the faults that may happen to them."""

    clients: Sequence[Script]
    start: Callable[[], Memory]
    setup: Setup
    checker: Checker[Any]
    lost: int = 1
    """Responses that are lost in one history."""
    ticks: int = 0
    """Steps in which more than the grace time passes."""
    patches: Sequence[Patch] = ()
    deep: Mapping[str, Any] | None = None
    """Fields that differ in a deep exploration; by default one more response is lost."""

    def explore(self) -> Explored:
        """Explore every interleaving.

        Raises:
            Violation: A promise is broken.
        """
        with ExitStack() as stack:
            # A retry has no pause here. Even a sleep of no length lets other processes run, which is most of the time.
            stack.enter_context(mock.patch.object(dynamodb, "time", SimpleNamespace(sleep=lambda _: None)))
            for patch in self.patches:
                stack.enter_context(mock.patch.object(*patch))
            return Explorer(
                [Client(f"client {number}", script) for number, script in enumerate(self.clients, 1)],
                self.checker,
                setup=self.setup,
                start=self.start(),
                ticks=self.ticks,
                lost=self.lost,
            ).run()

    def deeper(self) -> Case:
        return replace(self, **({"lost": self.lost + 1} if self.deep is None else self.deep))


@dataclass(frozen=True)
class Mutant:
    """A fault planted in the code, and the case that must find it."""

    case: Case
    patches: Sequence[Patch] = ()
    build: Callable[..., Any] | None = None
    """Builds the code under test with the fault in it, in place of the case's own."""
    found_by: type[BaseException] = field(default=Violation)
    """Another exception if the code itself, or its test double, refuses the fault's consequence."""

    def planted(self) -> Case:
        setup = replace(self.case.setup, build=self.build) if self.build else self.case.setup
        return replace(self.case, patches=[*self.case.patches, *self.patches], setup=setup)


def every_interleaving(
    topic: str, cases: Mapping[str, Case], promise: str, *, at_least: int = 10
) -> Callable[..., None]:
    """The test that explores all cases.

    Args:
        topic: The name of the cases in the printed counts.
        promise: The sentence that the test holds.
        at_least: Interleavings that each case must have more than, so that none is empty by mistake.
    """

    @pytest.mark.parametrize("case", cases.values(), ids=cases.keys())
    def test(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
        began = time.monotonic()
        explored = (case.deeper() if DEEP else case).explore()

        report(f"{topic}, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
        assert explored.histories > at_least, explored

    test.__doc__ = promise
    return test


def every_mutant(mutants: Mapping[str, Mutant], cases: Mapping[str, Case]) -> Callable[..., None]:
    """The test that each mutant is found, and that its case finds nothing without it.

    Args:
        cases: The cases that are explored without a mutant anyway.
    """

    @pytest.mark.parametrize("mutant", mutants.values(), ids=mutants.keys())
    def test(mutant: Mutant) -> None:
        """The checker finds the fault of a mutant, and nothing in the same case without it."""
        if not any(mutant.case is case for case in cases.values()):
            mutant.case.explore()

        with pytest.raises(mutant.found_by):
            mutant.planted().explore()

    return test


class ReadableSealer:
    """A sealer that does not encrypt, but opens only what was sealed under the same context."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return context + b"|" + plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        label, _, plain = sealed.partition(b"|")
        assert label == context
        return plain


class TableAndServices(Memory):
    """A table, and other services that keep their state in it too, so that it is a part of each explored state."""

    def read(self, partition: str, sort: str) -> Item:
        raw = self._find((TABLE, partition, sort))
        return plain_item(raw) if raw else {}

    def write(self, partition: str, sort: str, **attributes: Any) -> None:
        self.load(TABLE, _item({"pk": partition, "sk": sort, **attributes}))


def service(table: Table) -> Send:
    """Calls of another service over a table's connection; a lost response is `Unavailable`, and nothing retries it."""

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return table.send(operation, request)
        except NoAnswer as error:
            raise Unavailable from error

    return call
