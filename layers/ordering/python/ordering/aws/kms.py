"""AWS KMS: one callable for all its operations, by their names in the API."""

from __future__ import annotations

import logging
from typing import Any

from ordering.aws import calls
from ordering.aws.calls import LONGEST_CALL, CallRefused, Connect, ServiceCall
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.metrics import measured
from ordering.sealing import BrokenSeal

_log = logging.getLogger("ordering")

LONGEST_CHAIN = 2 * LONGEST_CALL
"""Seconds that an operation takes at most, with its retry."""

Kms = ServiceCall
"""Carries out one operation of KMS and returns the response."""


def connect_kms(connect: Connect = calls.connect, **settings: Any) -> Kms:
    """Return a connection that is opened by the first call.

    Its calls raise `sealing.BrokenSeal` if a ciphertext is invalid, `calls.CallRefused` if another retry cannot help,
    and `errors.Unavailable` if KMS does not respond.

    Args:
        connect: What connects to the service.
        settings: As `calls.connect`.
    """
    return _retried_once(connect("kms", **settings))


def retried_until(kms: Kms, deadline: Deadline) -> Kms:
    """Return a connection that begins no operation whose retry would begin after a deadline; see `calls.until`."""
    return calls.until(kms, Deadline(deadline.at - (LONGEST_CHAIN - LONGEST_CALL)))


def _retried_once(call: ServiceCall) -> Kms:
    """Retry once after a transient error: all operations of KMS that are used here can be repeated."""

    def once(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(operation, request)
        except CallRefused as refusal:
            if refusal.code == "InvalidCiphertextException":
                raise BrokenSeal from refusal
            _report(operation, refusal)
            raise
        except Unavailable as failure:
            _report(operation, failure)
            raise

    def twice(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return once(operation, request)
        except Unavailable:
            return once(operation, request)

    return twice


def _report(operation: str, error: Exception) -> None:
    """Count an attempt that failed: KMS publishes no metric of its errors."""
    _log.warning("KMS failed", extra={"operation": operation, "cause": str(error), **measured(KmsFailures=1)})
