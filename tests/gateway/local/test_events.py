"""The events of a running stack for functions, compared with those of a REST API."""

import http.client
import json
import socket
from typing import Any

import httpx
import pytest

from support.local_stack import LocalStack

pytestmark = pytest.mark.gateway

ALLOW = {"Authorization": "Bearer allow"}


def event(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["event"]
    return found


def raw(stack: LocalStack, request: bytes) -> tuple[int, bytes]:
    """Send bytes that an HTTP library would not send; returns the status and the body of the response."""
    host, port = stack.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        with http.client.HTTPResponse(connection, method="GET") as response:
            response.begin()
            return response.status, response.read()


def test_request_id_is_fresh(client: httpx.Client) -> None:
    """Each request has a unique id, which is also in the response."""
    first, second = (client.get("/echo", headers=ALLOW) for _ in range(2))

    assert event(first)["requestContext"]["requestId"] == first.headers["x-amzn-RequestId"]
    assert first.headers["x-amzn-RequestId"] != second.headers["x-amzn-RequestId"]


def test_request_id_is_shared_with_the_authorizer(client: httpx.Client) -> None:
    """Authorizer and function receive the same request id."""
    context = event(client.get("/echo", headers={"Authorization": "Bearer allow:shared-id"}))["requestContext"]

    assert context["requestId"] == context["authorizer"]["request"]


def test_request_context(client: httpx.Client) -> None:
    """The context has stage, route, path without the stage, host, caller and time."""
    context = event(client.get("/echo/7", headers=ALLOW | {"Host": "localhost"}))["requestContext"]

    assert tuple(context[key] for key in ("stage", "resourcePath", "path", "httpMethod", "domainName", "protocol")) == (
        "test",
        "/echo/{item}",
        "/echo/7",
        "GET",
        "localhost",
        "HTTP/1.1",
    )
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert context["requestTimeEpoch"] > 1_700_000_000_000


def test_headers_once_and_all(client: httpx.Client) -> None:
    """A repeated header has its last value in `headers` and all values in `multiValueHeaders`."""
    headers = [("Authorization", "Bearer allow"), ("X-Tag", "one"), ("X-Tag", "two, three")]

    found = event(client.get("/echo", headers=headers))

    assert found["headers"]["X-Tag"] == "two, three"
    assert found["multiValueHeaders"]["X-Tag"] == ["one", "two, three"]


def test_query_is_decoded(client: httpx.Client) -> None:
    """Query parameters are decoded; a repeated one has its last value, and all values in the multi-value field."""
    found = event(client.get("/echo?name=J%C3%B6rg+M&tag=a&tag=b%26c&empty=", headers=ALLOW))

    assert found["queryStringParameters"] == {"name": "Jörg M", "tag": "b&c", "empty": ""}
    assert found["multiValueQueryStringParameters"]["tag"] == ["a", "b&c"]


def test_absent_parts_are_null(client: httpx.Client) -> None:
    """A missing query, missing parameters and a missing body are null in the event."""
    found = event(client.get("/echo", headers=ALLOW))

    absent = ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "body")
    assert [found[key] for key in absent] == [None] * 4
    assert found["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/echo/a%20b", {"item": "a b"}),
        ("/echo/a%2Fb", {"item": "a/b"}),
        ("/echo/%C3%BC", {"item": "ü"}),
        ("/files/a/b%20c/d", {"proxy": "a/b c/d"}),
        ("/echo/%FF", {"item": "\ufffd"}),
        ("/echo/7/", {"item": "7"}),
    ],
)
def test_path_parameters_are_decoded(client: httpx.Client, path: str, parameters: dict[str, str]) -> None:
    """Path parameters are decoded after the route is matched; the path is not decoded."""
    found = event(client.get(path, headers=ALLOW))

    assert parameters == found["pathParameters"]
    assert path == found["path"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a": "\xc3\xbc"}', '{"a": "ü"}'),
        (b"\xff\xfe\x00", "\ufffd\ufffd\x00"),
        (b"\r\n", "\r\n"),
    ],
)
def test_body_is_text(client: httpx.Client, body: bytes, text: str) -> None:
    """Every body is passed on as text, also if its bytes are not UTF-8."""
    found = event(client.post("/echo", headers=ALLOW, content=body))

    assert text == found["body"]
    assert found["isBase64Encoded"] is False


def test_chunked_body(client: httpx.Client) -> None:
    """A chunked body is passed on as a whole."""
    found = event(client.post("/echo", headers=ALLOW, content=iter([b"one ", b"two"])))

    assert found["body"] == "one two"


@pytest.mark.parametrize(
    "target",
    [
        b"//echo",
        b"/echo//",
        b"/echo/%zz",
        b'/echo/"<>',
        b"/echo?%zz=%&&=&x",
        b"/echo?" + b"a=1&" * 10_000,
        b"/echo/../echo",
        b"http://elsewhere.example/echo",
        b"*",
    ],
)
def test_odd_targets_are_not_server_errors(stack: LocalStack, target: bytes) -> None:
    """No request target causes a server error: the request is served or refused."""
    status, body = raw(stack, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer allow\r\n\r\n")

    assert status in (200, 404), body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /echo one two HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /echo/\x01\x02 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /echo/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcde\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_http_is_refused(stack: LocalStack, request_bytes: bytes) -> None:
    """A malformed request is refused with an error in the API's own shape."""
    status, body = raw(stack, request_bytes)

    assert (status, json.loads(body)["title"]) == (400, "Refused")


def test_connection_is_kept(stack: LocalStack) -> None:
    """A connection is reused for several requests, including refused ones."""
    connection = http.client.HTTPConnection(stack.base_url.removeprefix("http://"), timeout=10)
    statuses = []
    sockets = set()
    for path in ("/echo", "/nowhere", "/echo"):
        connection.request("GET", path, headers=ALLOW)
        with connection.getresponse() as response:
            response.read()
        statuses.append(response.status)
        sockets.add(connection.sock)
    connection.close()

    assert statuses == [200, 404, 200]
    assert len(sockets) == 1
