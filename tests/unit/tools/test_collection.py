"""The collection of calls: it has each operation of the document once, and calls nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from ordering_tools.demo.greeting import calls, postman_environment
from ordering_tools.documents import collection, openapi
from ordering_tools.installation import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / openapi.FILES).read_text(encoding="utf-8"))
COLLECTION: dict[str, Any] = json.loads((ROOT / collection.FILES).read_text(encoding="utf-8"))
DEMO = {
    "baseUrl": "http://127.0.0.1:3000",
    "businessUnitId": "unit",
    "productId": "product",
    "order": {},
    "tokens": {"training": "a-token", "deals": "another"},
    "clients": {"ecards": {"clientId": "id", "clientSecret": "secret"}},
}


def requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request of the collection, by the id of its operation."""
    for folder in COLLECTION["item"]:
        for item in folder["item"]:
            yield item["id"], item["request"]


def test_current() -> None:
    """The committed collection is the one of the committed document."""
    assert collection.collection(DOCUMENT) == COLLECTION


def test_requests_are_the_operations() -> None:
    """The requests have the methods and paths of the operations, each exactly once."""
    wanted = {
        operation["operationId"]: (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    found = [(id_, (one["method"], "/" + "/".join(one["url"]["path"]))) for id_, one in requests()]

    assert {id_: (method, re.sub(r":(\w+)", r"{\1}", path)) for id_, (method, path) in found} == wanted
    assert len(found) == len(wanted)


def test_bodies_fit() -> None:
    """Each JSON body fits the schema of its operation."""
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            body = dict(requests())[operation["operationId"]].get("body", {})
            if body.get("mode") == "raw":
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
                assert [*validator.iter_errors(json.loads(body["raw"]))] == [], path


def test_environment_has_every_variable() -> None:
    """The environment of the local run has the variables that the requests name, with those of the shell's calls."""
    environment = {one["key"]: one["value"] for one in json.loads(postman_environment(DEMO))["values"]}
    named = {*re.findall(r"\{\{([A-Z_]+)\}\}", json.dumps(COLLECTION["item"]))}

    assert named - {"ECARDS_TOKEN"} <= environment.keys()
    assert environment == {name: value for call in calls(DEMO) for name, value in call.variables.items()}
