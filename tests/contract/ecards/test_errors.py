"""The contract's errors: the same shape on every path, for every caller and call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ordering import values
from ordering.aws.dynamodb import NoAnswer, Send
from ordering.book.orderbook import GRACE
from support.aws.fake_connections import Recorder, failing
from support.aws.memory import Memory
from support.deals import Watch
from support.ecards import ALWAYS, COMPANY, JSON, Rewards, card, new_order, order_id, refused, services_over
from support.gateway import LambdaContext, Reply, _reply, _route, load
from support.services import Services

ORDER = f"/v1/orders/{order_id(1)}"
READS = ["/v1/orders", ORDER, f"{ORDER}/status", "/v1/ecards", "/v1/balance"]
CALLS: list[tuple[str, str, Any]] = [*(("GET", path, None) for path in READS), ("POST", "/v1/orders", new_order(2))]
EACH_CALL = pytest.mark.parametrize(
    ("method", "path", "body"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS]
)


@pytest.fixture
def stocked(company: Rewards) -> Rewards:
    """A company with an order."""
    company.place()
    return company


@EACH_CALL
def test_every_call_is_answered(stocked: Rewards, method: str, path: str, body: Any) -> None:
    """Each call succeeds with 200 and JSON."""
    reply = stocked.request(method, path, body=body)

    tag = {"ETag": reply.headers["ETag"]} if path == "/v1/ecards" else {}
    assert (reply.status, reply.headers) == (200, {**ALWAYS, **tag, "Content-Type": JSON})


def test_a_current_copy_of_the_cards(stocked: Rewards) -> None:
    """A read of the cards that names the response's `ETag` is 304 without a body."""
    first = stocked.get("/v1/ecards")
    again = stocked.request("GET", "/v1/ecards", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])


def pass_on(company: Rewards, method: str, path: str, authorizer: dict[str, Any] | None) -> Reply:
    """Send a call that the authorizer passed on without a principal."""
    event = company.event(method, path, "", {}, None, base64=False)
    if authorizer is None:
        del event["requestContext"]["authorizer"]
    else:
        event["requestContext"]["authorizer"] = authorizer
    function, event["resource"] = _route(path)
    app = load(function)
    app.services = company.services
    return _reply(app.handle(event, LambdaContext()))  # type: ignore[arg-type] # all that is used of it


REFUSED: dict[str, tuple[dict[str, Any] | None, int]] = {
    "unauthorized": ({"principalId": "unauthenticated", "refusal": "unauthorized"}, 401),
    "unknown reason": ({"principalId": "unauthenticated", "refusal": "who knows"}, 401),
    "no reason": ({"principalId": "unauthenticated"}, 401),
    "nothing": ({}, 401),
    "no authorizer": (None, 401),
    "switched off": ({"principalId": "granite", "refusal": "switched-off"}, 403),
    "too fast": ({"principalId": "granite", "refusal": "too-many-requests"}, 429),
    "not reached": ({"principalId": "unauthenticated", "refusal": "unavailable"}, 503),
}


@pytest.mark.parametrize(("authorizer", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_the_function_itself(stocked: Rewards, recorder: Recorder, authorizer: Any, status: int) -> None:
    """A caller whom the authorizer passed on to be refused is refused on every path before anything is read."""
    recorder.calls.clear()

    for path in (*READS, "/v1/nothing", "/v1"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            refused(pass_on(stocked, method, path, authorizer), status)
    assert recorder.calls == []


def test_401_names_the_scheme(stocked: Rewards) -> None:
    """A 401 names the scheme and where to get a token."""
    reply = pass_on(stocked, "GET", "/v1/orders", {})

    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="orders"'
    assert "/connect/token" in reply.json["message"]


@pytest.mark.parametrize("refusal", ["too-many-requests", "unavailable"])
def test_retry_after(stocked: Rewards, refusal: str) -> None:
    """A 429 and a 503 have `Retry-After`."""
    assert pass_on(stocked, "GET", "/v1/orders", {"refusal": refusal}).headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("grants", "name"), [((), "company"), (("training", "deals"), "company"), (("ecards",), None), ((), None)]
)
def test_403(stocked: Rewards, recorder: Recorder, grants: tuple[str, ...], name: str | None) -> None:
    """A caller without the grant for e-card orders, or that is no company, gets 403 before anything is read."""
    refused_caller = Rewards(stocked.services, values.replace(COMPANY, grants=grants, company=name))
    recorder.calls.clear()

    for method, path, body in CALLS:
        assert "grant" in refused(refused_caller.request(method, path, body=body), 403)
    refused(refused_caller.post("/v1/orders", "{"), 403)
    assert recorder.calls == []


@pytest.mark.parametrize("path", [ORDER, f"{ORDER}/status"])
def test_another_company_s_order(stocked: Rewards, stranger: Rewards, path: str) -> None:
    """The answer for another company's order is identical to the one for an unknown order."""
    foreign = stranger.get(path)
    emptied = Rewards(services_over(Memory()), COMPANY).get(path)

    assert "There is no order" in refused(foreign, 404)
    assert foreign.text == emptied.text
    assert stocked.get(path).status == 200


@pytest.mark.parametrize("name", ["x", "1", "orders", order_id(1) + "0", order_id(1).replace("-", ""), "{id}", "~"])
def test_malformed_ids(stocked: Rewards, recorder: Recorder, name: str) -> None:
    """A malformed order id is 404, without a read."""
    recorder.calls.clear()

    for path in (f"/v1/orders/{name}", f"/v1/orders/{name}/status"):
        assert name in refused(stocked.get(path), 404)
    assert recorder.calls == []


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/nothing", "/v1/order", "/v1/Orders", f"{ORDER}/statuses", f"{ORDER}/status/x",
     f"{ORDER}/ecards", "/v1/ecards/1", "/v1/balance/x", "/v1/v1/orders"],
)  # fmt: skip
def test_unknown_paths(stocked: Rewards, path: str) -> None:
    """An unknown path under `/v1` is 404 in the contract's shape, with any method."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert "path" in refused(stocked.request(method, path), 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("/v1/orders/", "GET, HEAD, OPTIONS, POST"),
        (ORDER, "GET, HEAD, OPTIONS"),
        (f"{ORDER}/status", "GET, HEAD, OPTIONS"),
        ("/v1/ecards", "GET, HEAD, OPTIONS"),
        ("/v1/balance", "GET, HEAD, OPTIONS"),
    ],
)
def test_405(stocked: Rewards, path: str, allowed: str) -> None:
    """An unsupported method is 405 with the supported ones; OPTIONS lists the same."""
    others = {"GET", "POST", "PUT", "DELETE", "PATCH"} - set(allowed.split(", "))
    for method in sorted(others):
        reply = stocked.request(method, path, body={})
        assert refused(reply, 405) == f"This path supports {allowed}."
        assert reply.headers["Allow"] == allowed
    options = stocked.request("OPTIONS", path)
    assert (204, "", allowed) == (options.status, options.text, options.headers["Allow"])


@pytest.mark.parametrize("path", READS)
def test_head(stocked: Rewards, path: str) -> None:
    """HEAD has the status and headers of GET, and no body, for errors too."""
    for target in (path, path + "?page=x", path + "x"):
        head, get = stocked.request("HEAD", target), stocked.get(target)
        assert (get.status, get.headers, "") == (head.status, head.headers, head.text)


def broken(send: Send) -> Rewards:
    return Rewards(services_over(send), COMPANY)


@EACH_CALL
@pytest.mark.usefixtures("retries_without_waiting")
def test_503(method: str, path: str, body: Any) -> None:
    """If the tables do not answer in time, every call is 503 with `Retry-After`."""
    company = broken(failing(NoAnswer("cut"), Memory()))

    reply = company.request(method, path, body=body)

    assert "again" in refused(reply, 503)
    assert reply.headers["Retry-After"] == "1"


@EACH_CALL
def test_500(method: str, path: str, body: Any) -> None:
    """A 500 reveals nothing of the failure."""
    reply = broken(failing(KeyError("a secret of ours"), Memory())).request(method, path, body=body)

    refused(reply, 500)
    assert "secret" not in reply.text


@pytest.mark.usefixtures("retries_without_waiting")
def test_retry_of_a_create_after_503(company: Rewards, services: Services, watch: Watch) -> None:
    """After a 503 the same create can be retried, and the order is listed once."""
    cut = Rewards(replace(services, send=failing(NoAnswer("cut"), services.send, "TransactWriteItems")), COMPANY)
    reply = cut.post("/v1/orders", new_order())
    company.place()
    watch.pass_(GRACE.total_seconds() + 1)

    refused(reply, 503)
    assert [one["id"] for one in company.read("/v1/orders")["data"]] == [order_id(1)]


def test_precedence_of_errors(stocked: Rewards) -> None:
    """A 403 takes precedence over a 400, and a 400 over a 409."""
    refused_caller = Rewards(stocked.services, values.replace(COMPANY, grants=()))

    refused(refused_caller.get("/v1/orders?page=x"), 403)
    assert stocked.post("/v1/orders", new_order(1, card(quantity=0))).status == 400
