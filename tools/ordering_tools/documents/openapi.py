"""`ordering openapi`: one OpenAPI 3.1 document from the routes and models of all functions.

Each function's routes are also registered with a resolver of Powertools that is used only for the document. Their
signatures express the parameters of `ordering.entry.api` in Powertools' terms; Powertools creates the schemas and
merges them. Errors, security and tags come from the contract of each app, so that no route repeats them. The messages
for partners' webhooks are added here; their schemas are those of the events.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query
from pydantic import BaseModel, TypeAdapter

from ordering.contexts import event_types
from ordering.entry.api import OWNERS, Api, wanted_by
from ordering.events.types import MailMomentType
from ordering.web import problems
from ordering.web.documents import ACCESS_TOKEN
from ordering.web.error_table import ErrorStatus
from ordering.web.http import Answer, Contract, Tagged
from ordering.web.idempotent_creates import REPLAYED
from ordering.web.preconditions import ETAG
from ordering_tools.documents import event_schemas, response_headers
from ordering_tools.installation import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"

OPENAPI = "3.1.0"
VERSION = "1.0.0"
DESCRIPTION = """\
Rules that the published references do not state are this API's own. They are documented here.

An unknown query parameter is an error, so that a misspelt one is never ignored. Only `/connect/token` and the documents
below `/.well-known/` ignore them.

A method that a path does not have is refused with 405, and `Allow` lists those that it has; below `/v2`, with 404. The
body is that of the path's other errors.

A response of 1,024 bytes or more is compressed if `Accept-Encoding` names `gzip` or `deflate`; a body may be sent with
`Content-Encoding: gzip`. Web pages can call the API from the origins that support has allowed, and from no others."""

_PARAMETERS: dict[str, type[Query | Header]] = {"query": Query, "headers": Header}


_DESCRIPTIONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}
_EMPTY = ("202", "204")
"""The statuses of responses without a body."""

_SUMMARIES: Mapping[StrEnum, str] = {
    MailMomentType.BOUNCED: "A mail of an order bounced",
    MailMomentType.REFUSED: "A mail of an order was refused and not sent",
    MailMomentType.SENT_AGAIN: "Support has sent a mail of an order again",
}
"""The summaries of messages that are not about a status of an order."""

_MESSAGE_TAG = {"Messages": "The messages that webhooks receive."}
_MESSAGE_HEADERS = {
    "webhook-id": (
        "The event's id. An event may be delivered more than once: drop ids that you have processed.",
        {"format": "uuid"},
    ),
    "webhook-timestamp": (
        "When the message was sent, in Unix time. Refuse a message that is more than five minutes off.",
        {},
    ),
    "webhook-signature": (
        (
            "Signatures as in Standard Webhooks, separated by spaces, one for each valid secret: `v1,` and the "
            "base64 of the HMAC-SHA256 of id, timestamp and body, joined by dots."
        ),
        {},
    ),
}
_MESSAGE_RESPONSES = {
    "2XX": {"description": "The event was delivered."},
    "410": {"description": "The endpoint is gone. The webhook is disabled, and no more events are sent to it."},
    "default": {
        "description": "The delivery failed. After ten attempts in about a day the event is parked. Redirects are not "
        "followed."
    },
}
_POWERTOOLS_OWN = ("HTTPValidationError", "ResponseValidationError", "ValidationError")
"""Response schemas of Powertools' own validation, which is not used."""


def run(arguments: argparse.Namespace) -> int:
    """Write the document, or compare it; returns the exit code."""
    text = to_text(document())
    if not arguments.check:
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.read_text() != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is out of date; update it with `ordering openapi`", file=sys.stderr)
        return 1
    return 0


def to_text(schema: dict[str, Any]) -> str:
    """Format a document as in the committed file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Build the document."""
    merge = OpenAPIMerge(title="Order API", version=VERSION, openapi_version=OPENAPI, on_conflict="error")
    contracts: dict[str, Contract] = {}
    bounds: dict[str, Mapping[str, Any]] = {}
    revalidated: set[str] = set()
    tagged: set[str] = set()
    for app in apps():
        bounds |= {route.func.__name__: _parameter_schemas(route.func, app.contract.query) for route in routes(app)}
        tagged |= {route.func.__name__ for route in routes(app) if get_origin(_shown_by(route.func)) is Tagged}
        revalidated |= {route.func.__name__ for route in routes(app) if app.revalidated and route.method == "GET"}
        contracts |= {route.func.__name__: app.contract for route in routes(app)}
        schema = documenting(app).get_openapi_schema(openapi_version=OPENAPI)
        merge.add_schema(schema.model_dump(by_alias=True, exclude_none=True, mode="json"))
    merged = merge.get_openapi_schema()
    for methods in merged["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = bounds[operation["operationId"]].get(parameter["name"], parameter["schema"])
    return _complete(merged, contracts, revalidated, tagged)


def apps() -> Iterator[Api[Any]]:
    """Import the functions that have routes; yields their apps."""
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
    """A resolver with an app's routes, which creates its part of the document."""
    resolver = APIGatewayRestResolver()
    for route in routes(app):
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


def routes(app: Api[Any]) -> list[Route]:
    """Return the routes of an app. The function of each has the operation's id as its name."""
    # The router has no public list of its routes.
    return [*app._static_routes, *app._dynamic_routes]  # noqa: SLF001


def _signed(handler: Callable[..., Any], query: type[BaseModel]) -> Callable[..., Any]:
    """A function that is never called, with the handler's signature in Powertools' terms."""
    wanted = {"query": query, **wanted_by(handler)}
    parameters = [parameter for name, kind in wanted.items() for parameter in _parameters(name, kind)]
    shown = _shown_by(handler)
    if get_origin(shown) in {Answer, Tagged}:
        (shown,) = get_args(shown)

    def stand_in() -> None:
        """Never called."""

    stand_in.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # functions can have any attribute
        sorted(parameters, key=lambda parameter: parameter.default is not inspect.Parameter.empty),
        return_annotation=shown,
    )
    return stand_in


def _shown_by(handler: Callable[..., Any]) -> Any:
    return get_type_hints(handler)["return"]


def _parameters(name: str, kind: Any) -> Iterator[inspect.Parameter]:
    if name == "call" or name in OWNERS:
        return
    if name in _PARAMETERS:
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


def _parameter_schemas(handler: Callable[..., Any], query: type[BaseModel]) -> dict[str, Any]:
    """The schemas of a handler's parameters by name, from their models: Powertools omits or misspells some bounds."""
    models = {part: kind for part, kind in {"query": query, **wanted_by(handler)}.items() if part in _PARAMETERS}
    return {
        # Powertools writes the names of header fields in lower case.
        name.lower() if part == "headers" else name: _parameter_schema(schema)
        for part, kind in models.items()
        for name, schema in kind.model_json_schema().get("properties", {}).items()
    }


def _parameter_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which can be missing but not null, without what the parameter has itself."""
    (given,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    default = schema.get("default")
    own = {name: value for name, value in given.items() if name not in {"description", "default"}}
    return own if default is None else {**own, "default": default}


def _given(annotation: Any) -> Any:
    """Remove None from a type: an optional parameter can be missing, but not null."""
    given = [part for part in get_args(annotation) if part is not type(None)]
    return given[0] if type(None) in get_args(annotation) else annotation


def _complete(
    schema: dict[str, Any], contracts: Mapping[str, Contract], revalidated: Collection[str], tagged: Collection[str]
) -> dict[str, Any]:
    """Add the parts of the contracts: errors, security and tags, each to its operations."""
    components = schema["components"]
    for unused in _POWERTOOLS_OWN:
        components["schemas"].pop(unused, None)
    components["headers"] = dict(response_headers.COMPONENTS)
    components["responses"] = {}
    components["securitySchemes"] = {}
    for contract in contracts.values():
        for kind in {contract.errors.shape, *(one.shape for one in _shown(contract) if one.shape)}:
            shape = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
            components["schemas"] |= {**shape.pop("$defs", {}), kind.__name__: shape}
        components["responses"] |= {one.name: _error_response(contract, one) for one in _shown(contract)}
        components["securitySchemes"] |= contract.document.security
    components["schemas"] |= {name: event_schemas.schema(name) for name in event_types()}
    for kind in ("schemas", "responses"):
        components[kind] = dict(sorted(components[kind].items()))
    for methods in schema["paths"].values():
        for operation in methods.values():
            _complete_operation(operation, contracts[operation["operationId"]])
            if operation["operationId"] in tagged:
                operation["responses"][min(operation["responses"])]["headers"] |= response_headers.references(ETAG)
            if operation["operationId"] in revalidated:
                _complete_revalidated(operation)
    documents = {contract.document.description: contract.document for contract in contracts.values()}
    tags = {name: text for one in documents.values() for name, text in one.tags.items()} | _MESSAGE_TAG
    schema["info"]["description"] = "\n\n".join([*documents, DESCRIPTION])
    return {
        **schema,
        "security": [{scheme: []} for scheme in ACCESS_TOKEN],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": _tidy(dict(sorted(schema["paths"].items()))),
        "webhooks": {name: {"post": _message(name)} for name in sorted(event_types())},
        "components": _tidy(components),
    }


def _complete_operation(operation: dict[str, Any], contract: Contract) -> None:
    name = operation["operationId"]
    if name in contract.document.bodies:
        operation["requestBody"] = contract.document.bodies[name]
    if contract.document.security != ACCESS_TOKEN:
        operation["security"] = [{scheme: []} for scheme in contract.document.security]
    for parameter in operation.get("parameters", ()):
        _complete_parameter(parameter, contract)
    for empty in _EMPTY:
        operation["responses"].get(empty, {}).pop("content", None)
    (status, response), *_ = operation["responses"].items()
    more = contract.document.created if status == "201" else []
    if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())):
        more = [*more, *REPLAYED]
    response["headers"] = response_headers.of_success(contract, name, more)
    for error in _shown(contract):
        if ("requestBody" in operation or not error.only_with_body) and name in (error.operations or {name}):
            operation["responses"][str(error.status)] = {"$ref": f"#/components/responses/{error.name}"}
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _complete_parameter(parameter: dict[str, Any], contract: Contract) -> None:
    if parameter["in"] == "header":
        # Powertools writes them in lower case, which is correct but unusual.
        parameter["name"] = parameter["name"].title()
    elif parameter["in"] == "path":
        parameter["schema"], parameter["description"] = contract.document.ids[parameter["name"]]


def _complete_revalidated(operation: dict[str, Any]) -> None:
    """Add the entity tag of a response, unless it has one, and the request that has it compared."""
    headers = operation["responses"]["200"]["headers"]
    headers |= response_headers.references([] if "ETag" in headers else ["Weak-ETag"])
    operation.setdefault("parameters", []).append(
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "The `ETag` of an earlier response, to get 304 without a body if that is current.",
            "schema": {"type": "string"},
        }
    )
    operation["responses"]["304"] = {
        "description": "The response that `If-None-Match` names is current.",
        "headers": headers,
    }
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _message(event_type: str) -> dict[str, Any]:
    """Describe the message that a webhook receives for an event."""
    schema = {"$ref": f"#/components/schemas/{event_type}"}
    return {
        "operationId": event_type,
        "summary": _SUMMARIES.get(event_types()[event_type], f"An order is {event_types()[event_type]}"),
        "description": "Sent to each webhook that selects this type. The events of one order are sent in sequence.",
        "tags": [*_MESSAGE_TAG],
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
    """Drop the titles that pydantic derives from names, and write integral bounds as integers."""
    if isinstance(part, dict):
        return {name: _tidy(value) for name, value in part.items() if name != "title" or not isinstance(value, str)}
    if isinstance(part, list):
        return [_tidy(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _shown(contract: Contract) -> list[ErrorStatus]:
    return [one for one in contract.errors.statuses if one.name]


def _error_response(contract: Contract, error: ErrorStatus) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{(error.shape or contract.errors.shape).__name__}"}
    media_types = [error.media_type or contract.errors.media_type]
    if error.status in problems.BY_THE_GATEWAY and problems.MEDIA_TYPE not in media_types:
        media_types.append(problems.MEDIA_TYPE)
    return {
        "description": error.description,
        "headers": response_headers.of_error(contract, error),
        "content": {media_type: {"schema": schema} for media_type in media_types},
    }
