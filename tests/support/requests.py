"""Requests beside the document: its schemas part by part, and the validation of the operation that each belongs to.

Validation needs no services, so that thousands of values can be judged in a test. What a service refuses because of its
data, such as a card that is not offered, is no part of it.
"""

from __future__ import annotations

import copy
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote_plus, urlencode

from jsonschema import Draft202012Validator, FormatChecker

from ordering.deals import contract as deals
from ordering.ecards import contract as ecards
from ordering.entry.api import Api, wanted_by
from ordering.errors import Invalid, NotFound
from ordering.events.types import SOURCE
from ordering.identity import contract as identity
from ordering.identity.errors import Refused
from ordering.training import contract as training
from ordering.web.forms import URLENCODED
from ordering.web.http import Request, read_headers, read_query
from ordering.webhooks import contract as webhooks
from ordering.webhooks.addresses import read_address
from ordering_tools.documents import openapi
from ordering_tools.installation import ROOT

Place = tuple[str | int, ...]
"""`query` or `header` or `path` and a name, or `body` and the steps into it."""

_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("uuid")
def _is_uuid(value: object) -> bool:
    return (
        not isinstance(value, str)
        or re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value) is not None
    )


@_FORMATS.checks("email")
def _is_mailbox(value: object) -> bool:
    """RFC 5321, 4.5.3.1.1: at most 64 characters before the @. The pattern has the rest."""
    return not isinstance(value, str) or len(value.partition("@")[0]) <= 64


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema, format_checker=_FORMATS).is_valid(value)


def _in_ids(convert: Callable[..., object], *before: str) -> Callable[[str], object]:
    return lambda text: convert(*before, text)


_PATH_IDS: Mapping[tuple[str, str], Callable[[str], object]] = {
    ("api", "orderId"): training.order_id_in_path,
    ("api", "productId"): _in_ids(training.uuid_in_path, "product"),
    ("api", "featureSetId"): _in_ids(training.uuid_in_path, "feature set"),
    ("v1", "order_id"): ecards.ecard_order_id_in_path,
    ("v2", "order_id"): _in_ids(deals.id_in_path, "order"),
    ("v2", "id"): _in_ids(deals.id_in_path, "product"),
    ("webhooks", "webhookId"): webhooks.webhook_id_in_path,
    ("webhooks", "eventId"): webhooks.event_id_in_path,
}
"""How the handlers read ids in paths, by the first part of the path and the name."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the document, and the function that serves it."""

    id: str
    path: str
    described: Mapping[str, Any] = field(repr=False)
    app: Api[Any] = field(repr=False)
    handler: Callable[..., Any] = field(repr=False)

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of the body."""
        contents: Any = self.described.get("requestBody", {}).get("content", {}).values()
        return next((one["schema"] for one in contents), None)

    @property
    def parameters(self) -> dict[Place, dict[str, Any]]:
        """The schemas of the parameters."""
        return {(one["in"], one["name"]): one["schema"] for one in self.described.get("parameters", ())}

    def accepts(self, parameters: Mapping[Place, str] | None = None, body: Any = None) -> bool:
        """Validate a request as the adapter does before it calls the handler."""
        sent = parameters or {}
        headers = {str(name).lower(): value for (part, name), value in sent.items() if part == "header"}
        query = {str(name): [value] for (part, name), value in sent.items() if part == "query"}
        form = self.id == "issue_token"
        headers["content-type"] = URLENCODED if form else "application/json"
        if form and "client_secret" not in body:
            # HTTP Basic has what the form has not.
            basic = f"{quote_plus(body.get('client_id', 'x'))}:secret"
            headers["authorization"] = f"Basic {b64encode(basic.encode()).decode()}"
        text = None if self.body is None else urlencode(body) if form else json.dumps(body)
        request = Request("POST", self.path, "", "an-id", headers, query, text, is_base64=False)
        try:
            for (part, name), value in sent.items():
                if part == "path":
                    _PATH_IDS[self.path.split("/")[1], str(name)](value)
            self._validate(request)
        except (Invalid, NotFound, Refused, ValueError):
            return False
        return True

    def _validate(self, request: Request) -> None:
        wanted = wanted_by(self.handler)
        if self.id == "issue_token":
            read = identity.credentials(request)
            identity.covered(read["scope"], read["scope"] or frozenset())
            return
        read_query(wanted.get("query", self.app.contract.query), request)
        if "headers" in wanted:
            read_headers(wanted["headers"], request)
        if "body" in wanted:
            body = self.app.contract.body(wanted["body"], request)
            if isinstance(body, (webhooks.WebhookRequest, webhooks.WebhookChanges)):
                # The domain's part of the validation of webhooks, see `Webhooks`.
                if "url" in body.model_fields_set:
                    read_address(body.url)
                if any(not one.startswith(f"{SOURCE}.") for one in body.types):
                    raise ValueError(body.types)


@cache
def operations() -> tuple[Operation, ...]:
    """The operations of the document, with their schemas in place of references."""
    document = json.loads((ROOT / openapi.FILES).read_text(encoding="utf-8"))
    routes = {route.func.__name__: (app, route.func) for app in openapi.apps() for route in openapi.routes(app)}
    return tuple(
        Operation(one["operationId"], path, _resolved(one, document), *routes[one["operationId"]])
        for path, methods in document["paths"].items()
        for one in methods.values()
    )


def _resolved(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_resolved(one, document) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        target: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _resolved(target, document)
    resolved = {name: _resolved(one, document) for name, one in part.items()}
    if isinstance(resolved.get("pattern"), str):
        # Python's `$` also matches before a final line break, that of JSON Schema does not.
        resolved["pattern"] = re.sub(r"\$$", r"\\Z", resolved["pattern"])
    return resolved


def parts(place: Place, schema: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield each part of a schema with its place; of a list, the first item."""
    yield place, schema
    for name, one in schema.get("properties", {}).items():
        yield from parts((*place, name), one)
    if "items" in schema:
        yield from parts((*place, 0), schema["items"])


def kinds(schema: Mapping[str, Any]) -> set[str]:
    """The types that a schema allows; none if it allows all."""
    return {one["type"] for one in schema.get("anyOf", [schema]) if "type" in one}


def example(schema: dict[str, Any], texts: tuple[str, ...]) -> Any:
    """A value that fits, with every property."""
    given = next((one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"), schema)
    match given.get("type"):
        case "object":
            return {name: example(one, texts) for name, one in given["properties"].items()}
        case "array":
            return [example(given["items"], texts)]
        case "string":
            return next(text for text in [*given.get("enum", ()), given.get("const"), *texts] if fits(given, text))
        case "boolean":
            return False
    return max(1, given.get("minimum", 1))


def replaced(body: Any, steps: Place, value: Any) -> Any:
    """A copy of a body with another value at a place."""
    if not steps:
        return value
    changed = copy.copy(body)
    changed[steps[0]] = replaced(body[steps[0]], steps[1:], value)
    return changed
