"""The examples of errors in the OpenAPI document: what the contracts, and the gateway, answer to each cause."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from pydantic import BaseModel

from ordering.book.sorted_lists import TooManyToSort
from ordering.clock import Deadline
from ordering.deals.orders import DealTaken, OrderFull
from ordering.ecards.catalogue import NotOnOffer
from ordering.ecards.orders import NeverHandedOver, NotHandedOver
from ordering.ecards.statuses import EcardStatus
from ordering.entry.api import REFUSALS
from ordering.errors import (
    Conflict,
    InvalidToken,
    KeyReused,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    VersionMismatch,
)
from ordering.identity.clients import ClientRefused
from ordering.identity.contract import TOKEN_PATH, credentials
from ordering.identity.errors import BasicRefused, Refused
from ordering.principal import GRANTS, DealTerms, OrderSource, Principal, User
from ordering.training.contract import KEYS_GRANT
from ordering.training.orders import KeysNeverIssued, KeysNotIssued, NotOffered
from ordering.web.error_table import ErrorStatus
from ordering.web.http import (
    LARGEST_BODY,
    Call,
    ContentTooLarge,
    Contract,
    MethodNotAllowed,
    NoSuchPath,
    Request,
    UnsupportedMediaType,
    encode,
    json_body,
    read_query,
)
from ordering.webhooks.delivery import Withheld
from ordering.webhooks.registrations import ChangedMeanwhile, Disabled, TooMany
from ordering_tools.documents.examples import parameter_example
from ordering_tools.installation import ROOT
from ordering_tools.template import Template

ID = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72"
"""The id of each request that is refused in an example."""

Examples = dict[str, dict[str, Any]]
"""Examples by name, each with its summary and its value."""

logging.getLogger("ordering").addHandler(logging.NullHandler())  # a refused client is logged

_ORDER = str(parameter_example("/v1", "order_id")["example"])
_WEBHOOK = str(parameter_example("/webhooks", "webhookId")["example"])
_EVENT = str(parameter_example("/webhooks", "eventId")["example"])
_SAMPLES: Mapping[type[Exception], Callable[[str], Exception]] = {
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
"""An exception of each class, for a contract."""

_NOT_OFFERED: Mapping[str, Exception] = {"training": NotOffered([0]), "ecards": NotOnOffer([(0, "card")])}
"""What the contracts with catalogues list as faults of a request."""

_ELSEWHERE = {Refused, ContentTooLarge, UnsupportedMediaType}
"""The classes whose exceptions come of a request; see `_refused`."""

_NEVER = {Conflict, NoSuchPath, MethodNotAllowed}
"""The classes of which the operations in the document get none."""

_CALLER: Mapping[str, Any] = {
    "partner": "northwind",
    "user": User("8ed28eef-a8a6-4f29-8723-6d759746b141", "John", "Smith", "johnsmith@example.com"),
    "business_units": ("0bb7a818-cecb-4c5a-9822-22e62f85589a",),
    "order_source": OrderSource("41ff59ab-a364-4c01-a92f-2271d709a1f1", "go deploy", invoiceable=True),
    "payment_terms": "invoice",
    "grants": tuple(GRANTS),
    "deals": DealTerms("enterprise"),
    "company": "granite",
}
_LIMITED: tuple[Mapping[str, Any], ...] = (
    {"grants": ()},
    {"grants": tuple(name for name in GRANTS if name not in {KEYS_GRANT, "ecard-certificates"})},
    {"payment_terms": "card"},
    {"deals": DealTerms("basic")},
    {"deals": DealTerms("enterprise", changes_disabled=True)},
    {"narrowed": True},
)
"""What a caller can be that some contract does not admit."""

_GATEWAY = {
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "THROTTLED",
    500: "DEFAULT_5XX",
    503: "INTEGRATION_TIMEOUT",
}
"""The gateway's response with each status; 403 is the web ACL's."""


def error_examples(contract: Contract, error: ErrorStatus, path: str, body: type[BaseModel] | None) -> Examples:
    """Return an example for each cause of an error that is worded differently.

    Args:
        path: The path of an operation that gets the error.
        body: The model of a body that the contract reads; None if it reads none.
    """
    request = _request(path)
    found: Examples = {}
    for cause in [*_causes_in_table(contract, error.status), *_refused(contract, path, body)]:
        answer = contract.refuse(cause, request)
        value = json.loads(encode(answer.body))
        if answer.status == error.status and value not in [one["value"] for one in found.values()]:
            name, summary = _named(value, type(cause).__name__)
            found[name if name not in found else f"{name}-{len(found) + 1}"] = {"summary": summary, "value": value}
    return found


def _named(body: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return a name for an example, which is its code if it has one, and what it says."""
    if "detail" in body:
        return body["type"].rpartition("/")[2].rpartition("#")[2], body["detail"]
    if "error_description" in body:
        return body["error"], body["error_description"]
    if "meta" in body:
        first = body["errors"][0]["error"]
        return first["code"], first["details"]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", otherwise).lower(), body["message"]


def gateway_example(status: int) -> Examples:
    """Return the example of the gateway's own response with a status."""
    resources = _template().document["Resources"]
    if status == 403:
        summary = "The web application firewall answers in place of a function."
        (acl,) = (one for one in resources.values() if one["Type"] == "AWS::WAFv2::WebACL")
        text = acl["Properties"]["CustomResponseBodies"]["Refused"]["Content"]
    else:
        summary = "The gateway answers in place of a function."
        kind = resources["Api"]["Properties"]["GatewayResponses"][_GATEWAY[status]]
        text = kind["ResponseTemplates"]["application/json"]
    return {"gateway": {"summary": summary, "value": json.loads(text.replace("$context.requestId", ID))}}


@cache
def _template() -> Template:
    return Template.load(ROOT / "template.yaml")


def _missing(contract: str) -> tuple[str, str]:
    return ("webhook", _WEBHOOK) if contract == "webhooks" else ("order", "999999")


def _causes_in_table(contract: Contract, status: int) -> Iterator[Exception]:
    """Yield an exception of each class that the contract's table has for a status."""
    for kind in {kind: None for one in contract.errors.statuses if one.status == status for kind in one.causes}:
        if kind in _SAMPLES:
            yield _SAMPLES[kind](contract.name)
        elif status not in {403, 406} and kind not in _ELSEWHERE | _NEVER:
            raise KeyError(f"add a sample of {kind.__name__} to {__name__}")


def _refused(contract: Contract, path: str, body: type[BaseModel] | None) -> Iterator[Exception]:
    """Yield the errors of requests that break rules, and of callers that the contract does not admit."""
    if contract.name == "oauth":
        if path == TOKEN_PATH:
            yield from _raised(partial(credentials, _request(path)))
        return
    if body:
        sent = '{"data":{}}' if contract.name == "deals" else "{}"
        yield from _raised(partial(contract.body, body, _request(path, sent)))
    yield from _raised(partial(read_query, contract.query, _request(path, query={"pgae": ["2"]})))
    if contract.name in _NOT_OFFERED:
        yield _NOT_OFFERED[contract.name]
    yield from _raised(partial(json_body, _request(path, "x", content_type="text/plain")))
    yield from _raised(partial(json_body, _request(path, "x" * (LARGEST_BODY + 1))))
    for changes in ({}, *_LIMITED):
        principal = Principal(**{"narrowed": False, **_CALLER, **changes})
        for accepted in ("application/json", "text/html"):
            call = Call(_request(path, accepted=accepted), principal, Deadline.after(60))
            yield from _raised(partial(contract.admit, call))
    yield REFUSALS["switched-off"]()


def _request(
    path: str,
    body: str | None = None,
    *,
    query: Mapping[str, list[str]] | None = None,
    content_type: str = "application/json",
    accepted: str = "application/json",
) -> Request:
    headers = {"content-type": content_type, "accept": accepted}
    return Request("POST", path, "", ID, headers, query or {}, body, is_base64=False)


def _raised(call: Callable[[], object]) -> Iterator[Exception]:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the contract answers it
        yield error
