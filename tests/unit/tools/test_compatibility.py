"""Changes of docs/openapi.json that break partners' programs are found, and others are not."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

from compatibility import changes  # noqa: E402 - tools/ is not a package

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
ORDERS, OK = "/api/v2/orders", {"200": {"description": "Fine"}}
Change = Callable[[dict[str, Any]], object]


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def parameters(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["paths"][ORDERS]["get"]["parameters"]
    return found


def require(document: dict[str, Any]) -> None:
    schema(document, "TrainingOrderRequest")["properties"]["more"] = {"type": "string"}
    schema(document, "TrainingOrderRequest")["required"].append("more")


def move(document: dict[str, Any]) -> None:
    responses = document["paths"][ORDERS]["post"]["responses"]
    responses["202"] = responses.pop("201")


def nullable(document: dict[str, Any]) -> None:
    properties = schema(document, "TrainingOrder")["properties"]
    properties["id"] = {"anyOf": [properties["id"], {"type": "null"}]}


BREAKING: dict[str, Change] = {
    "a path": lambda document: document["paths"].pop("/v1/balance"),
    "a method": lambda document: document["paths"]["/webhooks"].pop("post"),
    "a field of a response": lambda document: schema(document, "TrainingOrder")["properties"].pop("id"),
    "a field of a response may be absent": lambda document: schema(document, "TrainingOrder")["required"].remove("id"),
    "a field of a response may be null": nullable,
    "a field of a request": lambda document: schema(document, "TrainingOrderRequest")["properties"].pop("contactEmail"),
    "a new field of a request is required": require,
    "a field of a request is required": lambda document: schema(document, "TrainingOrderRequest")["required"].append(
        "contactEmail"
    ),
    "a new parameter is required": lambda document: parameters(document).append(
        {"name": "more", "in": "query", "required": True, "schema": {"type": "string"}}
    ),
    "another status": move,
    "another type": lambda document: schema(document, "TrainingOrder")["properties"].update(id={"type": "boolean"}),
}
HARMLESS: dict[str, Change] = {
    "nothing": lambda _: None,
    "a new path": lambda document: document["paths"].update({"/new": {"get": {"responses": OK}}}),
    "a new field of a response": lambda document: schema(document, "TrainingOrder")["properties"].update(
        more={"type": "string"}
    ),
    "a new field of a request": lambda document: schema(document, "TrainingOrderRequest")["properties"].update(
        more={"type": "string"}
    ),
    "a new parameter": lambda document: parameters(document).append(
        {"name": "more", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a field that is not required any more": lambda document: schema(document, "TrainingOrderRequest")[
        "required"
    ].remove("emailKeys"),
    "a description": lambda document: schema(document, "TrainingOrder").update(description="Another"),
}


def found(folder: Path, change: Change) -> list[str]:
    """What the comparison says about a change of the document."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    for name, one in (("old", DOCUMENT), ("new", document)):
        (folder / name).with_suffix(".json").write_text(json.dumps(one))
    return [one.text for one in changes(folder / "old.json", folder / "new.json")]


@pytest.mark.parametrize("change", BREAKING)
def test_what_breaks_programs_is_found(tmp_path: Path, change: str) -> None:
    """A change that a partner's program may not survive is found."""
    assert found(tmp_path, BREAKING[change]) != []


@pytest.mark.parametrize("change", HARMLESS)
def test_what_adds_to_the_api_is_not(tmp_path: Path, change: str) -> None:
    """A change that programs do not notice is not found."""
    assert found(tmp_path, HARMLESS[change]) == []
