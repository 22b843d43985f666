"""The examples of errors in the OpenAPI document: what the contracts, and the gateway, answer to each cause."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from ordering.ecards.catalogue import NotOnOffer
from ordering.entry.api import REFUSALS
from ordering.errors import Conflict
from ordering.identity.contract import TOKEN_PATH, credentials
from ordering.identity.errors import Refused
from ordering.principal import GRANTS, DealTerms
from ordering.training.contract import KEYS_GRANT
from ordering.training.orders import NotOffered
from ordering.web.error_table import ErrorStatus
from ordering.web.http import (
    LARGEST_BODY,
    ContentTooLarge,
    Contract,
    MethodNotAllowed,
    NoSuchPath,
    UnsupportedMediaType,
    encode,
    json_body,
    read_query,
)
from ordering_tools.documents.sample_errors import SAMPLES, gateway_body, not_admitted, sample_request

Examples = dict[str, dict[str, Any]]
"""Examples by name, each with its summary and its value."""

_NOT_OFFERED: Mapping[str, Exception] = {"training": NotOffered([0]), "ecards": NotOnOffer([(0, "card")])}
"""What the contracts with catalogues list as faults of a request."""

_ELSEWHERE = {Refused, ContentTooLarge, UnsupportedMediaType}
"""The classes whose exceptions come of a request; see `_refused`."""

_NEVER = {Conflict, NoSuchPath, MethodNotAllowed}
"""The classes of which the operations in the document get none."""

_LIMITED: tuple[Mapping[str, Any], ...] = (
    {},
    {"grants": ()},
    {"grants": tuple(name for name in GRANTS if name not in {KEYS_GRANT, "ecard-certificates"})},
    {"payment_terms": "card"},
    {"deals": DealTerms("basic")},
    {"deals": DealTerms("enterprise", changes_disabled=True)},
    {"narrowed": True},
)
"""What is different in callers whom some contract does not admit; the first may do everything."""


def error_examples(contract: Contract, error: ErrorStatus, path: str, body: type[BaseModel] | None) -> Examples:
    """Return an example for each cause of an error that is worded differently.

    Args:
        path: The path of an operation that gets the error.
        body: The model of a body that the contract reads; None if it reads none.
    """
    request = sample_request(path)
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
        return body["type"].rpartition("#")[2], body["detail"]
    if "error_description" in body:
        return body["error"], body["error_description"]
    if "meta" in body:
        first = body["errors"][0]["error"]
        return first["code"], first["details"]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", otherwise).lower(), body["message"]


def gateway_example(status: int) -> Examples:
    """Return the example of the gateway's own response with a status."""
    author = "The web application firewall" if status == 403 else "The gateway"
    summary = f"{author} answers in place of a function."
    return {"gateway": {"summary": summary, "value": gateway_body(status)}}


def _causes_in_table(contract: Contract, status: int) -> Iterator[Exception]:
    """Yield an exception of each class that the contract's table has for a status."""
    for kind in {kind: None for one in contract.errors.statuses if one.status == status for kind in one.causes}:
        if kind in SAMPLES:
            yield SAMPLES[kind](contract.name)
        elif status not in {403, 406} and kind not in _ELSEWHERE | _NEVER:
            raise KeyError(f"add a sample of {kind.__name__} to sample_errors.py")


def _refused(contract: Contract, path: str, body: type[BaseModel] | None) -> Iterator[Exception]:
    """Yield the errors of requests that break rules, and of callers that the contract does not admit."""
    if contract.name == "oauth":
        if path == TOKEN_PATH:
            yield from _raised(partial(credentials, sample_request(path)))
        return
    if body:
        sent = '{"data":{}}' if contract.name == "deals" else "{}"
        yield from _raised(partial(contract.body, body, sample_request(path, sent)))
    yield from _raised(partial(read_query, contract.query, sample_request(path, query={"pgae": ["2"]})))
    if contract.name in _NOT_OFFERED:
        yield _NOT_OFFERED[contract.name]
    yield from _raised(partial(json_body, sample_request(path, "x", content_type="text/plain")))
    yield from _raised(partial(json_body, sample_request(path, "x" * (LARGEST_BODY + 1))))
    for changes in _LIMITED:
        for accepted in ("application/json", "text/html"):
            yield from not_admitted(contract, path, accepted=accepted, **changes)
    yield REFUSALS["switched-off"]()


def _raised(call: Callable[[], object]) -> Iterator[Exception]:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the contract answers it
        yield error
