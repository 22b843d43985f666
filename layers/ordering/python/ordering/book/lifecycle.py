"""The machine behind every order's status: which moves there are, who makes them, and the history that they leave.

Each context has a `Lifecycle`, a table of moves that reads like its contract's. An order carries a `State`: its status,
a version that rises with every change, and its history. Only a `Lifecycle` makes a state with another status, so
nothing else can write one. A write is conditional on the version that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from ordering import clock
from ordering.errors import Conflict


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


def moves(*rows: tuple[S | None, S, Actor, str]) -> list[Move[S]]:
    """Write a table of moves: source, target, actor, and when."""
    return [Move(*row) for row in rows]
