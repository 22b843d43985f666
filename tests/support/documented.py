"""Compares responses with the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from ordering_tools.documents.error_guide import fault_codes, sections

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"

_UNDECLARED = {
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "server",
    "transfer-encoding",
    "x-amzn-requestid",
}
"""OpenAPI has the media type elsewhere. The others are between the browser or the connection and the server.

API Gateway adds `x-amzn-RequestId`, with the value of `X-Request-Id`, to every response.
"""

_FORMATS = FormatChecker(formats=())
for _name, _form in {
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "date-time-local": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?",
    "decimal": r"-?\d+(\.\d+)?",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}.items():
    _FORMATS.checks(_name)(
        lambda value, form=_form: not isinstance(value, str) or re.fullmatch(form, value) is not None
    )


def check_response(method: str, resource: str, status: int, headers: Mapping[str, str], text: str) -> None:
    """Check that a response is as the document describes it: its status, header fields, media type and shape.

    A method that the document does not list for the path is refused with the errors of its operations.

    Args:
        resource: The path with its variables, as in the template.
    """
    operations = _document()["paths"].get(resource)
    verb = "get" if method == "HEAD" else method.lower()
    if operations is None or verb == "options":
        return  # a path that no operation has; or what a browser asks before a request
    call = f"{method} {resource}: {status}"
    if verb in operations:
        response = _response(operations[verb], str(status))
        assert response is not None, f"{call} is not in the document"
        _check_headers(call, response, headers)
    else:
        assert status in {401, 403, 404, 405, 429, 500, 503}, f"{call} is no error of a path without the method"
        response = _response(next(iter(operations.values())), "500")
    if method != "HEAD":
        _check_body(call, response or {}, headers.get("Content-Type"), text)
        if status >= 400:
            _check_guide(call, json.loads(text))


def _check_headers(call: str, response: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    declared = {name.lower(): _resolved(one) for name, one in response["headers"].items()}
    sent = {name.lower(): value for name, value in headers.items() if name.lower() not in _UNDECLARED}
    required = {name for name, one in declared.items() if one.get("required")}
    assert sent.keys() <= declared.keys(), f"{call} has {sent.keys() - declared.keys()}, which the document lacks"
    assert required <= sent.keys(), f"{call} has no {required - sent.keys()}"
    for name, value in sent.items():
        schema = declared[name]["schema"]
        written = int(value) if schema.get("type") == "integer" else value
        assert Draft202012Validator(schema, format_checker=_FORMATS).is_valid(written), f"{call}: {name}: {value}"


def _check_body(call: str, response: Mapping[str, Any], media_type: str | None, text: str) -> None:
    contents = {name.partition(";")[0]: content["schema"] for name, content in response.get("content", {}).items()}
    if not contents:
        assert not text, f"{call} has a body"
        return
    kind = (media_type or "").partition(";")[0]
    assert kind in contents, f"{call} has {kind}, the document {[*contents]}"
    errors = [error.message for error in _validator(json.dumps(contents[kind])).iter_errors(json.loads(text))]
    assert not errors, f"{call} does not fit the document: {errors}"


def _check_guide(call: str, body: Mapping[str, Any]) -> None:
    """Check that the guide to errors has a section for every link of an error, and for every code that it lists."""
    links = [link for link in _links(body) if not link.startswith("urn:")]
    missing = {link for link in links if link.partition("/docs/errors#")[2] not in sections()}
    assert not missing, f"{call} leads to {missing}, which the guide to errors lacks"
    listed = body.get("errors", ()) if "type" in body else ()
    codes = {one["code"] for one in listed if "pointer" in one or "parameter" in one}
    assert codes <= fault_codes(), f"{call} has {codes - fault_codes()}, which the guide to errors lacks"


def _links(part: Any) -> Iterator[str]:
    """Yield what the members `type` and `more_info` of an error lead to."""
    if isinstance(part, list):
        for one in part:
            yield from _links(one)
    elif isinstance(part, dict):
        for name, value in part.items():
            if isinstance(value, str):
                if name == "more_info" or (name == "type" and "title" in part):
                    yield value
            else:
                yield from _links(value)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return document


@cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": _document()["components"]}
    return Draft202012Validator(whole, format_checker=_FORMATS)


def _response(operation: Mapping[str, Any], status: str) -> dict[str, Any] | None:
    """The documented response; None if the operation does not list the status."""
    response: dict[str, Any] | None = operation["responses"].get(status)
    return None if response is None else _resolved(response)


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    if reference := part.get("$ref"):
        _, kind, name = reference.rsplit("/", 2)
        part = _document()["components"][kind][name]
    return part
