"""The contract's "Errors": one shape for every refusal."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ordering.aws.dynamodb import NoAnswer, Send, ServiceFault
from ordering.values import replace
from support.aws.fake_connections import failing
from support.gateway import DOMAIN, REQUEST_ID, Client, Reply
from support.orders import new_order, target
from support.partners import AZ_300, CALLER, LINUX, STANDARD, UK
from support.services import Services

FIELDS = ["type", "title", "status", "detail", "instance", "requestId"]
UNKNOWN = "99999999-0000-4000-8000-000000000009"
ALL_PATHS = [
    "products",
    f"products/{AZ_300.id}",
    f"products/{AZ_300.id}/feature_sets",
    f"products/{AZ_300.id}/feature_sets/{STANDARD.id}",
    "orders",
    "orders/1",
    "orders/1/items",
]


def assert_problem(reply: Reply, status: int, title: str, kind: str) -> None:
    """Check what all problem documents have in common."""
    problem = reply.json

    assert status == reply.status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert [*FIELDS, *(["errors"] if status == 400 else [])] == list(problem)
    assert (title, status, f"urn:uuid:{REQUEST_ID}", REQUEST_ID) == (
        problem["title"],
        problem["status"],
        problem["instance"],
        problem["requestId"],
    )
    assert f"https://{DOMAIN}/docs/errors#{kind}" == problem["type"]
    assert problem["detail"].strip()
    assert reply.headers["X-Request-Id"] == REQUEST_ID


def broken(services: Services, send: Send) -> Client:
    """A caller whose functions use another connection to the tables, without caches."""
    return Client(Services(send, services.orders_table, services.catalogue_table, services.accounts_table), CALLER)


def test_400(client: Client) -> None:
    """A 400 lists each fault with its place, a code and a text."""
    reply = client.post(target("orders", businessUnitId="x"), new_order(emailKeys=1))

    assert_problem(reply, 400, "Bad Request", "invalid-request")
    by_parameter, by_pointer = reply.json["errors"]
    assert list(by_parameter) == ["parameter", "code", "detail"]
    assert list(by_pointer) == ["pointer", "code", "detail"]
    assert all(value.strip() for fault in reply.json["errors"] for value in fault.values())


@pytest.mark.parametrize("path", ALL_PATHS)
def test_403_card_terms(services: Services, path: str) -> None:
    """A partner with card payment terms gets 403 on every call, whatever else is wrong."""
    client = Client(services, replace(CALLER, payment_terms="card"))

    for query in ("", f"?businessUnitId={UK.id}", "?_page=0"):
        reply = client.get(f"/api/v2/{path}{query}")
        assert_problem(reply, 403, "Forbidden", "card-payment-terms")
        assert "Clients with Card payment terms can not use this API" in reply.json["detail"]


@pytest.mark.parametrize("path", ALL_PATHS)
def test_403_no_grant(services: Services, path: str) -> None:
    """A partner without the grant for training orders gets 403 on every call."""
    client = Client(services, replace(CALLER, grants=("deals",)))

    assert_problem(client.get(target(path)), 403, "Forbidden", "not-granted")


@pytest.mark.parametrize("changes", [{"payment_terms": "card"}, {"grants": ()}], ids=["card", "no grant"])
def test_403_creates_nothing(services: Services, client: Client, changes: dict[str, Any]) -> None:
    """A create that is refused with 403 creates nothing."""
    before = client.get(target("orders")).json["_pageInfo"]["totalItemCount"]

    assert Client(services, replace(CALLER, **changes)).post(target("orders"), new_order()).status == 403
    assert before == client.get(target("orders")).json["_pageInfo"]["totalItemCount"]


@pytest.mark.parametrize(
    "path",
    [
        f"products/{UNKNOWN}",
        "products/AZ-300",
        f"products/{UNKNOWN}/feature_sets",
        "products/x/feature_sets",
        f"products/{AZ_300.id}/feature_sets/{UNKNOWN}",
        f"products/{AZ_300.id}/feature_sets/x",
        f"products/{UNKNOWN}/feature_sets/{STANDARD.id}",
        f"products/{LINUX.id}/feature_sets/{STANDARD.id}",
        *[
            f"orders/{number}{rest}"
            for number in ("2147483647", "2147483648", "0", "-1", "01", "1.0", "x", "9" * 400, "+1", "1e1")
            for rest in ("", "/items")
        ],
    ],
)
def test_404(client: Client, path: str) -> None:
    """An unknown or malformed id is 404."""
    assert_problem(client.get(target(path)), 404, "Not Found", "not-found")


def test_404_path(client: Client) -> None:
    """An unknown path below a resource is 404, with any method."""
    for method in ("GET", "POST", "DELETE", "OPTIONS", "HEAD"):
        reply = client.request(method, target("orders/1/2"))
        assert reply.status == 404
        assert method == "HEAD" or "path" in reply.json["detail"]
    assert_problem(client.get(target("orders/1/2")), 404, "Not Found", "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method in ("PUT", "PATCH", "DELETE") for path in ALL_PATHS]
    + [("POST", path) for path in ALL_PATHS if path != "orders"],
)
def test_405(client: Client, method: str, path: str) -> None:
    """An unsupported method is 405 with the supported ones."""
    reply = client.request(method, target(path), body=new_order())

    assert_problem(reply, 405, "Method Not Allowed", "method-not-allowed")
    expected = "GET, HEAD, OPTIONS, POST" if path == "orders" else "GET, HEAD, OPTIONS"
    assert expected == reply.headers["Allow"]


@pytest.mark.parametrize("path", ALL_PATHS)
def test_options(client: Client, path: str) -> None:
    """OPTIONS lists the methods of a path and has no content."""
    reply = client.request("OPTIONS", target(path))

    assert (reply.status, reply.text) == (204, "")
    assert ("GET, HEAD, OPTIONS, POST" if path == "orders" else "GET, HEAD, OPTIONS") == reply.headers["Allow"]


@pytest.mark.parametrize(
    "path", [*ALL_PATHS[:5], "orders/2147483647", "products/x", "orders?_page=0"], ids=lambda path: path[-20:]
)
def test_head_is_get_without_content(client: Client, path: str) -> None:
    """HEAD has the status and headers of GET, and no content."""
    address = f"/api/v2/{path}" if "?" in path else target(path)

    got, head = client.get(address), client.request("HEAD", address)

    assert (got.status, "", got.headers) == (head.status, head.text, head.headers)
    assert got.text


def test_413(client: Client) -> None:
    """A body of more than 1 MiB is 413."""
    reply = client.post(target("orders"), new_order(purchaseOrderReference="x" * 2**20))

    assert_problem(reply, 413, "Content Too Large", "content-too-large")


def test_415(client: Client) -> None:
    """A body whose content type is not JSON is 415."""
    reply = client.post(target("orders"), new_order(), headers={"Content-Type": "text/plain"})

    assert_problem(reply, 415, "Unsupported Media Type", "unsupported-media-type")


def test_422(client: Client) -> None:
    """An idempotency key reused for another request is 422."""
    headers = {"Idempotency-Key": "errors-422"}
    client.post(target("orders"), new_order(), headers=headers)

    reply = client.post(target("orders"), new_order(emailKeys=True, contactEmail="a@b.example"), headers=headers)

    assert_problem(reply, 422, "Unprocessable Content", "idempotency-key-reused")


@pytest.mark.parametrize("path", ALL_PATHS)
def test_500_reveals_nothing(services: Services, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """A 500 reveals nothing of the failure, which is logged."""
    client = broken(services, failing(RuntimeError("the secret text"), services.send))

    reply = client.get(target(path))

    assert_problem(reply, 500, "Internal Server Error", "internal-server-error")
    assert "secret" not in reply.text + json.dumps(dict(reply.headers))
    assert "RuntimeError" not in reply.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    assert str(record.exc_info[1]) == "the secret text"


def test_500_on_create(services: Services) -> None:
    """A 500 on a create advises a retry with the same idempotency key."""
    client = broken(services, failing(KeyError("secret"), services.send, "UpdateItem"))

    reply = client.post(target("orders"), new_order())

    assert_problem(reply, 500, "Internal Server Error", "internal-server-error")
    assert "secret" not in reply.text
    assert "Idempotency-Key" in reply.json["detail"]


@pytest.mark.parametrize(
    "error",
    [NoAnswer("cut"), ServiceFault("ThrottlingException"), ServiceFault("InternalServerError")],
    ids=["no answer", "throttled", "failing"],
)
@pytest.mark.parametrize("path", ALL_PATHS)
@pytest.mark.usefixtures("retries_without_waiting")
def test_503_with_retry_after(services: Services, path: str, error: Exception) -> None:
    """If the tables do not answer in time, a read is 503 with `Retry-After`."""
    client = broken(services, failing(error, services.send))

    reply = client.get(target(path))

    assert_problem(reply, 503, "Service Unavailable", "service-unavailable")
    assert int(reply.headers["Retry-After"]) > 0


@pytest.mark.usefixtures("retries_without_waiting")
def test_the_cause_of_a_503_is_logged(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    """A 503 leaves one warning, with the request's id, the endpoint and the cause; its response has neither."""
    client = broken(services, failing(NoAnswer("tables.example: ConnectTimeoutError"), services.send))

    reply = client.get(target("products"))

    (record,) = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
    assert (record["msg"], record["request"]) == ("unavailable", reply.headers["X-Request-Id"])
    assert "tables.example: ConnectTimeoutError" in record["cause"]
    assert "tables.example" not in reply.text


@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
@pytest.mark.usefixtures("retries_without_waiting")
def test_503_on_create(services: Services, operation: str) -> None:
    """If the tables do not answer in time, a create is 503 with `Retry-After` and makes no order."""
    client = broken(services, failing(NoAnswer("cut"), services.send, operation))
    whole = Client(services, CALLER)
    before = whole.get(target("orders")).json["_pageInfo"]["totalItemCount"]

    reply = client.post(target("orders"), new_order())

    assert_problem(reply, 503, "Service Unavailable", "service-unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert before == whole.get(target("orders")).json["_pageInfo"]["totalItemCount"]
