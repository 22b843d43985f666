"""The OpenAPI document is valid, up to date, and consistent with the published reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from ordering.contexts import event_types
from ordering.deals import contract as deals
from ordering.ecards import contract as ecards
from ordering.events.types import VERSION
from ordering.principal import GRANTS
from ordering.training import contract as training
from ordering.webhooks.registrations import signed
from ordering_tools.documents import openapi
from ordering_tools.documents.components import PREFIX
from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "tests" / "contract" / "training" / "samples"
TEXT = (ROOT / openapi.FILES).read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = json.loads(TEXT)

SHAPES = {
    "products": "TrainingProductList",
    "product": "TrainingProduct",
    "feature_sets": "TrainingFeatureSetList",
    "feature_set": "TrainingFeatureSet",
    "orders": "TrainingOrderList",
    "order": "TrainingOrder",
    "created_order": "TrainingOrderCreated",
    "create_order": "TrainingOrderRequest",
    "order_items": "TrainingOrderItemList",
}


def test_current() -> None:
    """The committed document is the one that is generated from the functions' routes and models."""
    assert openapi.documents() == {openapi.FILES: TEXT}


def test_valid() -> None:
    """The document is valid OpenAPI 3.1."""
    assert DOCUMENT["openapi"].startswith("3.1")
    validate(DOCUMENT)


def test_paths_are_the_templates() -> None:
    """The document describes exactly the paths of the template, whatever either calls their variables."""

    def unnamed(path: str) -> str:
        return re.sub(r"\{\w+\}", "{}", path)

    template = Template.load(ROOT / "template.yaml")
    events = [
        event["Properties"]["Path"]
        for name, resource in template.document["Resources"].items()
        if name != "ReferenceFunction"  # its pages are for people
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if event["Type"] == "Api"
    ]

    # What answers every other path with an error is no part of the reference.
    assert {unnamed(path) for path in DOCUMENT["paths"]} == {
        unnamed(path) for path in events if path not in {"/v1", "/v2"} and "{proxy+}" not in path
    }


def test_tokens_by_client_credentials() -> None:
    """The document says where a client gets a token, with each grant as a scope, and one media type to send."""
    flow = DOCUMENT["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    operation = DOCUMENT["paths"][flow["tokenUrl"]]["post"]

    assert flow["scopes"] == GRANTS
    assert list(operation["requestBody"]["content"]) == ["application/x-www-form-urlencoded"]
    assert "multipart/form-data" in operation["description"]
    assert "401" in operation["responses"]


def test_every_grant_is_a_scope() -> None:
    """Each grant that a contract asks for is described in `GRANTS`, and so a scope in the document and the metadata."""
    asked = {
        value
        for contract in (training, deals, ecards)
        for name, value in vars(contract).items()
        if name == "NAME" or name.endswith("_GRANT")
    }

    assert {"training", "training-keys", "deals", "ecards"} <= asked <= GRANTS.keys()


def test_every_operation_tells_its_errors() -> None:
    """Each operation has an id of its own, a description, security, and the errors that any call can get."""
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]

    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert DOCUMENT["security"] == [{"bearer": []}, {"oauth2": []}]
    assert {tag for operation in operations for tag in operation["tags"]} <= {tag["name"] for tag in DOCUMENT["tags"]}
    for operation in operations:
        assert operation["description"]
        of_callers = set() if operation.get("security") == [] else {"400", "401", "403", "404", "429"}
        assert of_callers | {"500", "503"} <= set(operation["responses"])


def test_bounds() -> None:
    """The document has the bounds of page, page size and quantity."""
    parameters = {part["name"]: part["schema"] for part in DOCUMENT["paths"]["/api/v2/orders"]["get"]["parameters"]}
    quantity = DOCUMENT["components"]["schemas"]["TrainingOrderItemRequest"]["properties"]["quantity"]

    assert (parameters["_page"]["minimum"], parameters["_page"]["default"]) == (1, 1)
    assert (parameters["_pageSize"]["maximum"], parameters["_pageSize"]["default"]) == (500, 10)
    assert (quantity["minimum"], quantity["maximum"]) == (1, 10_000)


def test_ids_in_paths_have_types() -> None:
    """Each id in a path has a description and the type of the ids in responses."""
    ids = {
        (path.split("/")[1], one["name"]): (
            one["schema"].get("format", one["schema"]["type"]),
            bool(one["description"]),
        )
        for path, methods in openapi.document()["paths"].items()
        for operation in methods.values()
        for one in operation.get("parameters", ())
        if one["in"] == "path"
    }

    assert ids["api", "orderId"] == ids["v2", "id"] == ids["v2", "order_id"] == ("integer", True)
    assert ids["api", "productId"] == ids["api", "featureSetId"] == ids["v1", "order_id"] == ("uuid", True)
    assert all(described for _, described in ids.values())


@pytest.mark.parametrize("sample", sorted(SHAPES))
def test_published_samples_validate(sample: str) -> None:
    """Every example of the published reference matches the schema of its shape."""
    body = json.loads((SAMPLES / f"{sample}.json").read_text())
    schema = {"$ref": f"#/components/schemas/{SHAPES[sample]}", "components": DOCUMENT["components"]}
    if sample == "create_order":
        # The published request has descriptions in place of values.
        body["contactEmail"] = "johnsmith@example.com"
        body["orderItems"][0] |= {
            "featureSetId": "a6c1cb36-43b3-4969-a8a0-48e4915e6df0",
            "feedbackLinkUri": "https://example.com/feedback",
        }

    assert [error.message for error in Draft202012Validator(schema).iter_errors(body)] == []


def test_messages_are_the_events() -> None:
    """The document has the message for each published event type, with an example that the type's schema fits."""
    messages = DOCUMENT["webhooks"]
    ids = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]

    assert set(messages) == event_types().keys()
    for name, path in messages.items():
        ((media_type, body),) = path["post"]["requestBody"]["content"].items()
        committed = json.loads((ROOT / "docs" / "events" / f"{name}.v{VERSION}.json").read_text())
        message = component(body["schema"]["$ref"])
        assert media_type == "application/json"
        assert (name in message["properties"]["type"]["enum"], body["example"]["type"]) == (True, name)
        assert [*Draft202012Validator(committed).iter_errors(body["example"])] == []
        assert message["required"] == committed["required"]
        assert path["post"]["security"] == []
        assert path["post"]["operationId"] not in ids


def test_messages_have_the_headers_that_are_sent() -> None:
    """The documented headers of a message are exactly those that are sent, and all are required."""
    sent = signed([b"key"], "an-id", datetime(2026, 1, 1, tzinfo=UTC), b"{}")

    for path in DOCUMENT["webhooks"].values():
        names = [one["$ref"].rpartition("/")[2] for one in path["post"]["parameters"]]
        parameters = [DOCUMENT["components"]["parameters"][name] for name in names]
        found = {one["name"]: (one["in"], one["required"]) for one in parameters}
        assert found == dict.fromkeys(sent, ("header", True))


def test_conflicts_of_webhooks() -> None:
    """Of the operations on webhooks, exactly those that can be refused with 409 document it."""
    found = {
        operation["operationId"]
        for path, methods in DOCUMENT["paths"].items()
        for operation in methods.values()
        if path.startswith("/webhooks") and "409" in operation["responses"]
    }

    assert found == {
        "create_webhook",
        "change_webhook",
        "replace_webhook_secret",
        "enable_webhook",
        "replay_parked_event",
    }


# Names, descriptions and examples.


def component(reference: str) -> dict[str, Any]:
    """The schema that a reference names."""
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][reference.removeprefix(PREFIX)]
    return found


def described(schema: dict[str, Any]) -> bool:
    """Whether a schema has a description, or refers to a component that has one."""
    reference = schema.get("$ref")
    return "description" in schema or (reference is not None and "description" in component(reference))


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body of the document, with its place."""
    for path, methods in [*DOCUMENT["paths"].items(), *DOCUMENT["webhooks"].items()]:
        for method, operation in methods.items():
            for status, one in [("", operation.get("requestBody", {})), *operation["responses"].items()]:
                for media_type, content in one.get("content", {}).items():
                    yield f"{method} {path} {status} {media_type}", content
    for name, response in DOCUMENT["components"]["responses"].items():
        for media_type, content in response["content"].items():
            yield f"{name} {media_type}", content


def test_components_have_the_names_of_contracts() -> None:
    """The name of each component begins with that of its contract, unless all contracts share it."""
    prefixes = ("Training", "Deal", "Ecard", "Webhook", "Oauth")
    names = [*DOCUMENT["components"]["schemas"], *DOCUMENT["components"]["responses"]]

    assert {name for name in names if not name.startswith(prefixes)} == {
        "EventMail",
        "Problem",
        "ProblemFault",
        "SelfLink",
    }
    assert [name for name in names if not re.fullmatch("[A-Z][A-Za-z]+", name)] == []


def test_everything_is_described() -> None:
    """Each component, each of its properties and each parameter has a description."""
    components = DOCUMENT["components"]["schemas"]
    properties = {
        f"{name}.{property_}": schema
        for name, one in components.items()
        for property_, schema in one.get("properties", {}).items()
    }

    assert [name for name, schema in {**components, **properties}.items() if not described(schema)] == []
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert all(one["description"] for one in operation.get("parameters", ()))


def test_examples_fit() -> None:
    """Each body in the document has an example, and it fits the body's schema."""
    for place, content in contents():
        examples = [one["value"] for one in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})

        assert examples, f"{place} has no example"
        assert [error.message for one in examples for error in validator.iter_errors(one)] == [], place


def test_examples_of_parameters_fit() -> None:
    """Each parameter in a path has an example, and examples of parameters fit their schemas."""
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            for one in operation.get("parameters", ()):
                assert "example" in one or one["in"] != "path", f"{path} {one['name']}"
                assert "example" not in one or Draft202012Validator(one["schema"]).is_valid(one["example"])


def test_groups_have_every_tag() -> None:
    """Each tag is in exactly one group."""
    tags = [one["name"] for one in DOCUMENT["tags"]]

    assert [name for group in DOCUMENT["x-tagGroups"] for name in group["tags"]] == tags
    assert len({*tags}) == len(tags)
