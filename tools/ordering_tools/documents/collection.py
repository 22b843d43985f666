"""`ordering dev collection`: docs/collection.json, the calls of the OpenAPI document for Postman, Bruno and Insomnia.

The format is Postman's 2.1, which all three read. Its variables are those of `demo.env`, so that `demo.postman.json` of
the local run is an environment for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ordering_tools.documents import openapi

FILES = "docs/collection.json"

_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_TOKENS = {"/api/v2": "TOKEN", "/webhooks": "TOKEN", "/v2": "DEALS_TOKEN", "/v1": "ECARDS_TOKEN"}
"""The variable with the token for the paths of each contract."""

_VALUES = {
    "businessUnitId": "{{UNIT}}",
    "Idempotency-Key": "{{$guid}}",
    "client_id": "{{CLIENT_ID}}",
    "client_secret": "{{CLIENT_SECRET}}",
}
"""What is sent in place of the examples of parameters and fields."""

_KEEP_TOKEN = 'pm.collectionVariables.set("ECARDS_TOKEN", pm.response.json().access_token);'  # noqa: S105 - a script


def documents() -> dict[str, str]:
    """The collection's path from the project's root, and its text."""
    return {FILES: json.dumps(collection(openapi.document()), indent=2, ensure_ascii=False) + "\n"}


def collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the collection of a document: a folder for each tag, with a request for each operation."""
    folders: dict[str, list[dict[str, Any]]] = {one["name"]: [] for one in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            folders[operation["tags"][0]].append(_request(document, path, method.upper(), operation))
    return {
        "info": {"name": document["info"]["title"], "description": document["info"]["summary"], "schema": _SCHEMA},
        "item": [{"name": name, "item": requests} for name, requests in folders.items() if requests],
        "variable": [{"key": "URL", "value": "http://127.0.0.1:3000"}, {"key": "ECARDS_TOKEN", "value": ""}],
    }


def _request(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [one for one in operation.get("parameters", ()) if "example" in one or one["name"] in _VALUES]
    values = {one["name"]: _VALUES.get(one["name"], str(one.get("example"))) for one in parameters}
    places = {place: [one["name"] for one in parameters if one["in"] == place] for place in ("path", "query", "header")}
    contents: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {})
    query = "&".join(f"{name}={values[name]}" for name in places["query"])
    request: dict[str, Any] = {
        "method": method,
        "description": operation["description"],
        "header": [{"key": name, "value": values[name]} for name in places["header"]],
        "url": {
            "raw": "{{URL}}" + path.replace("{", ":").replace("}", "") + (f"?{query}" if query else ""),
            "host": ["{{URL}}"],
            "path": path.replace("{", ":").replace("}", "").strip("/").split("/"),
            "variable": [{"key": name, "value": values[name]} for name in places["path"]],
            "query": [{"key": name, "value": values[name]} for name in places["query"]],
        },
        "auth": _authentication(document, path, operation),
    }
    for media_type, content in contents.items():
        request["header"].append({"key": "Content-Type", "value": media_type})
        request["body"] = _body(media_type, content["example"])
    saved = {"event": [{"listen": "test", "script": {"exec": [_KEEP_TOKEN]}}]} if path == "/connect/token" else {}
    return {"name": operation["summary"], "id": operation["operationId"], "request": request, **saved}


def _authentication(document: Mapping[str, Any], path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    if not operation.get("security", document["security"]):
        return {"type": "noauth"}
    (token,) = (name for prefix, name in _TOKENS.items() if path.startswith(f"{prefix}/") or path == prefix)
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{token}}}}}"}]}


def _body(media_type: str, example: Mapping[str, Any]) -> dict[str, Any]:
    if media_type != "application/json":
        fields = [{"key": name, "value": _VALUES.get(name, value)} for name, value in example.items()]
        return {"mode": "urlencoded", "urlencoded": fields}
    # A new order with each call.
    changed = {name: "{{$guid}}" if name == "orderId" else value for name, value in example.items()}
    return {"mode": "raw", "raw": json.dumps(changed, indent=2, ensure_ascii=False)}
