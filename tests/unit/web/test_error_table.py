"""Error tables: the answer to each error, and every contract's answer to any error."""

from __future__ import annotations

from collections import Counter

import pytest

from ordering.deals import contract as deals
from ordering.ecards import contract as ecards
from ordering.errors import Conflict, OrderingError, Unavailable
from ordering.identity import contract as oauth
from ordering.training import contract as training
from ordering.web.error_table import RETRY_AFTER, ErrorAnswer, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import Contract, Request
from ordering.webhooks import contract as webhooks

CONTRACTS: list[Contract] = [
    training.CONTRACT,
    training.ACCESS_KEYS,
    deals.CONTRACT,
    ecards.CONTRACT,
    ecards.CERTIFICATES,
    oauth.CONTRACT,
    webhooks.CONTRACT,
]
EACH_CONTRACT = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: type(contract).__name__)


class Specific(Conflict):
    """A subclass of Conflict."""


TABLE = ErrorTable(
    dict,
    "application/json",
    [
        ErrorStatus(409, "Conflict", "It conflicts.", {Conflict: ErrorCause("conflict", "{error} Look.")}),
        ErrorStatus(500, "Failure", "It failed.", {Exception: ErrorCause("failure", "It failed.")}),
        ErrorStatus(503, "Late", "It is late.", {Unavailable: ErrorCause("late", "Later.", RETRY_AFTER)}),
    ],
)


def test_placeholders_are_filled_in() -> None:
    """The detail and headers are filled in from the exception."""
    late = Unavailable()
    late.retry_after = 7

    assert TABLE.answer(Conflict("It is there.")) == ErrorAnswer(409, "conflict", "It is there. Look.", {})
    assert TABLE.answer(late).headers == {"Retry-After": "7"}


def test_braces_in_a_message_are_kept() -> None:
    """Braces in an exception's message are not treated as a template."""
    assert TABLE.answer(Conflict("{error} {0.__class__}")).detail == "{error} {0.__class__} Look."


def test_nearest_class() -> None:
    """A subclass gets the answer of its base class unless it has its own."""
    own = TABLE.with_statuses(ErrorStatus(410, "Gone", "It is gone.", {Specific: ErrorCause("specific", "Gone.")}))

    assert (TABLE.answer(Specific("a")).status, own.answer(Specific("a")).status) == (409, 410)
    assert own.answer(Conflict("a")).status == 409


@EACH_CONTRACT
def test_unknown_errors_are_500(contract: Contract) -> None:
    """An unknown error is answered with 500, without its message."""
    request = Request("GET", "/", "", "id", {}, {}, None, is_base64=False)

    for error in (RuntimeError("of ours alone"), OrderingError("of ours alone")):
        answer = contract.refuse(error, request)
        assert answer.status == 500
        assert "of ours alone" not in repr(answer)


@EACH_CONTRACT
def test_one_row_for_each_status_and_exception(contract: Contract) -> None:
    """Each status is in a table once for an operation, or once for all, and each exception once."""
    statuses = Counter(
        (one.status, operation) for one in contract.errors.statuses for operation in one.operations or {"all"}
    )
    split = {one.status for one in contract.errors.statuses if one.operations}
    causes = Counter(kind for one in contract.errors.statuses for kind in one.causes)

    assert set(statuses.values()) == {1}
    assert not any((status, "all") in statuses for status in split)
    assert set(causes.values()) == {1}


@EACH_CONTRACT
def test_every_status_is_described(contract: Contract) -> None:
    """Each status has a description, and 429 and 503 have `Retry-After`."""
    for one in contract.errors.statuses:
        assert one.description.strip()
        if one.status in {429, 503}:
            assert all("Retry-After" in cause.headers for cause in one.causes.values())
