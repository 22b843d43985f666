"""The lifecycles of e-card and training orders, compared with the rows of the contracts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.book.lifecycle import Actor, Move, Operator, State, StatusChange
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict
from ordering.training.statuses import TRAINING, TrainingStatus

AT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LATER = AT + timedelta(hours=1)

# (from, to, actor): the contract's table, with its "any not final" and "some, all" written out.
ECARD_ROWS = {
    ("(new)", "Payed", "partner"),
    ("(new)", "Created", "partner"),
    ("Created", "Payed", "system"),
    ("Payed", "ReadyForDelivery", "system"),
    ("Payed", "AwaitingCertificateAssignment", "system"),
    ("AwaitingCertificateAssignment", "ReadyForDelivery", "system"),
    ("ReadyForDelivery", "PartiallyDelivered", "delivery"),
    ("ReadyForDelivery", "Delivered", "delivery"),
    ("PartiallyDelivered", "PartiallyDelivered", "delivery"),
    ("PartiallyDelivered", "Delivered", "delivery"),
    ("Created", "Cancelled", "support"),
    ("Payed", "Cancelled", "support"),
    ("AwaitingCertificateAssignment", "Cancelled", "support"),
    ("ReadyForDelivery", "Cancelled", "support"),
    ("PartiallyDelivered", "Cancelled", "support"),
}
TRAINING_ROWS = {
    ("(new)", "New", "partner"),
    ("New", "Completed", "system"),
    ("New", "Cancelled", "support"),
}


def state(status: EcardStatus) -> State[EcardStatus]:
    return State(status, 4, (StatusChange(status, AT),))


def test_ecard_statuses() -> None:
    """E-card orders have exactly the statuses that the contract names."""
    assert [*EcardStatus] == [
        "Created",
        "Payed",
        "ReadyForDelivery",
        "PartiallyDelivered",
        "AwaitingCertificateAssignment",
        "Delivered",
        "Cancelled",
    ]


@pytest.mark.parametrize(("moves", "rows"), [(ECARDS.moves, ECARD_ROWS), (TRAINING.moves, TRAINING_ROWS)])
def test_moves_are_those_of_the_contract(moves: Sequence[Move[Any]], rows: set[tuple[str, str, str]]) -> None:
    """A lifecycle has each row of the contract once, and no other."""
    assert sorted((str(move.source or "(new)"), str(move.target), str(move.by)) for move in moves) == sorted(rows)


@pytest.mark.parametrize(("source", "target", "by"), [*itertools.product(EcardStatus, EcardStatus, Actor)])
def test_every_move(source: EcardStatus, target: EcardStatus, by: Actor) -> None:
    """A move that the contract lists for this actor succeeds; every other move raises Conflict."""
    if (source, target, by) in ECARD_ROWS:
        assert ECARDS.move("a", state(source), target, by, LATER).status is target
    else:
        with pytest.raises(Conflict):
            ECARDS.move("a", state(source), target, by, LATER)


@pytest.mark.parametrize(("target", "by"), [*itertools.product(EcardStatus, Actor)])
def test_every_first_status(target: EcardStatus, by: Actor) -> None:
    """An order begins only in a status the contract allows its actor, with version 1 and one entry in its history."""
    if ("(new)", target, by) in ECARD_ROWS:
        assert ECARDS.begin("a", target, by, AT) == State(target, 1, (StatusChange(target, AT),))
    else:
        with pytest.raises(Conflict):
            ECARDS.begin("a", target, by, AT)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            EcardStatus.CREATED,
            (
                "Order a is Created: delivery cannot make it Delivered; it can become Payed by system, "
                "Cancelled by support."
            ),
        ),
        (
            EcardStatus.CANCELLED,
            "Order a is Cancelled: delivery cannot make it Delivered; Cancelled is final.",
        ),
    ],
)
def test_refused_moves_list_the_possible_ones(status: EcardStatus, expected: str) -> None:
    """The message of a refused move names the order, its status and the moves that are possible."""
    with pytest.raises(Conflict) as raised:
        ECARDS.move("a", state(status), EcardStatus.DELIVERED, Actor.DELIVERY, AT)

    assert str(raised.value) == expected


def test_final_statuses() -> None:
    """Delivered and Cancelled are the only final statuses of e-card orders."""
    assert {EcardStatus.DELIVERED, EcardStatus.CANCELLED} == {one for one in EcardStatus if not ECARDS.targets(one)}


def test_a_move_is_added_to_the_history() -> None:
    """A move raises the version and adds an entry to the history."""
    begun = ECARDS.begin("a", EcardStatus.CREATED, Actor.PARTNER, AT)
    moved = ECARDS.move("a", begun, EcardStatus.PAYED, Actor.SYSTEM, LATER)

    assert moved == State(
        EcardStatus.PAYED, 2, (StatusChange(EcardStatus.CREATED, AT), StatusChange(EcardStatus.PAYED, LATER))
    )


def test_unchanged_status_adds_no_history() -> None:
    """A move to the same status, and a change without a move, raise the version and add no history."""
    partly = state(EcardStatus.PARTIALLY_DELIVERED)

    expected = State(partly.status, 5, partly.history)
    assert ECARDS.move("a", partly, partly.status, Actor.DELIVERY, LATER) == expected
    assert partly.touched() == expected


def test_a_state_is_stored_and_read() -> None:
    """A state that was written to an item is read back equal, with its times in UTC."""
    begun = TRAINING.begin("1", TrainingStatus.NEW, Actor.PARTNER, AT)
    done = TRAINING.move("1", begun, TrainingStatus.COMPLETED, Actor.SYSTEM, LATER)

    assert done.to_item() == {
        "status": "Completed",
        "version": 2,
        "history": [
            {"status": "New", "at": "2026-01-01T12:00:00.000000Z"},
            {"status": "Completed", "at": "2026-01-01T13:00:00.000000Z"},
        ],
    }
    assert TRAINING.read(done.to_item()) == done


def test_training_is_cancelled_before_keys_are_issued() -> None:
    """Only a training order in status New can be cancelled."""
    assert frozenset({TrainingStatus.NEW}) == TRAINING.sources(TrainingStatus.CANCELLED)


def test_the_diagram() -> None:
    """A lifecycle is drawn as a Mermaid state diagram with its first statuses, reasons and final statuses."""
    assert TRAINING.diagram() == (
        "stateDiagram-v2\n"
        "    [*] --> New: an order is placed (partner)\n"
        "    New --> Completed: its keys are issued (system)\n"
        "    New --> Cancelled: support cancels before keys are issued (support)\n"
        "    Completed --> [*]\n"
        "    Cancelled --> [*]\n"
    )
    assert ECARDS.diagram().count("-->") == len(ECARD_ROWS) + 2


def test_an_operator_s_move_is_kept_with_its_reason() -> None:
    """A move by a command has its operator and reason in the history, also as stored; other moments are as before."""
    begun = ECARDS.begin("a", EcardStatus.CREATED, Actor.PARTNER, AT)
    operator = Operator("arn:aws:iam::123456789012:user/ann", "ticket 17 " * 100)
    moved = ECARDS.move("a", begun, EcardStatus.CANCELLED, Actor.SUPPORT, LATER, operator=operator)

    assert (moved.history[-1].by, moved.history[-1].reason) == (operator.name, operator.reason[:200])
    assert ECARDS.read(moved.to_item()) == moved
    assert [moment.keys() for moment in moved.to_item()["history"]] == [
        {"status", "at"},
        {"status", "at", "by", "reason"},
    ]
