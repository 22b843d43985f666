"""The template and the code agree: routes, tables, permissions, and what the gateway answers by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.contracts import http, problems, training
from ordering.contracts.http import Request
from ordering.errors import Invalid, KeyReused, NotFound, Unavailable
from ordering.wiring import Services
from ordering_tools.template import Template
from support.gateway import ROOT, Client, load
from support.orders import new_order, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.sends import Recorder

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]
RESPONSES: dict[str, dict[str, Any]] = RESOURCES["Api"]["Properties"]["GatewayResponses"]
FUNCTIONS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}
RESOURCE_FUNCTIONS = {
    name: properties
    for name, properties in FUNCTIONS.items()
    if any(event["Type"] == "Api" for event in properties.get("Events", {}).values())
}
TABLES = {"ORDERS_TABLE": "OrdersTable", "CATALOGUE_TABLE": "CatalogueTable", "ACCOUNTS_TABLE": "AccountsTable"}
NEEDS = {"TransactWriteItems": {"PutItem", "UpdateItem"}}
"""Actions that an operation needs under another name than its own."""


def folder(function: str) -> str:
    return Path(FUNCTIONS[function]["CodeUri"]).name


def routes(function: str) -> list[str]:
    return [event["Properties"]["Path"] for event in FUNCTIONS[function]["Events"].values()]


def registered(function: str) -> set[str]:
    """Return the paths of a function's app, as the template writes them."""
    app = load(folder(function))
    rules = [route.path for route in [*app._static_routes, *app._dynamic_routes]]
    return {rule.replace("<", "{").replace(">", "}") for rule in rules}


def statements(function: str) -> Iterator[dict[str, Any]]:
    for policy in FUNCTIONS[function]["Policies"]:
        for statement in policy["Statement"]:
            actions = statement["Action"]
            yield {**statement, "Action": actions if isinstance(actions, list) else [actions]}


def allowed(function: str) -> set[tuple[str, str]]:
    """Return what a function may do: an operation at a table."""
    return {
        (action.removeprefix("dynamodb:"), statement["Resource"]["Fn::GetAtt"][0])
        for statement in statements(function)
        for action in statement["Action"]
    }


def problem(response: dict[str, Any]) -> dict[str, Any]:
    """Read a gateway response's body as a caller gets it, with everything of the context filled in."""
    text = response["ResponseTemplates"]["application/json"]
    body: dict[str, Any] = json.loads(re.sub(r"\$context\.[A-Za-z.]+", "filled-in", text))
    return body


def types_of_contract() -> dict[int, str]:
    """Return the `type` of every status for which the contract has exactly one."""
    request = Request("GET", "/", "", "id", {}, {}, None, is_base64=False)
    errors = [
        Invalid([]),
        NotFound("order", "1"),
        http.MethodNotAllowed([]),
        http.ContentTooLarge(),
        http.UnsupportedMediaType(),
        KeyReused(),
        RuntimeError(),
        Unavailable(),
    ]
    answers = [training.CONTRACT.refuse(error, request) for error in errors]
    return {answer.status: answer.body["type"] for answer in answers if isinstance(answer.body, dict)}


@pytest.mark.parametrize("name", RESPONSES)
def test_gateway_responses_are_problems(name: str) -> None:
    """What the gateway refuses by itself is a problem document whose status is the answer's."""
    response = RESPONSES[name]
    body = problem(response)
    headers = response["ResponseParameters"]["Headers"]

    assert list(body) == ["type", "title", "status", "detail", "instance", "requestId"]
    assert response["StatusCode"] == body["status"]
    assert body["type"].startswith(problems.TYPES)
    assert headers["Content-Type"] == "'application/problem+json'"
    assert headers["X-Request-Id"] == "context.requestId"
    assert list(response["ResponseTemplates"]) == ["application/json"]
    assert (body["instance"], body["requestId"]) == ("filled-in", "filled-in")
    assert all(body[field].strip() for field in ("title", "detail"))


@pytest.mark.parametrize("name", RESPONSES)
def test_gateway_responses_have_the_contract_s_types(name: str) -> None:
    """A status that the functions answer with too has the same `type` and title from the gateway."""
    body = problem(RESPONSES[name])
    expected = types_of_contract().get(body["status"], body["type"])

    assert expected == body["type"]
    assert problems.TITLES.get(body["status"], body["title"]) == body["title"]


def test_every_status_of_the_gateway_has_a_response() -> None:
    """The gateway's own 401, 403, 404, 413, 429 and 5xx are all in our words."""
    statuses = {response["StatusCode"] for response in RESPONSES.values()}

    assert {401, 403, 404, 413, 429, 500, 503} <= statuses
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "UNAUTHORIZED", "ACCESS_DENIED", "THROTTLED"} <= RESPONSES.keys()


def test_retryable_answers_say_when() -> None:
    """What may be tried again says when, and a 401 says how to authenticate."""
    for response in RESPONSES.values():
        headers = response["ResponseParameters"]["Headers"]
        assert ("Retry-After" in headers) == (response["StatusCode"] in {429, 503})
        assert headers.get("WWW-Authenticate") == ("'Bearer'" if response["StatusCode"] == 401 else None)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_have_a_log_group_with_retention(function: str) -> None:
    """Each function logs into a group of its own that ends after some days."""
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    others = [one["LoggingConfig"]["LogGroup"]["Ref"] for name, one in FUNCTIONS.items() if name != function]

    assert RESOURCES[group]["Type"] == "AWS::Logs::LogGroup"
    assert TEMPLATE.resolve(RESOURCES[group]["Properties"])["RetentionInDays"] > 0
    assert FUNCTIONS[function]["LoggingConfig"]["LogFormat"] == "JSON"
    assert group not in others


@pytest.mark.parametrize("function", RESOURCE_FUNCTIONS)
def test_routes_are_the_app_s(function: str) -> None:
    """The template sends a function exactly the paths that its app has, whatever the method."""
    events = FUNCTIONS[function]["Events"].values()

    assert registered(function) == set(routes(function))
    assert len(routes(function)) == len(set(routes(function)))
    assert {"ANY"} == {event["Properties"]["Method"] for event in events}
    assert {"Api"} == {event["Properties"]["RestApiId"]["Ref"] for event in events}


def test_every_function_is_in_the_template() -> None:
    """Each function's folder is one function of the template, and no path is served twice."""
    folders = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    paths = [path for function in RESOURCE_FUNCTIONS for path in routes(function)]

    assert folders == sorted(folder(function) for function in FUNCTIONS)
    assert len(paths) == len(set(paths))


def test_every_route_is_authorized() -> None:
    """Every path is behind the authorizer, and none opts out of it."""
    auth = RESOURCES["Api"]["Properties"]["Auth"]

    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    assert not [
        event
        for function in RESOURCE_FUNCTIONS.values()
        for event in function["Events"].values()
        if "Auth" in event["Properties"]
    ]


@pytest.fixture
def recorder(client: Client) -> Recorder:
    """What functions ask of the tables; the client's services are connected through it."""
    recorder = Recorder(client.services.send)
    client.services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
    client.services.accounts(Deadline.after(60)).save_partner(PARTNER)
    client.post(target("orders"), new_order(contactEmail="someone@example.com"), headers={"Idempotency-Key": "k"})
    return recorder


def asked(recorder: Recorder) -> set[tuple[str, str]]:
    """Return what was done: an action at a table, named as a policy names it."""
    return {
        (action, table)
        for operation, request in recorder.calls
        for action in NEEDS.get(operation, {operation})
        for table in _tables(request)
    }


def _tables(request: dict[str, Any]) -> set[str]:
    if "TransactItems" in request:
        return {write["TableName"] for item in request["TransactItems"] for write in item.values()}
    return {request["TableName"]} if "TableName" in request else set(request["RequestItems"])


REQUESTS: dict[str, list[str]] = {
    "ProductsFunction": ["products", f"products/{AZ_300.id}", "products/x"],
    "FeatureSetsFunction": [
        f"products/{AZ_300.id}/feature_sets",
        f"products/{AZ_300.id}/feature_sets/{STANDARD.id}",
        f"products/{AZ_300.id}/feature_sets/{AZ_300.id}",
    ],
    "OrdersFunction": ["orders", "orders?_page=2", "orders/1", "orders/99"],
    "OrderItemsFunction": ["orders/1/items", "orders/99/items"],
}


@pytest.mark.parametrize("function", RESOURCE_FUNCTIONS)
def test_functions_may_do_what_they_do(client: Client, recorder: Recorder, function: str) -> None:
    """A function's policy allows every call that it makes, at tables that its environment names."""
    recorder.calls.clear()
    client.services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
    for path in REQUESTS[function]:
        client.get(target(path))
    if function == "OrdersFunction":
        for key in ("a", "a", "b"):
            client.post(target("orders"), new_order(contactEmail="x@example.com"), headers={"Idempotency-Key": key})

    declared = FUNCTIONS[function]["Environment"]["Variables"]

    assert set() == asked(recorder) - allowed(function)
    tables = {name: value for name, value in declared.items() if name in TABLES}

    assert {table for _, table in asked(recorder)} == {TABLES[name] for name in tables}
    assert all({"Ref": TABLES[name]} == value for name, value in tables.items())


def test_fulfilment_may_do_what_it_does(client: Client, recorder: Recorder) -> None:
    """The stream's consumer is allowed every call that settling makes, voiding what a dead writer left included."""
    services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable", grace=timedelta(0))
    book = services.book(f"training#{UK.id}", Deadline.after(60))
    book._take_ticket()
    client.post(target("orders"), new_order())
    recorder.calls.clear()
    book.settle()

    assert {("PutItem", "OrdersTable")} <= asked(recorder)
    assert asked(recorder) == allowed("FulfilmentFunction")


def test_fulfilment_is_fed_entries_only() -> None:
    """The stream delivers what was put into books, in batches of which a part can fail, and gives up in the end."""
    (event,) = (event["Properties"] for event in FUNCTIONS["FulfilmentFunction"]["Events"].values())
    (pattern,) = (json.loads(one["Pattern"]) for one in event["FilterCriteria"]["Filters"])

    assert pattern == {"eventName": ["INSERT"], "dynamodb": {"Keys": {"pk": {"S": [{"prefix": "BOOK#"}]}}}}
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert event["BisectBatchOnFunctionError"] is True
    assert event["MaximumRetryAttempts"] > 0
    assert event["MaximumRecordAgeInSeconds"] > 0


def test_authorizer_may_do_what_it_does(recorder: Recorder) -> None:
    """The authorizer's policy allows what it reads, and its environment names what wiring needs."""
    recorder.calls.clear()
    accounts = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable").accounts(Deadline.after(60))
    accounts.signing_keys()
    accounts.partner("northwind")

    assert asked(recorder) == allowed("AuthorizerFunction")


def test_environment_that_wiring_reads() -> None:
    """Every environment variable that wiring reads is declared, and none is declared that it does not read."""
    source = (ROOT / "layers/ordering/python/ordering/wiring.py").read_text()
    read = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', source))
    declared = {name for properties in FUNCTIONS.values() for name in properties["Environment"]["Variables"]}

    assert read == declared
    assert {"ACCOUNTS_TABLE", "TOKEN_ISSUER", "TOKEN_AUDIENCE"} == set(
        FUNCTIONS["AuthorizerFunction"]["Environment"]["Variables"]
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_wildcards(function: str) -> None:
    """No function has a wildcard for an action or a resource, or any policy that is not written out."""
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        assert "*" not in json.dumps(statement["Resource"])
        assert not {"NotAction", "NotResource"} & statement.keys()
    assert all(isinstance(policy, dict) for policy in FUNCTIONS[function]["Policies"])


def test_only_orders_are_written() -> None:
    """Only the functions that create and settle orders may write, and only to the orders."""
    writing = {
        (function, table)
        for function in FUNCTIONS
        for action, table in allowed(function)
        if not action.startswith(("Get", "BatchGet", "Query"))
    }

    assert {("OrdersFunction", "OrdersTable"), ("FulfilmentFunction", "OrdersTable")} == writing


def test_issuer_and_audience_are_parameters() -> None:
    """Whom tokens are from and for is a parameter of the stack."""
    environment = FUNCTIONS["AuthorizerFunction"]["Environment"]["Variables"]

    assert environment["TOKEN_ISSUER"] == {"Ref": "TokenIssuer"}
    assert environment["TOKEN_AUDIENCE"] == {"Ref": "TokenAudience"}


def test_functions_end_before_the_gateway_waits_no_longer() -> None:
    """A function's timeout is well below the gateway's 29 seconds, so that it is the function that answers."""
    shared = TEMPLATE.document["Globals"]["Function"]["Timeout"]

    assert all(properties.get("Timeout", shared) < 29 for properties in RESOURCE_FUNCTIONS.values())
