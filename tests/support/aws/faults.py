"""The seam for faults: what can go wrong with a call, put between a table and its connection.

A `Fault` carries out one call in its own way. `Faulty` is a `Send` that gives faults to chosen calls and
passes the others on; `unreliable` meets a share of all calls. The product knows nothing of either.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ordering.aws.dynamodb import NoAnswer, Send, ServiceFault
from support.plans import Plan

Fault = Callable[[Send, str, dict[str, Any]], dict[str, Any]]
"""Carries out a call: connection, operation, request."""

WRITES = frozenset({"PutItem", "UpdateItem", "TransactWriteItems", "BatchWriteItem"})


class Crash(BaseException):
    """The process crashed. Code that runs in it cannot catch that."""


def refused(error: BaseException) -> Fault:
    """The call fails before it took effect."""

    def fault(_: Send, __: str, ___: dict[str, Any]) -> dict[str, Any]:
        raise error

    return fault


def lost(error: BaseException) -> Fault:
    """The call takes effect (or is refused), and then fails for its caller."""

    def fault(send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with suppress(ServiceFault):
            send(operation, request)
        raise error

    return fault


def late(seconds: float) -> Fault:
    """The call takes effect at once, and its answer comes late."""

    def fault(send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = send(operation, request)
        time.sleep(seconds)
        return answer

    return fault


def interrupted(action: Callable[[], object]) -> Fault:
    """Something else happens between the call's being made and its taking effect."""

    def fault(send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        action()
        return send(operation, request)

    return fault


class Pause:
    """The call waits until it is released, and says when it waits."""

    def __init__(self, patience: float = 10) -> None:
        self._waiting = threading.Event()
        self._released = threading.Event()
        self._patience = patience

    def __call__(self, send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self._waiting.set()
        if not self._released.wait(self._patience):
            raise TimeoutError(f"{operation} was not released")
        return send(operation, request)

    def reached(self) -> None:
        """Wait until the call waits."""
        if not self._waiting.wait(self._patience):
            raise TimeoutError("no call came")

    def release(self) -> None:
        self._released.set()


def conflict(_: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """Another transaction holds the item, in the service's words."""
    if operation == "TransactWriteItems":
        codes = ["TransactionConflict"] + ["None"] * (len(request["TransactItems"]) - 1)
        raise ServiceFault("TransactionCanceledException", reasons=[{"Code": code} for code in codes])
    raise ServiceFault("TransactionConflictException", "Transaction is ongoing for the item")


def throttled(_: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The partition's capacity is used up, in the service's words."""
    if operation == "TransactWriteItems":
        codes = ["ProvisionedThroughputExceeded", "ThrottlingError"] * len(request["TransactItems"])
        reasons = [{"Code": code} for code in codes[: len(request["TransactItems"])]]
        raise ServiceFault("TransactionCanceledException", reasons=reasons)
    raise ServiceFault("ProvisionedThroughputExceededException", "The level of configured throughput was exceeded")


def failed(_: Send, __: str, ___: dict[str, Any]) -> dict[str, Any]:
    """The service failed (500)."""
    raise ServiceFault("InternalServerError", "The request processing has failed")


def answer_lost(send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The call takes effect, and the connection is cut before its answer came."""
    return lost(NoAnswer("cut"))(send, operation, request)


def cut(send: Send, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The connection is cut before the call arrived."""
    return refused(NoAnswer("cut"))(send, operation, request)


@dataclass(frozen=True)
class _Planned:
    """A fault that waits for its call."""

    operation: str | None
    after: int
    fault: Fault
    lasting: bool
    plan: Plan


class Faulty:
    """A connection that meets chosen calls with faults. A test that ends before it met a planned fault fails."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._planned: list[_Planned] = []
        self.calls: list[str] = []

    def meet(self, operation: str | None, fault: Fault, *, after: int = 0, lasting: bool = False) -> None:
        """Meet one call with a fault: the next of this operation (or of any), or the one `after` so many more.

        A `lasting` fault meets the calls after that one too.
        """
        plan = Plan(f"a fault of {operation or 'a call'}{f' after {after} others' if after else ''}")
        self._planned.append(_Planned(operation, after, fault, lasting, plan))

    def drop(self) -> None:
        """Drop the planned faults: the test knows that there may be no more calls to meet."""
        for planned in self._planned:
            planned.plan.close()
        self._planned = []

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        meeting: _Planned | None = None
        left: list[_Planned] = []
        for planned in self._planned:
            if planned.operation not in {None, operation}:
                left.append(planned)
            elif planned.after or meeting:
                left.append(replace(planned, after=max(planned.after - 1, 0)))
            else:
                meeting = planned
                planned.plan.close()
                if planned.lasting:
                    left.append(planned)
        self._planned = left
        return meeting.fault(self._send, operation, request) if meeting else self._send(operation, request)


def unreliable(send: Send, share: float, faults: Sequence[Fault], *, seed: int) -> Send:
    """Meet a share of all calls with one of the faults each, drawn at random; for any number of threads.

    A test that ends before the first fault fails.
    """
    plan = Plan(f"a fault of {share:.0%} of all calls")
    draw = random.Random(seed)
    lock = threading.Lock()

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with lock:
            fault = draw.choice(faults) if draw.random() < share else None
            if fault:
                plan.close()
        return fault(send, operation, request) if fault else send(operation, request)

    return call
