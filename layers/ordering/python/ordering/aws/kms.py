"""AWS KMS: one callable for all its operations, by their names in the API."""

from __future__ import annotations

from typing import Any

from ordering.aws import calls
from ordering.aws.calls import Call, CallRefused
from ordering.errors import Unavailable
from ordering.sealing import BrokenSeal

Kms = Call
"""Carries out one operation of KMS and returns its answer."""


def connect_kms(**settings: Any) -> Kms:
    """Return a connection that is made with the first call.

    It raises `calls.CallRefused` where a retry cannot help, and `errors.Unavailable` when KMS does not answer.

    Args:
        settings: As `calls.connect`.
    """
    return _twice(calls.connect("kms", **settings))


def _twice(call: Call) -> Kms:
    """Retry once after a fault that may pass: every operation that is used of KMS can be repeated."""

    def once(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(operation, request)
        except CallRefused as refusal:
            if refusal.code == "InvalidCiphertextException":
                raise BrokenSeal from refusal
            raise

    def twice(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return once(operation, request)
        except Unavailable:
            return once(operation, request)

    return twice
