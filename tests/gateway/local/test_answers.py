"""Responses of a running stack: those of functions, and the gateway responses of the template."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.gateway

ALLOW = {"Authorization": "Bearer allow"}


def returned(client: httpx.Client, result: Any, method: str = "POST") -> httpx.Response:
    return client.request(method, "/behave", json={"return": result})


def test_status_headers_and_body(client: httpx.Client) -> None:
    """A function's status, headers and body are passed on unchanged."""
    result = {
        "statusCode": 201,
        "headers": {"X-One": "1", "Content-Type": "text/plain; charset=utf-8"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"], "X-One": ["1"]},
        "body": "grüße",
    }

    response = returned(client, result)

    assert (response.status_code, response.text) == (201, "grüße")
    assert response.headers.get_list("Set-Cookie") == ["a=1", "b=2"]
    assert response.headers.get_list("X-One") == ["1"]
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_content_type_is_json_by_default(client: httpx.Client) -> None:
    """A body without a content type gets that of JSON, as in API Gateway."""
    response = returned(client, {"statusCode": 200, "body": "{}"})

    assert response.headers["Content-Type"] == "application/json"


def test_no_content_has_neither_body_nor_type(client: httpx.Client) -> None:
    """204 has no body, no length and no type."""
    response = returned(client, {"statusCode": 204, "body": "ignored"})

    assert (response.status_code, response.content) == (204, b"")
    assert not {"content-type", "content-length"} & set(response.headers)


def test_head_has_the_length_but_no_body(client: httpx.Client) -> None:
    """The response to HEAD has the headers of GET and no body."""
    response = returned(client, {"statusCode": 200, "body": "four"}, "HEAD")

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == "4"


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "text",
        {},
        {"statusCode": "many"},
        {"statusCode": 42},
        {"statusCode": 200, "body": {"not": "text"}},
        {"statusCode": 200, "unknown": 1},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"X-Split": "a\r\nX-Other: b"}},
    ],
)
def test_malformed_results_are_failed_integrations(client: httpx.Client, result: Any) -> None:
    """A malformed result is the template's INTEGRATION_FAILURE."""
    response = returned(client, result)

    assert (response.status_code, response.json()) == (502, {"title": "It failed"})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("GET", "/"), ("DELETE", "/echo/7"), ("BREW", "/echo"), ("HEAD", "/broken")],
)
def test_unknown_routes(client: httpx.Client, method: str, path: str) -> None:
    """An unknown path or method is the template's MISSING_AUTHENTICATION_TOKEN."""
    response = client.request(method, path, headers=ALLOW)

    assert response.status_code == 404
    assert method == "HEAD" or {"title": "Nothing here", "path": path} == response.json()
    assert response.headers["x-amzn-RequestId"]


def test_gateway_response_headers_and_variables(client: httpx.Client) -> None:
    """A gateway response has the headers of the template, with its variables replaced."""
    response = client.get("/echo/%22quoted%22")

    request_id = response.headers["x-amzn-RequestId"]
    assert response.status_code == 401
    assert {
        "title": "Who are you?",
        "path": "/echo/%22quoted%22",
        "requestId": request_id,
    } == response.json()
    assert ("application/problem+json", "Bearer", request_id) == tuple(
        response.headers[name] for name in ("Content-Type", "WWW-Authenticate", "X-Request-Id")
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_a_limit(client: httpx.Client, *, chunked: bool) -> None:
    """A body over 10 MiB is REQUEST_TOO_LARGE, and the next request on the connection succeeds."""
    body = b"x" * (10 * 1024 * 1024 + 1)

    response = client.post("/echo", headers=ALLOW, content=iter([body]) if chunked else body)

    assert (response.status_code, response.json()) == (413, {"title": "Too large"})
    assert client.get("/echo", headers=ALLOW).status_code == 200


def test_large_bodies_pass(client: httpx.Client) -> None:
    """A body of 5 MB is received and returned."""
    body = "x" * 5_000_000

    response = client.post("/echo", headers=ALLOW, content=body)

    assert body == response.json()["event"]["body"]
