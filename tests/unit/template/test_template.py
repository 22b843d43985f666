"""The template and the code agree: routes, tables, permissions and the gateway's own answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ordering import values
from ordering.aws.dynamodb import Put, Table
from ordering.book.orderbook import OrderBook
from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.ecards.catalogue import Ecard, FaceValue
from ordering.entry.api import wanted_by
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client as OauthClient
from ordering.identity.clients import ClientRefused
from ordering.identity.tokens import TokenRefused
from ordering.principal import DealTerms
from ordering.web.http import Call, PublicCall
from ordering.webhooks.registrations import RESPONSES
from ordering_tools.operations.usage_tiers import TIERS
from ordering_tools.template import Template
from support import policies
from support.aws.fake_connections import Recorder
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import COMPANY, Rewards, order_id, services_over
from support.gateway import ROOT, Client, load
from support.orders import new_item, new_order, target
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.policies import resource_name, table_accesses, unused
from support.services import Services
from support.training import School

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.with_own_tables().document["Resources"]
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
DEALS_CALLER = values.replace(CALLER, partner="adventure-works", grants=("deals",), deals=DealTerms("enterprise"))
CATCH_ALL = {"DealOrdersFunction": {"/v2", "/v2/{proxy+}"}, "EcardOrdersFunction": {"/v1", "/v1/{proxy+}"}}
PAGES = {"/", "/openapi.json", "/docs", "/docs/{guide}", "/assets/{name}"}
PUBLIC = {"/connect/token", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server", *PAGES}
"""Paths without authorization."""
ACCOUNT_RATE, ACCOUNT_BURST = 10_000, 5_000
"""Requests a second, and at once, that API Gateway takes from an account in one region."""


def folder(function: str) -> str:
    return str(Path(FUNCTIONS[function]["CodeUri"]).relative_to("functions"))


def routes(function: str) -> list[str]:
    """The paths that a function gets with any method."""
    return [one["Path"] for one in api_events(function) if one["Method"] == "ANY"]


def api_events(function: str) -> list[dict[str, Any]]:
    return [event["Properties"] for event in FUNCTIONS[function]["Events"].values() if event["Type"] == "Api"]


def registered(function: str) -> set[str]:
    """The paths of a function's app, as the template writes them."""
    app = load(folder(function))
    rules = [route.path for route in [*app._static_routes, *app._dynamic_routes]]
    return {rule.replace("<", "{").replace(">", "}") for rule in rules}


def statements(function: str) -> Iterator[dict[str, Any]]:
    for policy in FUNCTIONS[function]["Policies"]:
        for statement in policy["Statement"]:
            actions = statement["Action"]
            yield {**statement, "Action": actions if isinstance(actions, list) else [actions]}


def allowed(function: str) -> set[tuple[str, str]]:
    """The DynamoDB operations that a function may do, with their tables."""
    return {
        (action.removeprefix("dynamodb:"), resource_name(statement["Resource"]))
        for statement in statements(function)
        for action in statement["Action"]
        if action.startswith("dynamodb:")
    }


def leading_keys(function: str) -> dict[str, list[str]]:
    """The partitions to which a function's DynamoDB operations are restricted."""
    return {
        action.removeprefix("dynamodb:"): statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        for statement in statements(function)
        for action in statement["Action"]
    }


def used_keys(function: str) -> set[tuple[str, str]]:
    """The KMS operations that a function may do, with their keys."""
    return {
        (action.removeprefix("kms:"), resource["Fn::GetAtt"][0])
        for statement in statements(function)
        for action in statement["Action"]
        if action.startswith("kms:")
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_have_a_log_group_with_retention(function: str) -> None:
    """Each function logs to a group of its own, which has a retention time."""
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    others = [one["LoggingConfig"]["LogGroup"]["Ref"] for name, one in FUNCTIONS.items() if name != function]

    assert RESOURCES[group]["Type"] == "AWS::Logs::LogGroup"
    assert TEMPLATE.resolve(RESOURCES[group]["Properties"])["RetentionInDays"] > 0
    assert FUNCTIONS[function]["LoggingConfig"]["LogFormat"] == "JSON"
    assert group not in others


@pytest.mark.parametrize("function", RESOURCE_FUNCTIONS)
def test_routes_are_the_app_s(function: str) -> None:
    """The template routes to a function exactly the paths of its app, with any method."""

    def unnamed(paths: set[str]) -> set[str]:
        # The template names a variable as its siblings do, and the app as the reference.
        return {re.sub(r"\{\w+\}", "{}", path) for path in paths}

    assert unnamed(registered(function)) == unnamed(set(routes(function)) - CATCH_ALL.get(function, set()))
    assert len(routes(function)) == len(set(routes(function)))
    assert {"Api"} == {event["RestApiId"]["Ref"] for event in api_events(function)}


@pytest.mark.parametrize("function", RESOURCE_FUNCTIONS)
def test_preflights_need_no_token(function: str) -> None:
    """Each documented path takes OPTIONS without a token, which a browser does not send with a preflight.

    The events stand before those for any method: of two events of a path, SAM CLI keeps the last one's authorizer.
    """
    events = api_events(function)
    preflights = [one["Path"] for one in events if one["Method"] == "OPTIONS"]
    any_method = [one for one in events if one["Method"] == "ANY"]
    protected = [one["Path"] for one in any_method if one["Path"] not in PUBLIC | CATCH_ALL.get(function, set())]

    assert preflights == protected
    assert {"ANY", "OPTIONS"} >= {one["Method"] for one in events}
    assert all(one["Auth"] == {"Authorizer": "NONE"} for one in events if one["Method"] == "OPTIONS")
    paths = [one["Path"] for one in events]
    assert all(events[paths.index(path)]["Method"] == "OPTIONS" for path in preflights)
    assert FUNCTIONS[function]["Environment"]["Variables"]["ALLOWED_ORIGINS"] == {"Ref": "AllowedOrigins"}


def test_no_page_may_call_by_default() -> None:
    """No origin is allowed unless the operator names one, and the parameter takes nothing but origins."""
    parameter = TEMPLATE.document["Parameters"]["AllowedOrigins"]
    fits = re.compile(parameter["AllowedPattern"])

    assert parameter["Default"] == ""
    assert all(
        fits.fullmatch(text)
        for text in ("", "https://docs.example.com", "http://localhost:8080,https://a.example.com:8443")
    )
    assert not any(
        fits.fullmatch(text)
        for text in (
            "*",
            "null",
            "docs.example.com",
            "https://a.example.com/",
            "https://a.b, https://c.d",
            "https://A.b",
        )
    )


def test_every_function_is_in_the_template() -> None:
    """Each function's folder is one function of the template, and no path is routed twice."""
    folders = sorted(
        str(path.parent.relative_to(ROOT / "functions")) for path in (ROOT / "functions").glob("*/*/app.py")
    )
    paths = [path for function in RESOURCE_FUNCTIONS for path in routes(function)]

    assert folders == sorted(folder(function) for function in FUNCTIONS)
    assert len(paths) == len(set(paths))


def test_variables_of_a_path_have_one_name() -> None:
    """Where paths differ only in a variable's name, or a variable has a sibling, API Gateway cannot create the API."""
    names: dict[str, set[str]] = {}
    for path in (path for function in RESOURCE_FUNCTIONS for path in routes(function)):
        for variable in re.finditer(r"\{[^}]+\}", path):
            names.setdefault(re.sub(r"\{[^}]+\}", "{}", path[: variable.start()]), set()).add(variable[0])

    assert {above: found for above, found in names.items() if len(found) > 1} == {}


def test_every_route_is_authorized() -> None:
    """Every path but the public ones has its authorizer, uncached where functions refuse callers themselves."""
    auth = RESOURCES["Api"]["Properties"]["Auth"]
    asked = {
        one["Path"]: one.get("Auth", {"Authorizer": auth["DefaultAuthorizer"]})
        for function in RESOURCE_FUNCTIONS
        for one in api_events(function)
        if one["Method"] == "ANY"
    }

    assert {one["FunctionArn"]["Ref"] for one in auth["Authorizers"].values()} == {"AuthorizerFunction.Alias"}
    assert (auth["ApiKeyRequired"], auth["AddApiKeyRequiredToCorsPreflight"]) == (True, False)
    assert auth["Authorizers"]["OwnErrorsAuthorizer"]["Identity"] == {"ReauthorizeEvery": 0}
    for path, authorizer in asked.items():
        own = "OwnErrorsAuthorizer" if path.startswith(tuple(own_errors())) else "PartnerAuthorizer"
        # The key of a usage plan is required wherever a path does not say otherwise.
        assert authorizer == (
            {"Authorizer": "NONE", "ApiKeyRequired": False} if path in PUBLIC else {"Authorizer": own}
        )


def test_readers_are_deployed_before_writers() -> None:
    """The aliases of the functions are moved before the authorizer's, whose principals they read, and its before the
    token endpoint's."""
    order = {name: RESOURCES[name].get("DependsOn", []) for name in ("AuthorizerFunction", "TokenFunction")}

    readers = [name for name in RESOURCE_FUNCTIONS if not set(routes(name)) <= PUBLIC]
    assert order["AuthorizerFunction"] == [f"{name}Aliaslive" for name in readers]
    assert order["TokenFunction"] == "AuthorizerFunctionAliaslive"


@pytest.mark.parametrize("function", RESOURCE_FUNCTIONS)
def test_every_handler_requires_a_call(function: str) -> None:
    """Every handler that is not public requires a `Call`, which has a principal."""
    app = load(folder(function))
    asked_for = [wanted_by(route.func).get("call") for route in [*app._static_routes, *app._dynamic_routes]]
    public = set(routes(function)) <= PUBLIC

    assert app._public is public
    assert {PublicCall if public else Call} == set(asked_for)


@pytest.fixture
def recorder(client: Client) -> Recorder:
    """Records the calls of functions to the tables."""
    recorder = Recorder(client.services.send)
    client.services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
    client.services.accounts(Deadline.after(60)).save_partner(PARTNER)
    client.post(target("orders"), new_order(contactEmail="someone@example.com"), headers={"Idempotency-Key": "k"})
    return recorder


def asked(recorder: Recorder) -> set[tuple[str, str]]:
    """The DynamoDB actions that were done, with their tables, as policies name them."""
    return {pair for operation, request in recorder.calls for pair in _asked(operation, request)}


def _asked(operation: str, request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for item in request.get("TransactItems", ()):
        for kind, write in item.items():
            yield f"{kind}Item", write["TableName"]
    for table in request.get("RequestItems", ()):
        yield operation, table
    if "TableName" in request:
        yield operation, request["TableName"]


def unneeded(function: str, recorder: Recorder) -> list[tuple[str, str]]:
    """What a function may do at tables and did not: actions, tables and partition keys.

    What it did is allowed, because calls in tests have the rights of the function.
    """
    done = {access for operation, request in recorder.calls for access in table_accesses(operation, request)}
    policy = policies.statements(FUNCTIONS[function]["Policies"])
    left = unused((one for one in policy if one["Action"][0].startswith("dynamodb:")), done)
    return [one for one in left if not one[1].startswith(OF_SETTLING) and (function, *one) not in SELDOM]


OF_SETTLING = ("HEAD#", "VOIDS#")
"""Partition keys of what is written when a book is settled, and read after it, which takes many orders."""

SELDOM = {
    # Replaces the scrypt hash of an earlier release.
    ("TokenFunction", "dynamodb:UpdateItem", "CLIENT#*"),
}
"""What functions may do besides what their tests let them do."""


REQUESTS: dict[str, list[str]] = {
    "TrainingProductsFunction": ["products", f"products/{AZ_300.id}", "products/x"],
    "TrainingFeatureSetsFunction": [
        f"products/{AZ_300.id}/feature_sets",
        f"products/{AZ_300.id}/feature_sets/{STANDARD.id}",
        f"products/{AZ_300.id}/feature_sets/{AZ_300.id}",
    ],
    "TrainingOrdersFunction": ["orders", "orders?_page=2", "orders/1", "orders/99"],
    "TrainingOrderItemsFunction": ["orders/1/items", "orders/99/items"],
}


@pytest.mark.parametrize("function", REQUESTS)
def test_policies_of_training_functions(client: Client, recorder: Recorder, function: str) -> None:
    """A function's policy allows every call it makes, at tables its environment names."""
    recorder.calls.clear()
    client.services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
    for path in REQUESTS[function]:
        client.get(target(path))
    if function == "TrainingOrdersFunction":
        for key in ("a", "a", "b"):
            client.post(target("orders"), new_order(contactEmail="x@example.com"), headers={"Idempotency-Key": key})
        not_offered = new_order(orderItems=[new_item(featureSetId=str(AZ_300.id))])
        client.post(target("orders"), not_offered, headers={"Idempotency-Key": "c"})

    declared = FUNCTIONS[function]["Environment"]["Variables"]

    assert unneeded(function, recorder) == []
    tables = {name: value for name, value in declared.items() if name in TABLES}

    assert {table for _, table in asked(recorder)} == {TABLES[name] for name in tables}
    assert all({"Ref": TABLES[name]} == value for name, value in tables.items())


ECARD_ORDER = {
    "participant": {"email": "a@example.com", "phone": "1", "name": "A"},
    "ecards": [{"id": 1, "quantity": 1, "faceValue": "100 ₽"}],
}
ECARD_REQUESTS: dict[str, list[tuple[str, str, Any]]] = {
    "EcardOrdersFunction": [
        *[
            ("POST", "/v1/orders", {"orderId": f"00000000-0000-4000-8000-00000000000{number}", **ECARD_ORDER})
            for number in (1, 2, 2, 3)
        ],
        ("GET", "/v1/orders", None),
        ("GET", "/v1/orders/00000000-0000-4000-8000-000000000001", None),
        ("GET", "/v1/orders/00000000-0000-4000-8000-000000000001/status", None),
    ],
    "EcardCatalogueFunction": [("GET", "/v1/ecards", None)],
    "EcardBalanceFunction": [("GET", "/v1/balance", None)],
}


@pytest.mark.parametrize("function", ECARD_REQUESTS)
def test_policies_of_ecard_functions(function: str) -> None:
    """An e-card function's policy allows exactly the calls it makes."""
    recorder = Recorder(Memory())
    services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable", grace=timedelta(0))
    client = Client(services, values.replace(CALLER, partner="granite", grants=("ecards",), company="granite"))
    deadline = Deadline.after(60)
    services.ecard_catalogue("granite", deadline).publish(
        [Ecard(1, "A", "", "ruble", (FaceValue("100 ₽", Decimal(100)),))]
    )
    orders = services.ecard_orders("granite", deadline)
    orders.top_up("one", Decimal(200))
    orders._records.book._take_ticket()
    recorder.calls.clear()
    for method, path, body in ECARD_REQUESTS[function]:
        assert client.request(method, path, body=body).status == 200
    declared = FUNCTIONS[function]["Environment"]["Variables"]

    assert unneeded(function, recorder) == []
    assert {TABLES[name] for name in declared if name in TABLES} == {table for _, table in asked(recorder)}


def test_token_function_may_do_what_it_does_and_no_more() -> None:
    """The token function may read clients and keys, count wrong secrets, replace hashes and sign with two keys only."""
    recorder, kms = Recorder(Memory()), MemoryKms()
    endpoint = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable", kms=kms).token_endpoint(
        Deadline.after(60)
    )
    endpoint.clients.add(OauthClient("a-client", "granite", "a-user", frozenset({"ecards"})), "a secret")
    endpoint.accounts.save_signing_key("a-key", {"kty": "EC"})
    endpoint.accounts.set_signer("a-key", "alias/SigningKeyA")
    recorder.calls.clear()
    with pytest.raises(ClientRefused):
        endpoint.authenticate("a-client", "wrong", "192.0.2.7")
    client = endpoint.authenticate("a-client", "a secret", "192.0.2.7")
    endpoint.issue(client, client.scope)
    endpoint.keys()
    (signing,) = (one for one in statements("TokenFunction") if one["Action"] == ["kms:Sign"])
    read = {
        partition
        for operation, request in recorder.calls
        for partition in [request.get("Key", {}).get("pk", {}).get("S", "SIGNING_KEYS")]
        if operation != "UpdateItem"
    }

    assert unneeded("TokenFunction", recorder) == []
    assert read == {"CLIENT#a-client", "SIGNER", "SIGNING_KEYS"}
    assert [operation for operation, _ in kms.calls] == ["Sign"]
    assert signing["Resource"] == [{"Fn::GetAtt": [f"SigningKey{name}", "Arn"]} for name in "AB"]


DEAL_PRODUCT = {"data": {"name": "Plan", "prices": [{"amount": "10", "currency": "USD"}]}}
LINE = {"data": {"product_id": 1, "currency": "USD"}}
DEAL_REQUESTS: dict[str, list[tuple[str, str, Any]]] = {
    "DealOrdersFunction": [
        *[("POST", "/v2/orders", {"data": {"deal_id": deal}}) for deal in (7, 8, 8, 9)],
        ("PUT", "/v2/orders/3", {"data": {"discount": 5}}),
        ("GET", "/v2/orders?deal_id=7", None),
        *[("GET", f"/v2/orders?sort_by=discount&per_page=1&page={page}", None) for page in (1, 2)],
        ("DELETE", "/v2/orders/3", None),
    ],
    "DealLineItemsFunction": [
        *[("POST", "/v2/orders/1/line_items", LINE)] * 3,
        ("POST", "/v2/orders/99/line_items", LINE),
        *[("GET", f"/v2/orders/1/line_items?sort_by=value&per_page=1&page={page}", None) for page in (1, 2)],
        ("GET", "/v2/orders/1/line_items/1000002", None),
        ("DELETE", "/v2/orders/1/line_items/1000002", None),
    ],
    "DealProductsFunction": [
        *[("POST", "/v2/products", DEAL_PRODUCT)] * 3,
        ("PUT", "/v2/products/1", {"data": {"sku": "plan"}}),
        *[("GET", f"/v2/products?sort_by=name&per_page=1&page={page}", None) for page in (1, 2)],
        ("GET", "/v2/products/1", None),
        ("DELETE", "/v2/products/1", None),
    ],
}


@pytest.mark.parametrize("function", DEAL_REQUESTS)
def test_policies_of_deal_functions(function: str) -> None:
    """A deal function's policy allows exactly the calls it makes, those for voided tickets included."""
    recorder = Recorder(Memory())
    services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable", grace=timedelta(0))
    client = Client(services, DEALS_CALLER)
    client.post("/v2/orders", {"data": {"deal_id": 6}})
    client.post("/v2/products", DEAL_PRODUCT)
    deadline = Deadline.after(60)
    for book in (services.deal_orders(DEALS_CALLER.partner, deadline).book, _book_of_lines(services)):
        book._take_ticket()
    recorder.calls.clear()
    for method, path, body in DEAL_REQUESTS[function]:
        keyed = {"Idempotency-Key": f"k{len(recorder.calls)}"}
        for headers in [None] if method != "POST" else [None, keyed, keyed]:
            assert client.request(method, path, body=body, headers=headers).status in {200, 204, 404, 422}
    declared = FUNCTIONS[function]["Environment"]["Variables"]

    assert unneeded(function, recorder) == []
    assert {TABLES[name] for name in declared if name in TABLES} == {table for _, table in asked(recorder)}
    assert {"Api"} == {event["Type"] for event in FUNCTIONS[function]["Events"].values()}


def _book_of_lines(services: Services) -> OrderBook:
    return services.deal_orders(DEALS_CALLER.partner, Deadline.after(60)).lines(1)._book


def test_policy_of_the_stream_consumer(client: Client, recorder: Recorder) -> None:
    """The stream's consumer may void the tickets of crashed writers and sweep line items."""
    services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable", grace=timedelta(0))
    book = services.book(f"training#{UK.id}", Deadline.after(60))
    book._take_ticket()
    client.post(target("orders"), new_order())
    recorder.calls.clear()
    book.settle()
    services.deal_orders("nobody", Deadline.after(60)).lines(1).sweep()

    assert {("PutItem", "OrdersTable")} <= asked(recorder) <= allowed("StreamFunction")


def test_policy_of_the_webhook_endpoints() -> None:
    """The webhook endpoints may encrypt secrets and decrypt stored responses only, and use no other items."""
    recorder, kms = Recorder(Memory()), MemoryKms()
    queued: list[str] = []
    services = Services(
        recorder,
        "OrdersTable",
        "CatalogueTable",
        "AccountsTable",
        kms=kms,
        webhook_queue=lambda body, _: queued.append(body),
    )
    client = Client(services, CALLER)
    made = client.post("/webhooks", {"url": "https://example.com/"}).json["id"]
    accounts = Table(recorder, "AccountsTable")
    Accounts(accounts).save_partner(PARTNER)
    accounts.put(
        Put(
            {
                "pk": f"DELIVERIES#{PARTNER.id}#{made}",
                "sk": "PARKED#d0f0b5a4-8c57-5a5c-9f57-54ab4a5d6c11",
                "type": "ordering.training_order.new",
                "order": "training#1",
                "index": 0,
                "at": "2026-01-01T12:00:00.000000Z",
                "why": "x",
                "expires": 2**40,
            }
        )
    )
    recorder.calls.clear()
    requests: list[tuple[str, str, Any, int]] = [
        ("GET", "/webhooks", None, 200),
        ("POST", "/webhooks", {"url": "https://example.com/"}, 201),
        ("GET", f"/webhooks/{made}", None, 200),
        ("PATCH", f"/webhooks/{made}", {"url": "https://example.org/"}, 200),
        ("POST", f"/webhooks/{made}/secret", None, 200),
        ("POST", f"/webhooks/{made}/enable", None, 200),
        ("GET", f"/webhooks/{made}/parked", None, 200),
        ("POST", f"/webhooks/{made}/parked/d0f0b5a4-8c57-5a5c-9f57-54ab4a5d6c11/replay", None, 202),
        ("DELETE", f"/webhooks/{made}", None, 204),
    ]
    answers = [client.request(method, path, body=body).status for method, path, body, _ in requests]
    for _ in range(2):  # a create and its retry, in another process
        client.services = replace(services)
        keyed = client.post("/webhooks", {"url": "https://example.net/"}, headers={"Idempotency-Key": "k"})
        assert keyed.status == 201
    conditions = {
        tuple(statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        for statement in statements("WebhooksFunction")
        if statement["Action"][0].startswith("dynamodb:")
    }

    assert answers == [status for *_, status in requests]
    assert unneeded("WebhooksFunction", recorder) == []
    assert conditions == {
        ("WEBHOOKS#*", "DELIVERIES#*"),
        ("WEBHOOKS#*", "PARTNER#*"),
        ("WEBHOOKS#*",),
        ("ONCE#*",),
    }
    assert {operation for operation, _ in kms.calls} == {"GenerateDataKey", "Decrypt"}
    assert used_keys("WebhooksFunction") == {("GenerateDataKey", "WebhookSecretsKey"), ("Decrypt", "WebhookSecretsKey")}
    (limit,) = (one["Condition"] for one in statements("WebhooksFunction") if one["Action"] == ["kms:Decrypt"])
    assert limit == {"StringEquals": {"kms:EncryptionContext:purpose": RESPONSES}}
    decrypted = [request for operation, request in kms.calls if operation == "Decrypt"]
    assert [request["EncryptionContext"] for request in decrypted] == [{"purpose": RESPONSES}]
    # A change, a new secret and enabling send what was missed; then comes the replay.
    assert [json.loads(body)["again"] for body in queued] == [False, False, False, True]


def test_policy_of_the_access_key_endpoint() -> None:
    """The access key endpoint may only read training orders and their keys, and decrypt with one key."""
    recorder = Recorder(Memory())
    school = School(recorder)
    order = school.place(101)
    school.issue(order)
    recorder.calls.clear()
    school.kms.calls.clear()
    for path in (f"orders/{order}/keys", "orders/99/keys"):
        school.client.get(target(path))
    reading = next(one for one in statements("TrainingOrderKeysFunction") if "dynamodb:Query" in one["Action"])
    partitions = {
        key
        for _, request in recorder.calls
        for key in [
            *[values["S"] for name, values in request.get("ExpressionAttributeValues", {}).items() if name == ":pk"],
            *[key["pk"]["S"] for tables in request.get("RequestItems", {}).values() for key in tables["Keys"]],
            *([request["Key"]["pk"]["S"]] if "Key" in request else []),
        ]
    }

    assert unneeded("TrainingOrderKeysFunction", recorder) == []
    assert partitions == {f"ORDER#training#{order}", "ORDER#training#99", f"KEYS#training#{order}"}
    assert reading["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["ORDER#training#*", "KEYS#training#*"]}
    }
    assert used_keys("TrainingOrderKeysFunction") == {("Decrypt", "AccessKeysKey")}
    assert {operation for operation, _ in school.kms.calls} == {"Decrypt"}


def test_certificates_may_do_what_it_does_and_no_more() -> None:
    """What shows certificates reads e-card orders and certificates, and decrypts with one key in KMS."""
    recorder, kms = Recorder(Memory()), MemoryKms()
    rewards = Rewards(
        services_over(recorder, kms=kms), values.replace(COMPANY, grants=("ecards", "ecard-certificates"))
    )
    rewards.publish()
    rewards.top_up(100)
    rewards.load(1)
    rewards.place()
    rewards.orders.hand_over(rewards.orders.advance(order_id(1)), 1)
    recorder.calls.clear()
    kms.calls.clear()
    replies = [rewards.get(f"/v1/orders/{order_id(number)}/certificates").status for number in (1, 2)]
    conditions = {
        tuple(statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        for statement in statements("EcardCertificatesFunction")
        if "Condition" in statement
    }

    assert replies == [200, 404]
    assert unneeded("EcardCertificatesFunction", recorder) == []
    assert conditions == {("ORDER#ecards#*",), ("CERTIFICATES#*",)}
    assert used_keys("EcardCertificatesFunction") == {("Decrypt", "CertificatesKey")}
    assert {operation for operation, _ in kms.calls} == {"Decrypt"}


def test_certificates_are_decrypted_by_few() -> None:
    """Only functions that load, show or mail certificates may do anything with the key that encrypts them."""
    assert {name for name in FUNCTIONS if any(key == "CertificatesKey" for _, key in used_keys(name))} == {
        "IncomingFunction",
        "MailsFunction",
        "EcardCertificatesFunction",
    }


def test_functions_that_use_the_access_keys_key() -> None:
    """Only the functions that issue, show and mail access keys may use their encryption key."""
    assert {name for name in FUNCTIONS if any(key == "AccessKeysKey" for _, key in used_keys(name))} == {
        "StreamFunction",
        "MailsFunction",
        "TrainingOrderKeysFunction",
    }


def test_filters_of_the_stream() -> None:
    """The stream's filters pass only entries of books, moments of mails, orders, balances and stocks."""
    (stream,) = (
        event["Properties"] for event in FUNCTIONS["StreamFunction"]["Events"].values() if event["Type"] == "DynamoDB"
    )
    placed, removed, orders, rises = (json.loads(one["Pattern"]) for one in stream["FilterCriteria"]["Filters"])
    both = ["INSERT", "MODIFY"]

    assert placed["eventName"] == ["INSERT"]
    assert placed["dynamodb"] == {"Keys": {"pk": {"S": [{"prefix": "BOOK#"}, {"prefix": "MAILHISTORY#"}]}}}
    assert (removed["eventName"], removed["dynamodb"]["NewImage"]) == (["MODIFY"], {"void": {"BOOL": [True]}})
    assert removed["dynamodb"]["Keys"] == {"pk": {"S": [{"prefix": "BOOK#deals#"}]}}
    assert (orders["eventName"], rises["eventName"]) == (both, both)
    assert orders["dynamodb"] == {"Keys": {"pk": {"S": [{"prefix": "ORDER#"}]}, "sk": {"S": ["ORDER"]}}}
    assert rises["dynamodb"] == {"Keys": {"pk": {"S": [{"prefix": "BALANCE#"}, {"prefix": "STOCK#"}]}}}


def test_policy_of_the_authorizer(recorder: Recorder) -> None:
    """The authorizer's policy allows exactly the calls it makes."""
    recorder.calls.clear()
    services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
    accounts = services.accounts(Deadline.after(60))
    accounts.signing_keys()
    accounts.standing("northwind", "a-token", "a-client")
    accounts.count_request("a-token", 1)
    with pytest.raises(TokenRefused):
        services.reference_tokens(Deadline.after(60)).resolve("0" * 64)

    assert unneeded("AuthorizerFunction", recorder) == []
    assert leading_keys("AuthorizerFunction") == {
        "GetItem": ["TOKEN#*"],
        "BatchGetItem": ["PARTNER#*", "REVOKED#*", "CLIENT#*"],
        "Query": ["SIGNING_KEYS"],
        "UpdateItem": ["RATE#*"],
    }


def test_declared_settings_are_those_read() -> None:
    """The template declares exactly the settings that the code reads.

    Lambda's own settings, those of `sam local` and of Powertools are excluded.
    """
    folder = ROOT / "layers/ordering/python/ordering"
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    read = set(re.findall(r'(?:settings(?:\.get\(|\[)|_table\(|\.queue\()"([A-Z][A-Z_]+)"', source))
    declared = {
        name
        for properties in FUNCTIONS.values()
        for name in properties.get("Environment", {}).get("Variables", ())
        if not name.startswith("POWERTOOLS_")
    } | {"DOCUMENTATION_URL"}

    assert {name for name in read if not name.startswith("AWS_")} == declared
    assert "DOCUMENTATION_URL" in TEMPLATE.document["Globals"]["Function"]["Environment"]["Variables"]
    assert {"ACCOUNTS_TABLE", "SHARED_USAGE", "TOKEN_ISSUER", "TOKEN_AUDIENCE"} == set(
        FUNCTIONS["AuthorizerFunction"]["Environment"]["Variables"]
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_wildcards(function: str) -> None:
    """No policy has a wildcard action or resource, or is a managed one."""
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        assert "*" not in json.dumps(statement["Resource"])
        assert not {"NotAction", "NotResource"} & statement.keys()
    assert all(isinstance(policy, dict) for policy in FUNCTIONS[function]["Policies"])


def test_functions_that_write() -> None:
    """Only functions that create, change or settle may write, and accounts only under certain keys."""
    writing = {
        (function, table)
        for function in FUNCTIONS
        for action, table in allowed(function)
        if not action.startswith(("Get", "BatchGet", "Query"))
    }
    counting = {
        function: statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        for function in ("AuthorizerFunction", "TokenFunction")
        for statement in statements(function)
        if statement["Action"] == ["dynamodb:UpdateItem"]
    }

    assert writing == {
        ("AuthorizerFunction", "AccountsTable"),
        ("TokenFunction", "AccountsTable"),
        ("TrainingOrdersFunction", "OrdersTable"),
        ("EcardOrdersFunction", "OrdersTable"),
        ("DealOrdersFunction", "OrdersTable"),
        ("DealLineItemsFunction", "OrdersTable"),
        ("DealProductsFunction", "CatalogueTable"),
        ("StreamFunction", "OrdersTable"),
        ("MailsFunction", "OrdersTable"),
        ("IncomingFunction", "OrdersTable"),
        ("WebhooksFunction", "AccountsTable"),
        ("WebhookDeliveryFunction", "AccountsTable"),
    }
    assert counting == {"AuthorizerFunction": ["RATE#*"], "TokenFunction": ["CLIENT#*", "GUESSES#*"]}


def test_issuer_and_audience_are_parameters() -> None:
    """The issuer and audience of tokens are parameters of the stack."""
    environment = FUNCTIONS["AuthorizerFunction"]["Environment"]["Variables"]

    assert environment["TOKEN_ISSUER"] == {"Ref": "TokenIssuer"}
    assert environment["TOKEN_AUDIENCE"] == {"Ref": "TokenAudience"}


def test_tiers_have_plans() -> None:
    """Each tier's plan is of the stage, with higher limits than the tier before; the shared key is in its own plan."""
    plans = {name: TEMPLATE.resolve(RESOURCES[name]["Properties"]) for name in (*TIERS.values(), "SharedPlan")}
    limits = [
        (plan["Throttle"]["RateLimit"], plan["Throttle"]["BurstLimit"], plan["Quota"]["Limit"])
        for plan in map(plans.__getitem__, TIERS.values())
    ]
    shared = RESOURCES["SharedPlanKey"]["Properties"]
    named = FUNCTIONS["AuthorizerFunction"]["Environment"]["Variables"]["SHARED_USAGE"]

    assert {name for name, one in RESOURCES.items() if one["Type"] == "AWS::ApiGateway::UsagePlan"} == plans.keys()
    assert all(plan["ApiStages"] == [{"ApiId": "Api", "Stage": "Api.Stage"}] for plan in plans.values())
    assert all(low < high for one, other in pairwise(limits) for low, high in zip(one, other, strict=True))
    assert "Quota" not in plans["SharedPlan"]
    assert (shared["KeyId"], shared["UsagePlanId"]) == ({"Ref": "SharedKey"}, {"Ref": "SharedPlan"})
    assert RESOURCES["SharedKey"]["Properties"]["Value"] == named


def test_methods_have_limits() -> None:
    """Each method has a limit for all callers together, above the highest tier's, within the account's.

    That of the token endpoint, which needs no tier, is lower.
    """
    settings, tokens = TEMPLATE.resolve(RESOURCES["Api"]["Properties"]["MethodSettings"])
    premium = TEMPLATE.parameters

    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert (tokens["ResourcePath"], tokens["HttpMethod"]) == ("/~1connect~1token", "POST")
    assert tokens["ThrottlingRateLimit"] < settings["ThrottlingRateLimit"]
    assert tokens["ThrottlingBurstLimit"] < settings["ThrottlingBurstLimit"]
    assert premium["PremiumRate"] < settings["ThrottlingRateLimit"] <= ACCOUNT_RATE
    assert premium["PremiumBurst"] < settings["ThrottlingBurstLimit"] <= ACCOUNT_BURST


def test_functions_time_out_before_the_gateway() -> None:
    """A function's timeout is below the gateway's 29 seconds."""
    shared = TEMPLATE.document["Globals"]["Function"]["Timeout"]

    assert all(properties.get("Timeout", shared) < 29 for properties in RESOURCE_FUNCTIONS.values())


def test_data_outlives_the_stack() -> None:
    """Tables and keys outlive a deleted stack and a replacement; a stack that cannot be created leaves no keys."""
    policies = {
        (one["Type"], one["DeletionPolicy"], one["UpdateReplacePolicy"])
        for one in RESOURCES.values()
        if one["Type"] in ("AWS::DynamoDB::Table", "AWS::KMS::Key")
    }

    assert policies == {
        ("AWS::DynamoDB::Table", "Retain", "Retain"),
        ("AWS::KMS::Key", "RetainExceptOnCreate", "Retain"),
    }
    assert all(one["DeletionProtectionEnabled"] for _, one in TEMPLATE.resources("AWS::DynamoDB::Table"))
