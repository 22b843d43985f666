"""Web pages of other origins: preflights without a token, and CORS headers for the origins that the operator allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ordering.web.browsers import PREFLIGHT_SECONDS, REQUEST_HEADERS, RESPONSE_HEADERS, cors_headers, vary
from support.gateway import REQUEST_ID, ROOT, LambdaContext, load

PAGE = "https://docs.example.com"
OTHER = "https://docs.example.com:8443"
PATHS = {
    "training/orders": ("/api/v2/orders", "GET, HEAD, OPTIONS, POST"),
    "deals/orders": ("/v2/orders/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
    "ecards/orders": ("/v1/orders", "GET, HEAD, OPTIONS, POST"),
    "webhooks/registrations": ("/webhooks", "GET, HEAD, OPTIONS, POST"),
    "identity/token": ("/connect/token", "OPTIONS, POST"),
}
"""A function of each contract, one of its paths, and the methods of that path."""


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows one page's origin, and another."""
    monkeypatch.setenv("ALLOWED_ORIGINS", f"https://a.example.com,{PAGE}")


def answer(function: str, method: str, headers: Mapping[str, str], path: str = "") -> dict[str, Any]:
    """The response to a request without a token, as the gateway passes it on."""
    path = path or PATHS[function][0]
    event = {
        "httpMethod": method,
        "path": path,
        "resource": path,
        "headers": dict(headers),
        "body": None,
        "requestContext": {"requestId": REQUEST_ID, "path": path, "stage": "live"},
    }
    return load(function).handle(event, LambdaContext())  # type: ignore[arg-type] # all that is used of it


def shown(response: Mapping[str, Any]) -> dict[str, str]:
    return {name: values[0] for name, values in response["multiValueHeaders"].items()}


def cors(response: Mapping[str, Any]) -> set[str]:
    return {name for name in shown(response) if name.startswith("Access-Control-")}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("function", PATHS)
def test_preflights(function: str) -> None:
    """A preflight of an allowed origin is 204 without a token, with the methods and headers that a page may send."""
    response = answer(function, "OPTIONS", {"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    headers = shown(response)

    assert (response["statusCode"], response["body"]) == (204, "")
    assert headers["Allow"] == headers["Access-Control-Allow-Methods"] == PATHS[function][1]
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert {"Authorization", "Content-Type", "Idempotency-Key"} <= {
        *headers["Access-Control-Allow-Headers"].split(", ")
    }
    assert headers["Access-Control-Max-Age"] == str(PREFLIGHT_SECONDS)
    assert headers["Vary"].endswith("Accept-Encoding, Origin")
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("function", PATHS)
@pytest.mark.parametrize("origin", [OTHER, "http://docs.example.com", "HTTPS://docs.example.com", "null", "", None])
def test_other_origins(function: str, origin: str | None) -> None:
    """An origin that differs in anything gets the same response without CORS headers, which caches tell apart."""
    headers = {"Access-Control-Request-Method": "POST"} | ({} if origin is None else {"Origin": origin})
    for method, status in [("OPTIONS", {204}), ("PATCH", {401, 405})]:
        response = answer(function, method, headers)

        assert response["statusCode"] in status
        assert cors(response) == set()
        assert "Origin" in shown(response)["Vary"].split(", ")


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("function", PATHS)
def test_pages_can_read_errors(function: str) -> None:
    """An error has the CORS headers too, so that a page can read why its call failed, and what explains it."""
    response = answer(function, "PATCH", {"origin": PAGE})
    headers = shown(response)

    assert response["statusCode"] in {401, 405}
    assert cors(response) == {"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"}
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert {"X-Request-Id", "Retry-After", "Location"} <= {*headers["Access-Control-Expose-Headers"].split(", ")}


@pytest.mark.parametrize("function", PATHS)
def test_no_page_is_allowed_by_default(function: str) -> None:
    """Without a list of origins no response has a CORS header, and OPTIONS still lists the methods."""
    response = answer(function, "OPTIONS", {"Origin": PAGE, "Access-Control-Request-Method": "POST"})

    assert (response["statusCode"], cors(response)) == (204, set())
    assert shown(response)["Allow"] == PATHS[function][1]
    assert "Origin" not in shown(response)["Vary"]


@pytest.mark.parametrize("function", [name for name in PATHS if name != "identity/token"])
def test_unknown_paths_need_a_token(function: str) -> None:
    """OPTIONS of a path that does not exist is refused as any other method is, before the path is."""
    assert answer(function, "OPTIONS", {"Origin": PAGE}, f"{PATHS[function][0]}/no/such/path")["statusCode"] == 401


@pytest.mark.parametrize("function", PATHS)
def test_responses_vary_by_coding(function: str) -> None:
    """Every response says that the gateway may compress it, beside what its contract says."""
    own = ["Content-Language"] if function.startswith("deals") else []

    assert shown(answer(function, "PATCH", {}))["Vary"].split(", ") == [*own, "Accept-Encoding"]


def test_documented_headers() -> None:
    """A page may send and read every header field that the document describes."""
    document = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    sent = {one["name"] for operation in operations for one in operation.get("parameters", ()) if one["in"] == "header"}
    responses = [
        *document["components"]["responses"].values(),
        *(response for operation in operations for response in operation["responses"].values()),
    ]
    read = {name for response in responses for name in response.get("headers", ())}

    assert sent <= {*REQUEST_HEADERS.split(", ")}
    assert read - {"Content-Type", "Content-Language", "Cache-Control", "Pragma", "Vary"} <= {
        *RESPONSE_HEADERS.split(", ")
    }


def test_parts() -> None:
    """The headers follow from the origin, the list and the methods alone."""
    assert cors_headers(None, {PAGE}, ["GET"]) == cors_headers(PAGE, (), ["GET"]) == {}
    assert cors_headers(PAGE, {PAGE}, ["GET", "PUT"])["Access-Control-Allow-Methods"] == "GET, PUT"
    assert vary([], ()) == "Accept-Encoding"
    assert vary(["Accept"], {PAGE}) == "Accept, Accept-Encoding, Origin"
