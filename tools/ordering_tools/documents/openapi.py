"""`ordering openapi`: one OpenAPI 3.1 document from the routes and models of all functions.

Each function's routes are registered once more with a resolver of Powertools that only documents, with signatures that
say in Powertools' terms what `ordering.entry.api` binds; Powertools makes the schemas and merges them. What every call
has in common, security and errors, is added here, so that no route repeats it, and so are the messages that partners'
webhooks get, whose schemas are those of the events.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query
from pydantic import BaseModel, TypeAdapter

from ordering.contexts import event_types
from ordering.deals import contract as deals
from ordering.ecards import contract as ecards
from ordering.entry.api import Api, wanted_by
from ordering.identity import contract as oauth
from ordering.web.http import Answer
from ordering.web.problems import Problem
from ordering_tools.documents import event_schemas
from ordering_tools.installation import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"

OPENAPI = "3.1.0"
VERSION = "1.0.0"
BEARER = (
    "Contact our support to receive a token: a JWT, or 64 hexadecimal characters that stand for one. It has many "
    "privileges, so keep it safe."
)
DESCRIPTION = """\
**Training orders**, `/api/v2`: order course access for your own customers. Find products and their feature sets, \
order seats, read the orders back, and get an access key for each seat once the order is `Completed`.

**Deal orders**, `/v2`: the orders of a CRM's deals, their line items, and the products that these are made of.

**E-card orders**, `/v1`: a company's gift cards for participants of its programmes, paid from a balance. Its tokens \
come from `/connect/token`.

**Webhooks**, `/webhooks`: what happens to training and e-card orders, sent to addresses of yours.

Where the published reference is silent, the rules are this API's own and are stated here.
"""

_PARAMETERS: dict[str, type[Query | Header]] = {"query": Query, "headers": Header}


@dataclass(frozen=True)
class Errors:
    """How a contract tells errors: each status with the name and the words of its response, and in which shape."""

    responses: Mapping[str, tuple[str, str]]
    shape: Any
    media_type: str
    with_a_body: frozenset[str]
    """The statuses that only calls with a body can get."""
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The statuses that only some operations can get, with their ids."""
    created: Mapping[str, Any] = field(default_factory=dict)
    """The headers of what was created."""

    @property
    def schema(self) -> str:
        """The name of the shape."""
        name: str = self.shape.__name__
        return name


_LOCATION = {"description": "A relative link to it.", "schema": {"type": "string"}, "required": True}
_REPLAYED = {
    "description": "`true` where the same key got this very answer before.",
    "schema": {"type": "string", "const": "true"},
}
_TRAINING = Errors(
    {
        "400": ("InvalidRequest", "The request breaks rules; `errors` lists every fault."),
        "401": ("Unauthorized", "The access token is missing, malformed, expired or revoked."),
        "403": ("Forbidden", "The partner may not use this API: it lacks the grant, pays by card, or is switched off."),
        "404": ("NotFound", "There is no such thing for this caller; another partner's is answered the same."),
        "405": ("MethodNotAllowed", "The path does not know the method; `Allow` names those that it knows."),
        "409": (
            "KeysNotIssued",
            "The keys are not all issued yet (`Retry-After`), or never will be: it was cancelled.",
        ),
        "413": ("ContentTooLarge", "The body is larger than 1 MiB."),
        "415": ("UnsupportedMediaType", "The body is not declared as JSON."),
        "422": ("IdempotencyKeyReused", "The `Idempotency-Key` stands for another request."),
        "429": (
            "TooManyRequests",
            "Requests come faster than the partner's plan allows; `Retry-After` says when to go on.",
        ),
        "500": ("InternalServerError", "Something failed on our side."),
        "503": (
            "ServiceUnavailable",
            "The request could not be carried out in time; `Retry-After` says when to try again.",
        ),
    },
    Problem,
    "application/problem+json",
    frozenset({"413", "415", "422"}),
    {"409": frozenset({"list_access_keys"})},
    {"Location": _LOCATION, "Idempotent-Replayed": _REPLAYED},
)
_DEALS = Errors(
    {
        "400": ("DealInvalidRequest", "A query parameter or a header is invalid, or the body is no JSON."),
        "401": ("DealUnauthorized", "The access token is missing, malformed, expired, or invalid."),
        "403": ("DealForbidden", "Out of scope, not on the Enterprise plan, or changes are disabled."),
        "404": ("DealNotFound", "There is no such resource, path or method."),
        "406": ("DealNotAcceptable", "The caller accepts no JSON."),
        "413": ("DealContentTooLarge", "The body is larger than 1 MiB."),
        "422": ("DealUnprocessable", "Attributes are at fault; every one of them is listed."),
        "429": ("DealRateLimitExceeded", "More than 10 requests a second; `Retry-After` says when to go on."),
        "500": ("DealServerError", "Something failed on our side."),
        "503": ("DealUnavailable", "It could not be carried out in time; `Retry-After` says when to try again."),
    },
    deals.Errors,
    "application/json",
    frozenset({"413", "422"}),
)
_ECARDS = Errors(
    {
        "400": ("EcardInvalidRequest", "The request breaks rules; `errors` has every fault by where it is."),
        "401": ("EcardUnauthorized", "The access token is missing, malformed, expired or revoked."),
        "403": ("EcardForbidden", "The company is not granted e-card orders, or is switched off."),
        "404": ("EcardNotFound", "There is no such thing for this company."),
        "405": ("EcardMethodNotAllowed", "The path does not know the method; `Allow` names those that it knows."),
        "409": ("EcardConflict", "The `orderId` stands for an order with other contents."),
        "413": ("EcardContentTooLarge", "The body is larger than 1 MiB."),
        "415": ("EcardUnsupportedMediaType", "The body is not declared as JSON."),
        "429": ("EcardTooManyRequests", "Requests come too fast; `Retry-After` says when to go on."),
        "500": ("EcardServerError", "Something failed on our side."),
        "503": ("EcardUnavailable", "It could not be carried out in time; `Retry-After` says when to try again."),
    },
    ecards.InvalidRequest,
    "application/json",
    frozenset({"409", "413", "415"}),
)
_OAUTH = Errors(
    {
        "400": ("OauthInvalidRequest", "No token: `error` says why (RFC 6749, 5.2)."),
        "500": ("OauthServerError", "Something failed on our side."),
        "503": ("OauthUnavailable", "It could not be done in time; `Retry-After` says when to try again."),
    },
    oauth.OauthError,
    "application/json",
    frozenset({"400"}),
)
_WEBHOOKS = Errors(
    {
        "400": ("WebhookInvalidRequest", "The request breaks rules; `errors` lists every fault."),
        "401": ("WebhookUnauthorized", "The access token is missing, malformed, expired or revoked."),
        "403": ("WebhookForbidden", "The token does not cover all of the partner's orders, or it is switched off."),
        "404": ("WebhookNotFound", "There is no such thing for this caller; another partner's is answered the same."),
        "405": ("WebhookMethodNotAllowed", "The path does not know the method; `Allow` names those that it knows."),
        "409": (
            "WebhookConflict",
            "There are ten webhooks already, it was changed at the same moment, or it is disabled; `type` says which.",
        ),
        "413": ("WebhookContentTooLarge", "The body is larger than 1 MiB."),
        "415": ("WebhookUnsupportedMediaType", "The body is not declared as JSON."),
        "429": ("WebhookTooManyRequests", "Requests come faster than allowed; `Retry-After` says when to go on."),
        "500": ("WebhookServerError", "Something failed on our side."),
        "503": ("WebhookUnavailable", "It could not be carried out in time; `Retry-After` says when to try again."),
    },
    Problem,
    "application/problem+json",
    frozenset({"413", "415"}),
    {
        "409": frozenset(
            {"create_webhook", "change_webhook", "replace_webhook_secret", "enable_webhook", "replay_parked_event"}
        )
    },
    {"Location": _LOCATION},
)
_ERRORS = {"/api/v2/": _TRAINING, "/v1/": _ECARDS, "/v2/": _DEALS, "/webhooks": _WEBHOOKS, "/": _OAUTH}
"""By what a contract's paths begin with."""

_DESCRIPTIONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}
_EMPTY = ("202", "204")
"""The statuses of answers without a body."""

_MESSAGE_HEADERS = {
    "webhook-id": ("The event's id. It may come more than once: drop what you have seen.", {"format": "uuid"}),
    "webhook-timestamp": ("When it was sent, in Unix time. Refuse what is more than five minutes off.", {}),
    "webhook-signature": (
        (
            "By Standard Webhooks: signatures with spaces between, one for each secret that is good. `v1,` and the "
            "base64 of the HMAC-SHA256 of id, timestamp and body, joined by dots."
        ),
        {},
    ),
}
_MESSAGE_RESPONSES = {
    "2XX": {"description": "It was taken."},
    "410": {"description": "Nothing is to be sent there any more: the webhook is disabled."},
    "default": {"description": "It is tried again, ten times in a day, then parked. Redirects are not followed."},
}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["grant_type", "client_id", "client_secret"],
        "properties": {
            "grant_type": {"type": "string", "const": "client_credentials"},
            "client_id": {"type": "string"},
            "client_secret": {"type": "string"},
            "scope": {"type": "string", "description": "The grants to cover, with spaces between; by default all."},
        },
    }
}
_TOKEN_REQUEST = {
    "required": True,
    "content": {"application/x-www-form-urlencoded": _FORM, "multipart/form-data": _FORM},
}
_POWERTOOLS_OWN = ("HTTPValidationError", "ResponseValidationError", "ValidationError")
"""What Powertools' own validation would answer with."""


def run(arguments: argparse.Namespace) -> int:
    """Write the document, or compare it; returns the exit code."""
    text = to_text(document())
    if not arguments.check:
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.read_text() != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale; write it with `ordering openapi`", file=sys.stderr)
        return 1
    return 0


def to_text(schema: dict[str, Any]) -> str:
    """Write a document as it is committed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Build the document."""
    merge = OpenAPIMerge(
        title="Order API", version=VERSION, openapi_version=OPENAPI, description=DESCRIPTION, on_conflict="error"
    )
    for app in apps():
        schema = documenting(app).get_openapi_schema(openapi_version=OPENAPI)
        merge.add_schema(schema.model_dump(by_alias=True, exclude_none=True, mode="json"))
    return _complete(merge.get_openapi_schema())


def apps() -> Iterator[Api[Any]]:
    """Import the functions that have routes."""
    for path in sorted((ROOT / "functions").glob("*/*/app.py")):
        if "Api(" not in path.read_text():
            continue
        spec = importlib.util.spec_from_file_location(f"documented_{path.parent.parent.name}_{path.parent.name}", path)
        if spec is None or spec.loader is None:
            raise ImportError(str(path))
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)
        yield module.app


def documenting(app: Api[Any]) -> APIGatewayRestResolver:
    """Register an app's routes with a resolver that documents them."""
    resolver = APIGatewayRestResolver()
    # The router keeps its routes to itself and has no other way to list them.
    for route in [*app._static_routes, *app._dynamic_routes]:  # noqa: SLF001
        resolver.route(
            route.path,
            route.method,
            summary=route.summary,
            description=inspect.getdoc(route.func),
            tags=route.tags,
            operation_id=route.func.__name__,
            status_code=route.status_code,
            response_description=_DESCRIPTIONS[route.status_code],
        )(_signed(route.func, app.contract.query))
    return resolver


def _signed(handler: Callable[..., Any], query: type[BaseModel]) -> Callable[..., Any]:
    """Make a function that is never called, with the handler's signature in Powertools' terms."""
    wanted = {"query": query, **wanted_by(handler)}
    parameters = [parameter for name, kind in wanted.items() for parameter in _parameters(name, kind)]
    shown = get_type_hints(handler)["return"]
    if get_origin(shown) is Answer:
        (shown,) = get_args(shown)

    def stand_in() -> None:
        """Never called."""

    stand_in.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # functions take any attribute
        sorted(parameters, key=lambda parameter: parameter.default is not inspect.Parameter.empty),
        return_annotation=shown,
    )
    return stand_in


def _parameters(name: str, kind: Any) -> Iterator[inspect.Parameter]:
    if name in {"call", "unit", "visit"}:
        return
    if name in _PARAMETERS:
        # Powertools would take the model whole, but would leave out the bounds of its fields.
        for field, info in kind.model_fields.items():
            default = inspect.Parameter.empty if info.is_required() else info.default
            marker = _PARAMETERS[name](alias=info.alias or field, description=info.description)
            yield _parameter(field, Annotated[(_given(info.annotation), *info.metadata, marker)], default)
    elif name == "body":
        yield _parameter(name, Annotated[kind, Body()])
    else:
        yield _parameter(name, kind)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _given(annotation: Any) -> Any:
    """Take None out of a type: a parameter that is not given is not null, it is not there."""
    given = [part for part in get_args(annotation) if part is not type(None)]
    return given[0] if type(None) in get_args(annotation) else annotation


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what all calls have in common."""
    components = schema["components"]
    for unused in _POWERTOOLS_OWN:
        components["schemas"].pop(unused, None)
    for errors in _ERRORS.values():
        schema_of = TypeAdapter(errors.shape).json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= {**schema_of.pop("$defs", {}), errors.schema: schema_of}
    components["schemas"] = dict(sorted(components["schemas"].items()))
    components["responses"] = {
        name: _error_response(errors, text) for errors in _ERRORS.values() for name, text in errors.responses.values()
    }
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": BEARER}}
    schema["security"] = [{"bearer": []}]
    schema["paths"]["/connect/token"]["post"]["requestBody"] = _TOKEN_REQUEST
    schema["paths"] = dict(sorted(schema["paths"].items()))
    for path, methods in schema["paths"].items():
        errors = next(errors for prefix, errors in _ERRORS.items() if path.startswith(prefix))
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "header":
                    # Powertools writes them in lower case, which is right but not how anyone knows them.
                    parameter["name"] = parameter["name"].title()
            operation["responses"] |= {
                status: {"$ref": f"#/components/responses/{name}"}
                for status, (name, _) in errors.responses.items()
                if ("requestBody" in operation or status not in errors.with_a_body)
                and operation["operationId"] in errors.only.get(status, {operation["operationId"]})
            }
            if errors is _OAUTH:
                operation["security"] = []
            for status in _EMPTY:
                operation["responses"].get(status, {}).pop("content", None)
            if "201" in operation["responses"]:
                operation["responses"]["201"]["headers"] = errors.created
    components["schemas"] |= {name: event_schemas.schema(name) for name in sorted(event_types())}
    messages = {name: {"post": _message(name)} for name in sorted(event_types())}
    return {**schema, "paths": _tidy(schema["paths"]), "webhooks": messages, "components": _tidy(components)}


def _message(event_type: str) -> dict[str, Any]:
    """Describe what is sent to a webhook for an event."""
    schema = {"$ref": f"#/components/schemas/{event_type}"}
    return {
        "operationId": event_type,
        "summary": f"An order is {event_types()[event_type]}",
        "description": "Sent to each webhook that wants this type; those of one order in their order.",
        "tags": ["Messages"],
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string", **more},
            }
            for name, (text, more) in _MESSAGE_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": _MESSAGE_RESPONSES,
    }


def _tidy(part: Any) -> Any:
    """Drop the titles that pydantic makes of names, and write whole bounds as whole numbers."""
    if isinstance(part, dict):
        return {name: _tidy(value) for name, value in part.items() if name != "title" or not isinstance(value, str)}
    if isinstance(part, list):
        return [_tidy(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _error_response(errors: Errors, text: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{errors.schema}"}
    return {"description": text, "content": {errors.media_type: {"schema": schema}}}
