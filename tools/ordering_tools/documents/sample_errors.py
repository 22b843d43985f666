"""Errors for documents: an exception of each class that contracts answer, and what answers in place of a function."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from ordering.book.sorted_lists import TooManyToSort
from ordering.clock import Deadline
from ordering.deals.orders import DealTaken, OrderFull
from ordering.ecards.orders import NeverHandedOver, NotHandedOver
from ordering.ecards.statuses import EcardStatus
from ordering.errors import (
    InvalidToken,
    KeyReused,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    VersionMismatch,
)
from ordering.identity.clients import ClientRefused
from ordering.identity.errors import BasicRefused
from ordering.principal import GRANTS, DealTerms, OrderSource, Principal, User
from ordering.training.orders import KeysNeverIssued, KeysNotIssued
from ordering.values import replace
from ordering.web.http import Call, Contract, Request
from ordering.webhooks.delivery import Withheld
from ordering.webhooks.registrations import ChangedMeanwhile, Disabled, TooMany
from ordering_tools.documents.examples import parameter_example
from ordering_tools.documents.files import EXAMPLE_ADDRESS
from ordering_tools.installation import ROOT
from ordering_tools.template import Template

logging.getLogger("ordering").addHandler(logging.NullHandler())  # a refused client is logged

ID = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72"
"""The id of each request that is refused."""

_ORDER = str(parameter_example("/v1", "order_id")["example"])
_WEBHOOK = str(parameter_example("/webhooks", "webhookId")["example"])
_EVENT = str(parameter_example("/webhooks", "eventId")["example"])

SAMPLES: Mapping[type[Exception], Callable[[str], Exception]] = {
    Unauthorized: lambda _: Unauthorized(),
    InvalidToken: lambda _: InvalidToken(),
    TooManyRequests: lambda _: TooManyRequests(),
    Unavailable: lambda _: Unavailable("not in time"),
    Exception: lambda _: Exception("a fault of ours"),
    KeyReused: lambda _: KeyReused(),
    NotFound: lambda contract: NotFound(*_missing(contract)),
    VersionMismatch: lambda contract: VersionMismatch(*_missing(contract)),
    KeysNotIssued: lambda _: KeysNotIssued(2),
    KeysNeverIssued: lambda _: KeysNeverIssued(2),
    DealTaken: lambda _: DealTaken(),
    OrderFull: lambda _: OrderFull(1),
    TooManyToSort: lambda _: TooManyToSort(250_000),
    NotHandedOver: lambda _: NotHandedOver(_ORDER, EcardStatus.PAYED),
    NeverHandedOver: lambda _: NeverHandedOver(_ORDER),
    TooMany: lambda _: TooMany(),
    ChangedMeanwhile: lambda _: ChangedMeanwhile(_WEBHOOK),
    Disabled: lambda _: Disabled(_WEBHOOK),
    Withheld: lambda _: Withheld(_EVENT),
    ClientRefused: lambda _: ClientRefused("wrong secret"),
    BasicRefused: lambda _: BasicRefused("wrong secret"),
}
"""An exception of each class, for the contract with a name."""

_CALLER = Principal(
    partner="northwind",
    user=User("8ed28eef-a8a6-4f29-8723-6d759746b141", "John", "Smith", "johnsmith@example.com"),
    business_units=("0bb7a818-cecb-4c5a-9822-22e62f85589a",),
    order_source=OrderSource("41ff59ab-a364-4c01-a92f-2271d709a1f1", "go deploy", invoiceable=True),
    payment_terms="invoice",
    grants=tuple(GRANTS),
    deals=DealTerms("enterprise"),
    company="granite",
)
_RESPONSES = {
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "THROTTLED",
    500: "DEFAULT_5XX",
    503: "INTEGRATION_TIMEOUT",
}
"""The name of the gateway's response with each status; 403 is the web ACL's."""


def sample_request(
    path: str,
    body: str | None = None,
    *,
    query: Mapping[str, list[str]] | None = None,
    content_type: str = "application/json",
    accepted: str = "application/json",
) -> Request:
    """Return a request to a path."""
    headers = {"host": EXAMPLE_ADDRESS.partition("//")[2], "content-type": content_type, "accept": accepted}
    return Request("POST", path, "", ID, headers, query or {}, body, is_base64=False)


def not_admitted(
    contract: Contract, path: str, *, accepted: str = "application/json", **changes: Any
) -> Iterator[Exception]:
    """Yield the error with which a contract refuses a caller; nothing if it admits the caller.

    Args:
        contract: The contract.
        path: The path of the request.
        accepted: Its `Accept`.
        changes: The fields of a caller who may do everything, that are different.
    """
    call = Call(sample_request(path, accepted=accepted), replace(_CALLER, **changes), Deadline.after(60))
    try:
        contract.admit(call)
    except Exception as error:  # noqa: BLE001 - whatever it is, the contract answers it
        yield error


def gateway_body(status: int) -> Mapping[str, Any]:
    """Return the body of the response with a status that API Gateway, or the web ACL, sends in place of a function."""
    if status == 403:
        ((_, acl),) = _template().resources("AWS::WAFv2::WebACL")
        return _body(acl["CustomResponseBodies"]["Refused"]["Content"])
    return gateway_bodies()[_RESPONSES[status]]


@cache
def gateway_bodies() -> Mapping[str, Mapping[str, Any]]:
    """Return the bodies of all responses of API Gateway's own, by name."""
    ((_, api),) = _template().resources("AWS::Serverless::Api")
    return {name: _body(one["ResponseTemplates"]["application/json"]) for name, one in api["GatewayResponses"].items()}


@cache
def _template() -> Template:
    return Template.load(ROOT / "template.yaml").with_parameters(DocumentationUrl=EXAMPLE_ADDRESS)


def _body(text: str) -> Mapping[str, Any]:
    body: Mapping[str, Any] = json.loads(text.replace("$context.requestId", ID))
    return body


def _missing(contract: str) -> tuple[str, str]:
    return ("webhook", _WEBHOOK) if contract == "webhooks" else ("order", "999999")
