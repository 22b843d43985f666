"""Which statuses an order can have, how it comes from one to another, and who takes it there.

`TRAINING` and `ECARDS` are tables that read like the contracts'. An order carries a `State`: its status, a version
that rises with every change, and its history. Only a `Lifecycle` makes a state with another status, so that nothing
else can write one; whoever stores it does so on the condition that the version is still the one that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from ordering import clock
from ordering.errors import Conflict


class TrainingStatus(StrEnum):
    """Statuses of a training order, by their published names."""

    NEW = "New"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


class EcardStatus(StrEnum):
    """Statuses of an e-card order, by their published names."""

    CREATED = "Created"
    PAYED = "Payed"
    READY = "ReadyForDelivery"
    PARTIALLY_DELIVERED = "PartiallyDelivered"
    AWAITING = "AwaitingCertificateAssignment"
    DELIVERED = "Delivered"
    CANCELLED = "Cancelled"


class Actor(StrEnum):
    """Who moves an order."""

    PARTNER = "partner"
    SYSTEM = "system"
    DELIVERY = "delivery"
    SUPPORT = "support"


S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Move(Generic[S]):
    """A way from one status to another; from None for an order that is being created."""

    source: S | None
    target: S
    by: Actor
    when: str


@dataclass(frozen=True, slots=True)
class StatusChange(Generic[S]):
    """When an order came to a status."""

    status: S
    at: datetime


@dataclass(frozen=True, slots=True)
class State(Generic[S]):
    """How far an order has come. Its history has a moment for each status that it came to, oldest first."""

    status: S
    version: int
    history: tuple[StatusChange[S], ...]

    def touched(self) -> State[S]:
        """Return the state of the same order after a change that is no move."""
        return replace(self, version=self.version + 1)

    def to_item(self) -> dict[str, Any]:
        """Write it as it is stored."""
        history = [{"status": str(moment.status), "at": clock.to_text(moment.at)} for moment in self.history]
        return {"status": str(self.status), "version": self.version, "history": history}


class Lifecycle(Generic[S]):
    """The statuses of one kind of order, and all moves between them."""

    def __init__(self, statuses: type[S], moves: Sequence[Move[S]]) -> None:
        self._statuses = statuses
        self.moves = tuple(moves)

    def targets(self, source: S) -> tuple[S, ...]:
        """Return what an order can still become, in the table's order; nothing if its status is final."""
        return tuple(dict.fromkeys(move.target for move in self.moves if move.source == source))

    def sources(self, target: S) -> frozenset[S]:
        """Return the statuses from which an order can become `target`."""
        return frozenset(move.source for move in self.moves if move.target == target and move.source is not None)

    def allows(self, source: S | None, target: S, by: Actor) -> bool:
        """Say whether somebody may take an order from one status to another."""
        return any((move.source, move.target, move.by) == (source, target, by) for move in self.moves)

    def begin(self, order: str, target: S, by: Actor, at: datetime) -> State[S]:
        """Return the state of an order that is being created.

        Raises:
            Conflict: No order begins like that.
        """
        if not self.allows(None, target, by):
            raise Conflict(f"Order {order} is new: {by} cannot make it {target}.")
        return State(target, 1, (StatusChange(target, at),))

    def move(self, order: str, state: State[S], target: S, by: Actor, at: datetime) -> State[S]:
        """Return an order's state after a move; one that stays in its status adds nothing to the history.

        Raises:
            Conflict: The move is not in the table, or is somebody else's to make.
        """
        if not self.allows(state.status, target, by):
            raise Conflict(f"Order {order} is {state.status}: {by} cannot make it {target}; {self._ways(state.status)}")
        moments = () if state.status == target else (StatusChange(target, at),)
        return State(target, state.version + 1, state.history + moments)

    def read(self, item: dict[str, Any]) -> State[S]:
        """Read back what `State.to_item` wrote."""
        history = (StatusChange(self._statuses(one["status"]), clock.from_text(one["at"])) for one in item["history"])
        return State(self._statuses(item["status"]), item["version"], tuple(history))

    def diagram(self) -> str:
        """Draw the table as a state diagram in Mermaid's notation."""
        arrows = [f"{move.source or '[*]'} --> {move.target}: {move.when} ({move.by})" for move in self.moves]
        ends = [f"{status} --> [*]" for status in self._statuses if not self.targets(status)]
        return "\n    ".join(["stateDiagram-v2", *arrows, *ends]) + "\n"

    def _ways(self, status: S) -> str:
        ways = [f"{move.target} by {move.by}" for move in self.moves if move.source == status]
        return f"it can become {', '.join(ways)}." if ways else f"{status} is final."


def _rows(*rows: tuple[S | None, S, Actor, str]) -> list[Move[S]]:
    return [Move(*row) for row in rows]


_NEW, _COMPLETED = TrainingStatus.NEW, TrainingStatus.COMPLETED

TRAINING = Lifecycle(
    TrainingStatus,
    _rows(
        (None, _NEW, Actor.PARTNER, "an order is placed"),
        (_NEW, _COMPLETED, Actor.SYSTEM, "its keys are issued"),
        (_NEW, TrainingStatus.CANCELLED, Actor.SUPPORT, "support cancels before keys are issued"),
    ),
)


_CREATED, _PAYED, _AWAITING = EcardStatus.CREATED, EcardStatus.PAYED, EcardStatus.AWAITING
_READY, _PARTIALLY = EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED
_DELIVERED, _CANCELLED = EcardStatus.DELIVERED, EcardStatus.CANCELLED

ECARDS = Lifecycle(
    EcardStatus,
    _rows(
        (None, _PAYED, Actor.PARTNER, "the balance covers the total and is debited"),
        (None, _CREATED, Actor.PARTNER, "the balance does not cover the total"),
        (_CREATED, _PAYED, Actor.SYSTEM, "the balance has come to cover the total and is debited"),
        (_PAYED, _READY, Actor.SYSTEM, "certificates for all its cards are assigned"),
        (_PAYED, _AWAITING, Actor.SYSTEM, "stock is short"),
        (_AWAITING, _READY, Actor.SYSTEM, "stock has arrived and all certificates are assigned"),
        (_READY, _PARTIALLY, Actor.DELIVERY, "some certificates are handed over"),
        (_READY, _DELIVERED, Actor.DELIVERY, "all certificates are handed over"),
        (_PARTIALLY, _PARTIALLY, Actor.DELIVERY, "some more certificates are handed over"),
        (_PARTIALLY, _DELIVERED, Actor.DELIVERY, "the last certificates are handed over"),
        *(
            (status, _CANCELLED, Actor.SUPPORT, "support cancels and what was debited is refunded")
            for status in (_CREATED, _PAYED, _AWAITING, _READY, _PARTIALLY)
        ),
    ),
)
