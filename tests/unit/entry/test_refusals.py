"""Callers that the authorizer passes on to be refused: each contract's own error, with the challenge of RFC 6750."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ordering.principal import DealTerms, Principal
from ordering.values import replace
from support.gateway import DOMAIN, REQUEST_ID, LambdaContext, load
from support.partners import CALLER

FUNCTIONS = {
    "training/products": "/api/v2/products",
    "training/orders": "/api/v2/orders",
    "training/order_keys": "/api/v2/orders/1/keys",
    "deals/orders": "/v2/orders",
    "ecards/orders": "/v1/orders",
    "webhooks/registrations": "/webhooks",
}
"""A function of each contract, and one of its paths."""

REALM = 'Bearer realm="orders"'


def answer(
    function: str,
    authorizer: Mapping[str, str] | None,
    headers: Mapping[str, str] | None = None,
    several: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The response to a GET, for a decision of the authorizer."""
    path = FUNCTIONS[function]
    context = {"requestId": REQUEST_ID, "path": path, "stage": "live", "domainName": DOMAIN}
    event = {
        "httpMethod": "GET",
        "path": path,
        "resource": path,
        "headers": dict(headers or {}),
        "multiValueHeaders": several,
        "body": None,
        "requestContext": context if authorizer is None else {**context, "authorizer": dict(authorizer)},
    }
    return load(function).handle(event, LambdaContext())  # type: ignore[arg-type] # all that is used of it


def challenge(response: Mapping[str, Any]) -> str | None:
    values = response["multiValueHeaders"].get("WWW-Authenticate")
    return values[0] if values else None


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_two_tokens_under_a_cached_decision(function: str, name: str) -> None:
    """A request with two different Authorization values is 401, even if a cached decision lets it in."""
    granted = replace(CALLER, grants=("training", "training-keys", "deals", "ecards")).to_text()
    headers = {"Authorization": ["Bearer a.b.c"]}
    headers[name] = [*headers.get(name, ()), "Bearer d.e.f"]
    response = answer(function, {"principal": granted}, several=headers)

    assert (response["statusCode"], challenge(response)) == (401, f'{REALM}, error="invalid_token"')


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer"])
def test_requests_without_a_token(function: str, header: str | None) -> None:
    """A request without a bearer token is 401, and its challenge names no error."""
    response = answer(function, {"refusal": "unauthorized"}, {"authorization": header} if header is not None else {})

    assert (response["statusCode"], challenge(response)) == (401, REALM)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("authorizer", [{"refusal": "unauthorized"}, {"refusal": "another"}, {}, None])
def test_refused_tokens(function: str, authorizer: Mapping[str, str] | None) -> None:
    """A token that is not accepted is 401, and the challenge says `invalid_token`."""
    response = answer(function, authorizer, {"Authorization": "bearer a.b.c"})

    assert (response["statusCode"], challenge(response)) == (401, f'{REALM}, error="invalid_token"')


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name.startswith(("training", "webhooks"))])
def test_problem_of_a_refused_token(function: str) -> None:
    """On `/api/v2` and `/webhooks` a refused token is a problem document and nothing else."""
    response = answer(function, {"refusal": "unauthorized"}, {"Authorization": "Bearer a.b.c"})

    assert response["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
    assert json.loads(response["body"]) == {
        "type": "https://api.example.com/docs/errors#unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": (
            "The access token is missing, malformed, expired or revoked. Send a valid one as "
            "'Authorization: Bearer <token>'."
        ),
        "instance": f"urn:uuid:{REQUEST_ID}",
        "requestId": REQUEST_ID,
    }


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("refusal", "status"),
    [("switched-off", 403), ("too-many-units", 403), ("too-many-requests", 429), ("unavailable", 503)],
)
def test_other_refusals(function: str, refusal: str, status: int) -> None:
    """Each reason of the authorizer has its status in every contract, and none but a token's fault has a challenge."""
    response = answer(function, {"refusal": refusal}, {"Authorization": "Bearer a.b.c"})

    assert (response["statusCode"], challenge(response)) == (status, None)
    assert json.loads(response["body"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_missing_grants(function: str) -> None:
    """A call that needs a grant which the token does not cover is 403, and the challenge says `insufficient_scope`."""
    caller = replace(CALLER, grants=(), narrowed=True)
    response = answer(function, {"principal": caller.to_text()})

    assert (response["statusCode"], challenge(response)) == (403, f'{REALM}, error="insufficient_scope"')


@pytest.mark.parametrize(
    ("function", "caller"),
    [
        ("training/orders", replace(CALLER, payment_terms="card")),
        ("deals/orders", replace(CALLER, grants=("deals",), deals=DealTerms("basic"))),
    ],
)
def test_rules_that_no_token_changes(function: str, caller: Principal) -> None:
    """A 403 that another token would meet too has no challenge."""
    response = answer(function, {"principal": caller.to_text()})

    assert (response["statusCode"], challenge(response)) == (403, None)
