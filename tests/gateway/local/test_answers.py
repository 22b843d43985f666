"""Responses of a running stack: those of functions, and the gateway responses of the template."""

import gzip
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ordering_tools.local.engine.state import find
from support.local_stack import LocalStack

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


def test_renamed_headers(client: httpx.Client) -> None:
    """A function's challenge, date and server arrive under other names, as in API Gateway."""
    result = {"statusCode": 401, "headers": {"www-authenticate": "Bearer", "Date": "today", "Server": "mine"}}

    headers = returned(client, result).headers

    assert [headers[f"x-amzn-Remapped-{name}"] for name in ("WWW-Authenticate", "Date", "Server")] == [
        "Bearer",
        "today",
        "mine",
    ]
    assert "WWW-Authenticate" not in headers
    assert headers["Date"] != "today"


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


@pytest.mark.parametrize("path", ["//echo", "///echo", "/echo//"])
def test_slashes_are_part_of_a_path(client: httpx.Client, path: str) -> None:
    """A path with further slashes is another path, as in API Gateway."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer allow\r\n\r\n".encode())

        assert raw.recv(12) == b"HTTP/1.1 404"


def test_chunks_with_extensions_and_trailers(client: httpx.Client) -> None:
    """A chunked body with extensions and trailers is received."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer allow\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4;a=b\r\nfour\r\n0\r\nDigest: x\r\n\r\n"
        )
        response = b"".join(iter(lambda: raw.recv(4_096), b""))

    assert response.startswith(b"HTTP/1.1 200")
    assert b'"four"' in response


def test_compressed_responses(client: httpx.Client) -> None:
    """A response of 1,024 bytes or more is compressed for a client that accepts it."""
    result = {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": "x" * 1_024}
    short = {**result, "body": "x" * 1_023}

    answers = [
        client.post("/behave", json={"return": each}, headers={"Accept-Encoding": accepted})
        for each, accepted in [(result, "gzip"), (result, "identity"), (short, "gzip")]
    ]

    assert [answer.headers.get("Content-Encoding") for answer in answers] == ["gzip", None, None]
    assert int(answers[0].headers["Content-Length"]) < 100
    assert answers[0].text == answers[1].text == result["body"]


def test_compressed_requests(client: httpx.Client) -> None:
    """A compressed body reaches the function decoded, and one in another coding is UNSUPPORTED_MEDIA_TYPE."""
    body = gzip.compress(b"four")
    answers = [
        client.post("/echo", content=body, headers={**ALLOW, "Content-Encoding": coding}) for coding in ("gzip", "br")
    ]

    assert answers[0].json()["event"]["body"] == "four"
    assert (answers[1].status_code, answers[1].json()) == (415, {"title": "Unknown encoding"})


def test_events_have_lambda_s_limit(client: httpx.Client) -> None:
    """A body that the gateway takes but Lambda does not is REQUEST_TOO_LARGE."""
    response = client.post("/echo", headers=ALLOW, content=b"x" * 6_291_456)

    assert (response.status_code, response.json()) == (413, {"title": "Too large"})


def test_results_have_lambda_s_limit(client: httpx.Client, stack: LocalStack) -> None:
    """A response that is too large for Lambda is an INTEGRATION_FAILURE, and the reason is printed."""
    # In the echoed event, each of these characters takes six bytes.
    response = client.post("/echo", headers=ALLOW, content="\x01" * 1_000_000)

    assert (response.status_code, response.json()) == (502, {"title": "It failed"})
    assert "Response payload size exceeded maximum allowed payload size (6291556 bytes)." in stack.printed()


def test_options_without_an_authorizer(client: httpx.Client) -> None:
    """A method with an event of its own has that event's authorizer, the others keep the path's."""
    preflight = client.options("/echo", headers={"Origin": "https://docs.example.com"})

    assert (preflight.status_code, client.get("/echo").status_code) == (200, 401)
    assert preflight.json()["event"]["requestContext"].get("authorizer") is None


def test_foreign_hosts_are_refused(client: httpx.Client, stack: LocalStack) -> None:
    """The gateway, the functions and the engine refuse a request under another host's name, with 421 and the reason."""
    running = find(stack.state)
    assert running
    endpoints = [f"{stack.base_url}/echo", f"{running.functions}/2015-03-31/functions/EchoFunction/invocations"]
    for url in [*endpoints, running.endpoint]:
        answer = client.post(url, json={}, headers={**ALLOW, "Host": f"evil.example:{urlsplit(url).port}"})
        assert (answer.status_code, "127.0.0.1" in answer.text) == (421, True)


def test_web_pages_reach_only_the_gateway(client: httpx.Client, stack: LocalStack) -> None:
    """A request of a web page of another origin is refused by the functions and the engine, also its preflight."""
    running = find(stack.state)
    assert running
    page = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
    invocation = f"{running.functions}/2015-03-31/functions/EchoFunction/invocations"
    scan = {"X-Amz-Target": "DynamoDB_20120810.ListTables"}
    answers = [
        client.post(invocation, content=b"{}", headers=page),
        client.post(running.endpoint, content=b"{}", headers=page | scan),
        client.options(running.endpoint, headers=page | {"Access-Control-Request-Method": "POST"}),
    ]

    assert [answer.status_code for answer in answers] == [421] * 3
    assert not any("Access-Control-Allow-Origin" in answer.headers for answer in answers)
