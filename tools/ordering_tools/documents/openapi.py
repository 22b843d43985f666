"""`ordering dev openapi`: one OpenAPI 3.1 document from the routes and models of all functions.

The signature of a route's handler has the models of its parameters, body and response, of which pydantic creates the
schemas. Errors, security and tags come from the contract of each app, so that no route repeats them. The messages for
partners' webhooks have the schemas of the events. Examples of errors are what the contracts answer, and all others are
made from the values in `examples.yaml`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from aws_lambda_powertools.event_handler.api_gateway import Route
from pydantic.json_schema import JsonSchemaMode

from ordering.contexts import event_types, mail_event_types
from ordering.deals.errors import DealResource
from ordering.entry.api import Api, wanted_by
from ordering.events.types import MailMomentType
from ordering.web import problems
from ordering.web.documents import ACCESS_TOKEN, LOCATION, ContractDocument
from ordering.web.error_table import ErrorStatus, ErrorTable
from ordering.web.http import Answer, Contract, Tagged
from ordering.web.idempotent_creates import REPLAYED
from ordering.web.preconditions import ETAG
from ordering_tools.documents import event_schemas
from ordering_tools.documents.components import PREFIX, Shapes, component_schemas, hoisted
from ordering_tools.documents.error_examples import error_examples, gateway_example
from ordering_tools.documents.examples import Examples, parameter_example
from ordering_tools.installation import ROOT

FILES = "docs/openapi.json"

_OWN: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_DESCRIPTIONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}
_EMPTY = (202, 204)
"""The statuses of responses without a body."""

_SUMMARIES: Mapping[StrEnum, str] = {
    MailMomentType.BOUNCED: "A mail of an order bounced",
    MailMomentType.REFUSED: "A mail of an order was refused and not sent",
    MailMomentType.SENT_AGAIN: "Support has sent a mail of an order again",
}
"""The summaries of messages that are not about a status of an order."""

_MESSAGES = {"Webhook messages": "The messages that webhooks receive."}
_HEADERS = {**_OWN["headers"], "ETag": {**ETAG["ETag"], "required": True}, "Location": LOCATION, **REPLAYED}
_ALWAYS = ("X-Request-Id", "Vary")
_OF_ERRORS = ("Cache-Control", "Content-Language")
"""API Gateway's own errors have what any contract's errors have."""
_OF_THE_GATEWAY = {429: {"Retry-After": True}, 503: {"Retry-After": True}}
"""What API Gateway sends with some statuses, also where no function answers with them."""
_REMAPPED = "x-amzn-Remapped-WWW-Authenticate"

_ENUMS: Mapping[str, Mapping[str, Any]] = {
    "DealResourceType": {"description": "A type of resource.", "type": "string", "enum": [*get_args(DealResource)]},
    "WebhookEventType": {"description": "A type of event.", "type": "string", "enum": sorted(event_types())},
}
"""The components of enumerations that have no class in the code."""


def documents() -> dict[str, str]:
    """The document's path from the project's root, and its text."""
    return {FILES: json.dumps(document(), indent=2, ensure_ascii=False) + "\n"}


def document() -> dict[str, Any]:
    """Build the document."""
    # A contract without tags has pages for people, and no calls.
    described = [app for app in apps() if app.contract.document.tags]
    contracts = {app.contract.document.title: app.contract.document for app in described}
    shapes, schemas = _shapes(described)
    examples = Examples(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for app in described:
        for route in routes(app):
            paths.setdefault(_path(route), {})[route.method.lower()] = _operation(app, route, shapes, examples)
    components = {
        "schemas": _sorted(schemas),
        "parameters": {
            name: {**one, **parameter_example("/", one["name"])} for name, one in _OWN["message parameters"].items()
        },
        "headers": _sorted(_HEADERS),
        "responses": _sorted(_error_responses(described, shapes, examples)),
        "securitySchemes": {name: scheme for one in contracts.values() for name, scheme in one.security.items()},
    }
    titles = [f"**{one.title}**, {one.description}" for one in contracts.values()]
    return {
        "openapi": _OWN["openapi"],
        "info": {**_OWN["info"], "description": "\n\n".join([*titles, _OWN["info"]["description"]])},
        "externalDocs": _OWN["externalDocs"],
        "servers": _OWN["servers"],
        "paths": _tidy(_sorted(paths)),
        "components": _tidy(components),
        "security": [{scheme: []} for scheme in ACCESS_TOKEN],
        "tags": [
            {"name": name, "description": text} for one in contracts.values() for name, text in _tags(one).items()
        ],
        "x-tagGroups": [{"name": title, "tags": [*_tags(one)]} for title, one in contracts.items()],
        "webhooks": {name: {"post": _message(name, examples)} for name in sorted(event_types())},
    }


def _tags(contract: ContractDocument) -> Mapping[str, str]:
    return {**contract.tags, **(_MESSAGES if "Webhooks" in contract.tags else {})}


def _path(route: Route) -> str:
    """The path of a route, as the document writes it."""
    return re.sub(r"<(\w+)>", r"{\1}", route.path)


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


def routes(app: Api[Any]) -> list[Route]:
    """Return the routes of an app. The function of each has the operation's id as its name."""
    # The router has no public list of its routes.
    return [*app._static_routes, *app._dynamic_routes]  # noqa: SLF001


def _shapes(described: Iterable[Api[Any]]) -> tuple[Shapes, dict[str, Any]]:
    """The schemas of all bodies, and those that they refer to, by name."""
    kinds: dict[tuple[Any, JsonSchemaMode], Any] = {}
    for app in described:
        for route in routes(app):
            name = route.func.__name__
            kinds[name, "serialization"] = _response_type(route)
            if "body" in wanted_by(route.func):
                kinds[name, "validation"] = wanted_by(route.func)["body"]
        errors = [_shape_of(app.contract, one) for one in _shown(app.contract)]
        kinds |= {(shape, "serialization"): shape for shape in errors}
    kinds |= {(name, "serialization"): shape for name, shape in event_schemas.messages().items()}
    found, schemas = component_schemas(kinds)
    schemas |= {name: schema for app in described for name, schema in app.contract.document.schemas.items()}
    return found, {**hoisted(schemas, _ENUMS), **_ENUMS}


def _operation(app: Api[Any], route: Route, shapes: Shapes, examples: Examples) -> dict[str, Any]:
    """Describe the operation of a route."""
    contract, name = app.contract, route.func.__name__
    parameters = [*_parameters(app, route)]
    body = contract.document.bodies.get(name)
    if found := shapes.get((name, "validation")):
        body = {"content": {"application/json": {"schema": found}}, "required": True}
    if body:
        # A copy: the contract's own stays as it is.
        body = {**body, "content": {kind: _with_example(one, examples) for kind, one in body["content"].items()}}
    errors = {
        str(error.status): {"$ref": f"#/components/responses/{error.name}"}
        for error in _shown(contract)
        if (body or not error.only_with_body) and name in (error.operations or {name})
    }
    keyed = any(one["name"] == "Idempotency-Key" for one in parameters)
    content = {"schema": shapes[name, "serialization"]} if route.status_code not in _EMPTY else None
    shown = {"application/json": _with_example(content, examples)} if content else {}
    success = _responses(app, route, shown, keyed=keyed)
    operation = {
        "tags": route.tags,
        "summary": route.summary,
        "description": inspect.getdoc(route.func),
        "operationId": name,
        "parameters": parameters,
        "requestBody": body,
        "responses": _sorted({**success, **errors}),
    }
    described = {key: value for key, value in operation.items() if value}
    if contract.document.security != ACCESS_TOKEN:
        described["security"] = [{scheme: []} for scheme in contract.document.security]
    return described


def _responses(app: Api[Any], route: Route, content: Mapping[str, Any], *, keyed: bool) -> dict[str, Any]:
    """Describe the responses of a route that are no errors.

    Args:
        content: The body by its media type; empty without a body.
        keyed: Whether a request can have an `Idempotency-Key`.
    """
    status, contract = route.status_code, app.contract
    more = [*(contract.document.created if status == 201 else ()), *(REPLAYED if keyed else ())]
    if get_origin(_returned(route)) is Tagged:
        more += ETAG
    elif _revalidated(app, route):
        more.append("Weak-ETag")
    names = [
        *_ALWAYS,
        *contract.headers,
        *contract.document.counted,
        *contract.document.headers.get(route.func.__name__, ()),
        *more,
    ]
    headers = {"headers": _references(names)}
    body = {"content": content} if content else {}
    responses = {str(status): {"description": _DESCRIPTIONS[status], **body, **headers}}
    if _revalidated(app, route):
        responses["304"] = {"description": "The response that `If-None-Match` names is current.", **headers}
    return responses


def _parameters(app: Api[Any], route: Route) -> Iterator[dict[str, Any]]:
    """Describe the parameters of a route: those of its path, and those of the models of its handler."""
    wanted = {"query": app.contract.query, **wanted_by(route.func)}
    for name in re.findall(r"<(\w+)>", route.path):
        schema, text = app.contract.document.ids[name]
        example = parameter_example(route.path, name)
        yield {"name": name, "in": "path", "required": True, "description": text, "schema": schema, **example}
    for part, place in (("query", "query"), ("headers", "header")):
        shape = wanted[part].model_json_schema() if part in wanted else {}
        for name, schema in shape.get("properties", {}).items():
            required = name in shape.get("required", ())
            text = schema["description"]
            given, example = _given(schema), parameter_example(route.path, name) if name == "businessUnitId" else {}
            yield {"name": name, "in": place, "required": required, "description": text, "schema": given, **example}
    if _revalidated(app, route):
        yield _OWN["If-None-Match"]


def _given(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which can be missing but not null, without what the parameter has itself."""
    (given,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    default = {} if schema.get("default") is None else {"default": schema["default"]}
    return {name: value for name, value in given.items() if name not in {"description", "default"}} | default


def _revalidated(app: Api[Any], route: Route) -> bool:
    return app.revalidated and route.method == "GET"


def _returned(route: Route) -> Any:
    """The type that a route's handler returns."""
    return get_type_hints(route.func)["return"]


def _response_type(route: Route) -> Any:
    """The type of a successful response's body."""
    returned = _returned(route)
    return get_args(returned)[0] if get_origin(returned) in {Answer, Tagged} else returned


def _with_example(content: Mapping[str, Any], examples: Examples) -> dict[str, Any]:
    return {**content, "example": examples.of(content["schema"])}


def _message(event_type: str, examples: Examples) -> dict[str, Any]:
    """Describe the message that a webhook receives for an event."""
    about = event_types()[event_type]
    content = {"schema": {"$ref": f"{PREFIX}{event_schemas.message_of(event_type)}"}}
    example = {**examples.of(content["schema"]), "type": event_type}
    if event_type not in mail_event_types():
        order = example["data"]["order"]
        history = [{**order["history"][0], "status": str(about)}]
        example["data"] = {**example["data"], "order": {**order, "status": str(about), "history": history}}
    return {
        "operationId": event_type,
        "summary": _SUMMARIES.get(about, f"An order is {about}"),
        "requestBody": {"required": True, "content": {"application/json": {**content, "example": example}}},
        **_OWN["message"],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _OWN["message parameters"]],
    }


def _tidy(part: Any) -> Any:
    """Drop the titles that pydantic derives from names and defaults of null, and write integral bounds as integers.

    Examples stay as they are.
    """
    if isinstance(part, dict):
        derived = {name for name, value in part.items() if name == "title" and isinstance(value, str)}
        return {
            name: value if name in {"example", "examples"} else _tidy(value)
            for name, value in part.items()
            if name not in derived and value is not None
        }
    if isinstance(part, list):
        return [_tidy(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _sorted(part: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(part.items()))


def _shown(contract: Contract) -> list[ErrorStatus]:
    return [one for one in contract.errors.statuses if one.name]


def _shape_of(contract: Contract, error: ErrorStatus) -> Any:
    """The type of an error's body."""
    return error.shape or contract.errors.shape


def _error_responses(described: Iterable[Api[Any]], shapes: Shapes, examples: Examples) -> dict[str, Any]:
    """Describe the errors by the names of their components, with the examples of every app that answers with them."""
    responses: dict[str, Any] = {}
    # Lists of orders come first, because most examples are about orders.
    for app in sorted(described, key=lambda one: not routes(one)[0].path.endswith("/orders")):
        for error in _shown(app.contract):
            schema = shapes[_shape_of(app.contract, error), "serialization"]
            response = responses.setdefault(error.name, _error_response(app.contract, error))
            for media_type, made in _error_examples(app, error).items():
                content = response["content"].setdefault(media_type, {"schema": schema, "examples": {}})
                known = {name: {**one, "value": examples.known(schema, one["value"])} for name, one in made.items()}
                content["examples"] = {**known, **content["examples"]}
    return responses


def _error_response(contract: Contract, error: ErrorStatus) -> dict[str, Any]:
    return {"description": error.description, "headers": _error_headers(contract, error), "content": {}}


def _error_examples(app: Api[Any], error: ErrorStatus) -> dict[str, Mapping[str, Any]]:
    """The examples of an error by media type: what the app's contract answers, and what the gateway does."""
    contract, found = app.contract, routes(app)
    paths = [one.path for one in found if one.func.__name__ in error.operations] or [found[0].path]
    bodies = [wanted_by(one.func)["body"] for one in found if "body" in wanted_by(one.func)]
    made = error_examples(contract, error, paths[0], bodies[0] if bodies else None)
    media_type = error.media_type or contract.errors.media_type
    if error.status in problems.BY_THE_GATEWAY and (not made or media_type != problems.MEDIA_TYPE):
        return {media_type: made, problems.MEDIA_TYPE: gateway_example(error.status)}
    return {media_type: made}


def _error_headers(contract: Contract, error: ErrorStatus) -> dict[str, Any]:
    """Return the header fields of an error's response: of all its causes, required if each cause sends it."""
    found = {**_OF_THE_GATEWAY.get(error.status, {}), **_sent(contract.errors, error.status)}
    names = [
        *_ALWAYS,
        *_OF_ERRORS,
        *contract.headers,
        *contract.document.counted,
        *contract.document.error_headers,
        *found,
    ]
    if "WWW-Authenticate" in found:
        names.append(_REMAPPED)
    sometimes = {name: {**_HEADERS[name], "required": False} for name, always in found.items() if not always}
    return {**_references(names), **sometimes}


def _sent(errors: ErrorTable, status: int) -> dict[str, bool]:
    """The header fields that the causes of a status send, each with whether all of them do."""
    causes = [cause for one in errors.statuses if one.status == status for cause in one.causes.values()]
    return {name: all(name in one.headers for one in causes) for cause in causes for name in cause.headers}


def _references(names: Iterable[str]) -> dict[str, Any]:
    """Return the header fields of a response by name, each as a reference to its component."""
    return {name.removeprefix("Weak-"): {"$ref": f"#/components/headers/{name}"} for name in sorted({*names})}
