"""Compares refusals with the OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def check_refusal(method: str, resource: str, status: int, media_type: str, text: str) -> None:
    """Check that a refusal has the shape that the document gives it.

    A method that the document does not list for the path is refused like those that it lists, with a status that they
    do not have in the shape of their 500.

    Args:
        resource: The path with its variables, as in the template.
        media_type: The response's `Content-Type`.
    """
    operations = _document()["paths"].get(resource)
    if operations is None:
        return  # a path that no operation has: the gateway refuses it
    verb = "get" if method == "HEAD" else method.lower()
    contents = _contents(resource, verb, str(status))
    if contents is None:
        assert verb not in operations, f"{method} {resource} is refused with {status}, which the document does not list"
        contents = _contents(resource, verb, "500") or {}
    kind = media_type.partition(";")[0]
    schemas = {name.partition(";")[0]: content["schema"] for name, content in contents.items()}
    assert kind in schemas, f"{method} {resource}: {status} has {kind}, the document {[*schemas]}"
    validator = Draft202012Validator({**schemas[kind], "components": _document()["components"]})
    errors = [error.message for error in validator.iter_errors(json.loads(text))]
    assert not errors, f"{method} {resource}: {status} does not fit the document: {errors}"


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return document


def _contents(resource: str, verb: str, status: str) -> dict[str, Any] | None:
    """The contents of a documented response by media type; None if the document does not list the status."""
    operations = _document()["paths"][resource]
    operation = operations.get(verb) or next(one for name, one in operations.items() if name != "parameters")
    response = operation["responses"].get(status)
    if response is None:
        return None
    if reference := response.get("$ref"):
        response = _document()["components"]["responses"][reference.rpartition("/")[2]]
    contents: dict[str, Any] = response.get("content", {})
    return contents
