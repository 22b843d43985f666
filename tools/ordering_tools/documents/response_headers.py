"""The header fields of responses in the OpenAPI document: one component for each, and the responses that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ordering.web.documents import LOCATION
from ordering.web.error_table import ErrorStatus, ErrorTable
from ordering.web.http import Contract
from ordering.web.idempotent_creates import REPLAYED
from ordering.web.preconditions import ETAG

_TEXT = {"type": "string"}

COMPONENTS: Mapping[str, Mapping[str, Any]] = {
    "Cache-Control": {"description": "Whether caches may store the response, and how long.", "schema": _TEXT},
    "Content-Language": {"description": "The language of messages.", "schema": {"type": "string", "const": "en"}},
    "ETag": {**ETAG["ETag"], "required": True},
    "Location": LOCATION,
    "Pragma": {"description": "`no-cache`, for caches that do not know `Cache-Control`.", "schema": _TEXT},
    "Retry-After": {
        "description": "The number of seconds after which to send the request again.",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
    "Vary": {"description": "The header fields of requests that select the response, for caches.", "schema": _TEXT},
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750, 3), with `error` if the token is refused. API Gateway renames "
        "it to `x-amzn-Remapped-WWW-Authenticate`, unless it refused the request itself.",
        "schema": _TEXT,
    },
    "Weak-ETag": {
        "description": "Names this state of the response, for `If-None-Match` of a later request.",
        "schema": _TEXT,
        "required": True,
    },
    "X-Request-Id": {
        "description": "The id of the request, to give to support.",
        "schema": {"type": "string", "format": "uuid"},
        "required": True,
    },
    "x-amzn-Remapped-WWW-Authenticate": {
        "description": "`WWW-Authenticate`, as API Gateway names it.",
        "schema": _TEXT,
    },
    **REPLAYED,
}
"""The definitions of header fields by the names of their components. A response has the required ones it declares."""

_ALWAYS = ("X-Request-Id", "Vary")
_OF_ERRORS = ("Cache-Control", "Content-Language")
"""API Gateway's own errors have what any contract's errors have."""
_OF_THE_GATEWAY = {429: {"Retry-After": True}, 503: {"Retry-After": True}}
"""What API Gateway sends with some statuses, also where no function answers with them."""
_REMAPPED = "x-amzn-Remapped-WWW-Authenticate"


def of_success(contract: Contract, operation_id: str, more: Iterable[str] = ()) -> dict[str, Any]:
    """Return the header fields of an operation's response.

    Args:
        more: The names of components that only some operations have.
    """
    return references([*_ALWAYS, *contract.headers, *contract.document.headers.get(operation_id, ()), *more])


def of_error(contract: Contract, error: ErrorStatus) -> dict[str, Any]:
    """Return the header fields of an error's response: of all its causes, required if each cause sends it."""
    found = {**_OF_THE_GATEWAY.get(error.status, {}), **_sent(contract.errors, error.status)}
    names = [*_ALWAYS, *_OF_ERRORS, *contract.headers, *contract.document.error_headers, *found]
    if "WWW-Authenticate" in found:
        names.append(_REMAPPED)
    sometimes = {name: {**COMPONENTS[name], "required": False} for name, always in found.items() if not always}
    return {**references(names), **sometimes}


def _sent(errors: ErrorTable, status: int) -> dict[str, bool]:
    """The header fields that the causes of a status send, each with whether all of them do."""
    causes = [cause for one in errors.statuses if one.status == status for cause in one.causes.values()]
    return {name: all(name in one.headers for one in causes) for cause in causes for name in cause.headers}


def references(names: Iterable[str]) -> dict[str, Any]:
    """Return the header fields of a response by name, each as a reference to its component."""
    return {name.removeprefix("Weak-"): {"$ref": f"#/components/headers/{name}"} for name in sorted({*names})}
