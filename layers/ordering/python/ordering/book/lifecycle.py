"""The state machine of orders: the moves between statuses, the actors who may make them, and the resulting history.

Each context has a `Lifecycle`: a table of moves, in the words of its contract. An order carries a `State`: its status,
a version that rises with every change, and its history. Only a `Lifecycle` makes a state with another status, so that
every move is one of the table. A write is conditional on the version that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from ordering import clock
from ordering.errors import Conflict
from ordering.values import Value, replace


class Actor(StrEnum):
    """Who moves an order."""

    PARTNER = "partner"
    SYSTEM = "system"
    DELIVERY = "delivery"
    SUPPORT = "support"


S = TypeVar("S", bound=StrEnum)

_LONGEST_REASON = 200
"""Most characters of an operator's reason that a history keeps."""


class Operator(Value):
    """Who moves an order by a command, and why. Partners never see it."""

    name: str
    """The ARN of the caller in AWS, or `local/<user>`."""
    reason: str = ""


class Move(Value, Generic[S]):
    """An allowed change from one status to another; `source` is None for an order that is being created."""

    source: S | None
    target: S
    by: Actor
    when: str


class StatusChange(Value, Generic[S]):
    """A status that an order reached, and the time; with the operator's name and reason if a command moved it."""

    status: S
    at: datetime
    by: str = ""
    reason: str = ""

    def to_item(self) -> dict[str, str]:
        """Convert it to its stored form, without what is empty."""
        values = {"status": str(self.status), "at": clock.to_text(self.at), "by": self.by, "reason": self.reason}
        return {name: value for name, value in values.items() if value}


class State(Value, Generic[S]):
    """The state of an order. The history has an entry for each status that the order reached, oldest first."""

    status: S
    version: int
    history: tuple[StatusChange[S], ...]

    def touched(self) -> State[S]:
        """Return the order's state after a change that leaves its status as it is."""
        return replace(self, version=self.version + 1)

    def to_item(self) -> dict[str, Any]:
        """Convert the state to its stored form."""
        history = [moment.to_item() for moment in self.history]
        return {"status": str(self.status), "version": self.version, "history": history}


class Lifecycle(Generic[S]):
    """The statuses of one kind of order, and all moves between them."""

    def __init__(self, statuses: type[S], moves: Sequence[Move[S]]) -> None:
        self._statuses = statuses
        self.moves = tuple(moves)

    def targets(self, source: S) -> tuple[S, ...]:
        """Return the statuses that an order can go to from `source`, in the table's order; none if it is final."""
        return tuple(dict.fromkeys(move.target for move in self.moves if move.source == source))

    def sources(self, target: S) -> frozenset[S]:
        """Return the statuses from which an order can become `target`."""
        return frozenset(move.source for move in self.moves if move.target == target and move.source is not None)

    def allows(self, source: S | None, target: S, by: Actor) -> bool:
        """Return whether an actor may move an order from one status to another."""
        return any((move.source, move.target, move.by) == (source, target, by) for move in self.moves)

    def begin(self, order: str, target: S, by: Actor, at: datetime) -> State[S]:
        """Return the state of an order that is being created.

        Raises:
            Conflict: The actor may not create an order with this status.
        """
        if not self.allows(None, target, by):
            raise Conflict(f"Order {order} is new: {by} cannot make it {target}.")
        return State(target, 1, (StatusChange(target, at),))

    def move(  # noqa: PLR0913 - all parts of a move
        self, order: str, state: State[S], target: S, by: Actor, at: datetime, *, operator: Operator | None = None
    ) -> State[S]:
        """Return an order's state after a move; a move to the same status adds nothing to the history.

        Args:
            operator: Who moves it by a command; None for all other moves.

        Raises:
            Conflict: The move is not in the table, or another actor's to make.
        """
        if not self.allows(state.status, target, by):
            raise Conflict(f"Order {order} is {state.status}: {by} cannot make it {target}; {self._ways(state.status)}")
        who = (operator.name, operator.reason[:_LONGEST_REASON]) if operator else ("", "")
        moments = () if state.status == target else (StatusChange(target, at, *who),)
        return State(target, state.version + 1, state.history + moments)

    def read(self, item: dict[str, Any]) -> State[S]:
        """Convert back from `State.to_item`."""
        return State(self._statuses(item["status"]), item["version"], tuple(map(self._moment, item["history"])))

    def diagram(self) -> str:
        """Draw the table as a state diagram in Mermaid's notation."""
        arrows = [f"{move.source or '[*]'} --> {move.target}: {move.when} ({move.by})" for move in self.moves]
        ends = [f"{status} --> [*]" for status in self._statuses if not self.targets(status)]
        return "\n    ".join(["stateDiagram-v2", *arrows, *ends]) + "\n"

    def _moment(self, item: dict[str, str]) -> StatusChange[S]:
        status, at = self._statuses(item["status"]), clock.from_text(item["at"])
        return StatusChange(status, at, item.get("by", ""), item.get("reason", ""))

    def _ways(self, status: S) -> str:
        ways = [f"{move.target} by {move.by}" for move in self.moves if move.source == status]
        return f"it can become {', '.join(ways)}." if ways else f"{status} is final."


def moves(*rows: tuple[S | None, S, Actor, str]) -> list[Move[S]]:
    """Return a table of moves. Each row is source, target, actor, and when the move takes place."""
    return [Move(*row) for row in rows]
