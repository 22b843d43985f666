"""The plans of tests: an arrangement of `support` that never took effect fails its test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ordering.aws.dynamodb import NoAnswer
from ordering.errors import Unavailable
from support import plans
from support.aws.fake_connections import Script, failing
from support.aws.faults import Faulty, cut, unreliable
from support.aws.memory import Memory
from support.aws.ses import MemorySes
from support.aws.simulated_aws import killed
from support.receiver import Receiver, status


def a_fault() -> None:
    faulty = Faulty(Memory())
    faulty.meet("GetItem", cut, after=1)
    faulty("GetItem", {"TableName": "T", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}})


def a_receiver() -> None:
    with Receiver([status(500)]):
        pass


ARRANGEMENTS: dict[str, Callable[[], object]] = {
    "fault": a_fault,
    "faults of a share": lambda: unreliable(Memory(), 0.5, [cut], seed=1),
    "failing connection": lambda: failing(NoAnswer("cut"), Memory(), "PutItem"),
    "scripted answers": lambda: Script([{}]),
    "errors of SES": lambda: MemorySes().meet(Unavailable()),
    "crash at a step": lambda: killed(1, after=True),
    "responses of a receiver": a_receiver,
}


@pytest.mark.parametrize("arrange", ARRANGEMENTS.values(), ids=ARRANGEMENTS.keys())
def test_plans_that_never_happened(arrange: Callable[[], object]) -> None:
    """A test that arranges a fault, an error, a crash or a response fails if it ends before that happened."""
    arrange()
    with pytest.raises(AssertionError, match="never happened"):
        plans.check()
    plans.begin()


def test_plans_that_happened() -> None:
    """A plan that was carried out, or was dropped, fails no test."""
    faulty = Faulty(Memory())
    faulty.meet(None, cut)
    with pytest.raises(NoAnswer):
        faulty("GetItem", {})
    faulty.meet(None, cut)
    faulty.drop()

    plans.check()
