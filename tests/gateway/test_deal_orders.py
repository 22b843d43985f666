"""The deal orders contract over HTTP: the shape of every answer, tokens, rates and asynchronous work."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from client.deals import Deals, a_deal
from gateway.waiting import eventually
from ordering.book.positions import LAST_POSITION, BookKeys
from ordering.clock import system_clock
from ordering.principal import DealTerms
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo import training as demo
from support.partners import set_deal_terms
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

LINES = 30


@pytest.fixture(scope="module")
def deals(real: RealStack) -> Deals:
    return Deals(real.stack)


@pytest.fixture(scope="module")
def http(deals: Deals) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=deals.demo_file["baseUrl"], timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def account(deals: Deals) -> str:
    """A new account, shared by the tests of this module."""
    return deals.account()


@pytest.fixture
def token(deals: Deals, account: str) -> str:
    """A reference token with ten requests a second of its own."""
    return deals.token(account)


@pytest.fixture
def crm(deals: Deals, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deals.demo_file["baseUrl"], headers=bearer(token), timeout=30) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def data(**attributes: Any) -> dict[str, Any]:
    return {"data": attributes}


VARY = "Content-Language, Accept-Encoding"
"""What responses of functions vary by."""


def error(answer: httpx.Response, status: int, code: str, vary: str = VARY) -> dict[str, Any]:
    """Check the envelope and headers that all errors have; returns the only error."""
    body = answer.json()
    (shown,) = body["errors"]
    found: dict[str, Any] = shown["error"]

    assert (answer.status_code, found["code"]) == (status, code)
    assert {"code", "message", "details"} <= set(found) <= {"resource", "field", "code", "message", "details"}
    assert shown["meta"].keys() == {"type", "links"}
    assert (shown["meta"]["type"], shown["meta"]["links"].keys()) == ("error", {"more_info"})
    assert (body["meta"]["type"], body["meta"]["links"].keys()) == ("errors", {"more_info"})
    assert re.fullmatch(rf"{status} [A-Z][A-Za-z ]+", body["meta"]["http_status"])
    assert body["meta"]["logref"] == answer.headers["X-Request-Id"]
    check_headers(answer, vary)
    return found


def own_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an error has only this contract's shape; returns the error."""
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json().keys() == {"errors", "meta"}
    return error(answer, status, code)


def check_headers(answer: httpx.Response, vary: str = VARY) -> None:
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("en", vary)
    assert str(uuid.UUID(answer.headers["X-Request-Id"])) == answer.headers["X-Request-Id"]


def test_demo_tokens(deals: Deals, http: httpx.Client) -> None:
    """The demo has reference tokens for a full account, one on the basic plan, and one with changes disabled."""
    tokens = [deals.demo_file["tokens"][name] for name in ("deals", "dealsBasicPlan", "dealsChangesDisabled")]
    body = data(deal_id=a_deal())
    answers = [
        (http.get("/v2/orders", headers=bearer(token)), http.post("/v2/orders", headers=bearer(token), json=body))
        for token in tokens
    ]

    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)
    assert [(read.status_code, write.status_code) for read, write in answers] == [(200, 200), (403, 403), (200, 403)]


# Callers.


@pytest.mark.parametrize("path", ["/v2", "/v2/orders", "/v2/orders/1", "/v2/products", "/v2/nothing/at/all"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_no_token(http: httpx.Client, method: str, path: str) -> None:
    """Without a token every path and method is 401."""
    answer = http.request(method, path)

    own_error(answer, 401, "unauthorized")
    assert answer.headers["x-amzn-Remapped-WWW-Authenticate"] == 'Bearer realm="orders"'


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Basic bWF5OnNlY3JldA==",
        "0" * 64,
        f"Bearer {'0' * 63}",
        f"Bearer {'0' * 65}",
        f"Bearer {'g' * 64}",
        f"Bearer {'0' * 64}",
        f"Bearer {'0' * 32} {'0' * 32}",
        "Bearer a.b.c",
        f"Bearer {'a' * 9_000}",
    ],
)
def test_malformed_token(http: httpx.Client, header: str) -> None:
    """A malformed or unknown token is 401."""
    own_error(http.get("/v2/orders", headers={"Authorization": header}), 401, "unauthorized")


@pytest.mark.parametrize("issue", [Deals.token, Deals.jwt])
def test_expired_token(deals: Deals, http: httpx.Client, account: str, issue: Callable[..., str]) -> None:
    """An expired JWT or reference token is 401."""
    expired = issue(deals, account, expires=system_clock() - timedelta(minutes=1))

    own_error(http.get("/v2/orders", headers=bearer(expired)), 401, "unauthorized")


def test_revoked_token(deals: Deals, http: httpx.Client, account: str) -> None:
    """A token is 401 from the next request after it, or its JWT, was revoked."""
    dropped = deals.token(account)
    claims = deals.claims(account)
    jwt = deals.installation.signer.issue(claims)
    both = [jwt, deals.reference_tokens.issue(jwt, claims.expires)]
    before = [http.get("/v2/orders", headers=bearer(token)).status_code for token in [dropped, *both]]
    deals.reference_tokens.revoke(dropped)
    deals.accounts.revoke(account, claims.token_id, claims.expires)

    assert before == [200, 200, 200]
    for token in [dropped, *both]:
        own_error(http.get("/v2/orders", headers=bearer(token)), 401, "unauthorized")


def test_switched_off(deals: Deals, http: httpx.Client) -> None:
    """An account that is switched off gets 403, in the contract's own shape."""
    token = deals.token(deals.account(active=False))

    own_error(http.get("/v2/orders", headers=bearer(token)), 403, "insufficient_scope")


def test_not_granted(deals: Deals, http: httpx.Client) -> None:
    """A partner without deal orders gets 403, and so does a deals account on training orders."""
    training = demo.reference_token(deals.installation, "northwind")
    answer = http.get("/api/v2/orders", headers=bearer(deals.demo_file["tokens"]["deals"]))

    own_error(http.get("/v2/orders", headers=bearer(training)), 403, "insufficient_scope")
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")


@pytest.mark.parametrize("spell", ["Bearer {}", "bearer {}", "BEARER  {}"])
@pytest.mark.parametrize("issue", [Deals.token, Deals.jwt])
def test_both_kinds_of_tokens(
    deals: Deals, http: httpx.Client, account: str, issue: Callable[..., str], spell: str
) -> None:
    """JWTs and reference tokens are accepted, with the scheme in any case."""
    answer = http.get("/v2/orders", headers={"Authorization": spell.format(issue(deals, account))})

    assert answer.status_code == 200


def test_reference_token_for_training_orders(deals: Deals, http: httpx.Client) -> None:
    """A reference token is accepted by training orders too."""
    token = demo.reference_token(deals.installation, "northwind")
    answer = http.get("/api/v2/orders", params={"businessUnitId": demo.UK.id}, headers=bearer(token))

    assert re.fullmatch("[0-9a-f]{64}", token)
    assert answer.status_code == 200
    assert answer.json()["items"][0]["id"] == 1


def test_terms_take_effect_at_once(deals: Deals, http: httpx.Client) -> None:
    """A changed plan, or disabled changes, takes effect with the next request of the same token."""
    account = deals.account()
    headers = bearer(deals.token(account))

    def create() -> httpx.Response:
        return http.post("/v2/orders", headers=headers, json=data(deal_id=a_deal()))

    def read() -> httpx.Response:
        return http.get("/v2/orders", headers=headers)

    assert create().status_code == 200
    set_deal_terms(deals.accounts, account, DealTerms("enterprise", changes_disabled=True))
    own_error(create(), 403, "changes_disabled")
    assert len(read().json()["items"]) == 1
    set_deal_terms(deals.accounts, account, DealTerms("basic"))
    own_error(create(), 403, "plan_required")
    own_error(read(), 403, "plan_required")
    set_deal_terms(deals.accounts, account, DealTerms("enterprise"))
    assert create().status_code == 200
    assert len(read().json()["items"]) == 2


def test_creates_under_one_key(deals: Deals, http: httpx.Client, account: str) -> None:
    """Of eight products created at once under one key, one is made, and all get its answer."""
    headers = [{**bearer(deals.jwt(account)), "Idempotency-Key": key} for key in ["at-once", '"at-once"'] * 4]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: http.post("/v2/products", headers=one, json=data(name="Once")), headers))
    found = http.get("/v2/products", headers=bearer(deals.jwt(account)), params={"name": "Once", "active": True})

    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.text for answer in answers}) == 1
    assert sum(1 for answer in answers if "Idempotent-Replayed" not in answer.headers) == 1
    assert [item["data"]["id"] for item in found.json()["items"]] == [answers[0].json()["data"]["id"]]


def test_repeated_headers_and_encoded_paths(deals: Deals, http: httpx.Client, account: str) -> None:
    """The gateway passes all lines of a header and the path as sent; the function reads them by the standards."""
    caller = bearer(deals.jwt(account))
    order = http.post("/v2/orders", headers=caller, json=data(deal_id=a_deal())).json()["data"]["id"]
    encoded = "".join(f"%{ord(digit):x}" for digit in str(order))
    accepts = [*caller.items(), ("Accept", "application/json"), ("Accept", "text/html")]
    keys = [*caller.items(), ("Idempotency-Key", "a"), ("idempotency-key", "b")]

    assert http.get(f"/v2/orders/{encoded}", headers=accepts).json()["data"]["id"] == order
    own_error(http.post("/v2/products", headers=keys, json=data(name="Two keys")), 400, "invalid_header")


# Refusals before a handler.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("POST", "/v2"),
        ("GET", "/v2/"),
        ("GET", "/v2/nothing"),
        ("DELETE", "/v2/nothing/at/all"),
        ("GET", "/v2/orders/1/line_items/1/more"),
        ("GET", "/v2/orders/1/products"),
        ("PATCH", "/v2/orders/1"),
        ("DELETE", "/v2/orders"),
        ("PUT", "/v2/orders/1/line_items/1"),
        ("POST", "/v2/products/1"),
    ],
)
def test_incorrect_path(crm: httpx.Client, method: str, path: str) -> None:
    """An unknown path or unsupported method is 404."""
    found = own_error(crm.request(method, path), 404, "incorrect_path")

    assert not {"resource", "field"} & set(found)


@pytest.mark.parametrize("path", ["/v20", "/v20/orders", "/V2/orders"])
def test_paths_outside_every_contract(crm: httpx.Client, path: str) -> None:
    """A path outside every contract is refused by the gateway."""
    answer = crm.get(path)

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/v2/orders", "/v2/products", "/v2/orders/1/line_items"])
def test_body_over_a_mebibyte(crm: httpx.Client, path: str) -> None:
    """A body over 1 MiB is 413."""
    body = b'{"data": "' + b"x" * 2**20 + b'"}'
    answer = crm.post(path, content=body, headers={"Content-Type": "application/json"})

    own_error(answer, 413, "content_too_large")


def test_body_that_the_gateway_refuses(crm: httpx.Client) -> None:
    """A body that the gateway itself refuses gets both this contract's shape and a problem document."""
    body = b" " * (10 * 2**20 + 1)
    answer = crm.post("/v2/orders", content=body, headers={"Content-Type": "application/json"})

    error(answer, 413, "content_too_large", vary="Content-Language")
    assert answer.json()["status"] == 413


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_payload"),
        (b"", {}, 400, "invalid_payload"),
        (b"\xff\xfe", {}, 400, "invalid_payload"),
        (b"[" * 100_000, {}, 400, "invalid_payload"),
        (b"[]", {}, 422, "incorrect_payload"),
        (b"{}", {}, 422, "incorrect_payload"),
        (b'{"data": {"deal_id": 1}}', {"Content-Type": "text/xml"}, 400, "invalid_header"),
        (b'{"data": {"deal_id": 1}}', {"Accept": "text/html"}, 406, "not_acceptable"),
        (b'{"data": {"deal_id": "x"}}', {}, 422, "invalid_type"),
    ],
    ids=["cut", "absent", "not utf-8", "deep", "list", "no data", "xml", "html wanted", "no number"],
)
def test_bad_bodies(crm: httpx.Client, body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    """A malformed or invalid body is refused in the contract's shape."""
    answer = crm.post("/v2/orders", content=body, headers={"Content-Type": "application/json", **headers})

    own_error(answer, status, code)


@pytest.mark.parametrize("name", ["name", "description", "sku"])
def test_half_a_character(crm: httpx.Client, name: str) -> None:
    """A lone surrogate in a text makes the body 400 `invalid_payload`."""
    attributes = {"name": '"One"', name: r'"\ud800"'}
    body = ", ".join(f'"{key}": {value}' for key, value in attributes.items())
    answer = crm.post(
        "/v2/products", content=f'{{"data": {{{body}}}}}', headers={"Content-Type": "application/json"}, timeout=30
    )

    assert own_error(answer, 400, "invalid_payload")


def test_flood(deals: Deals, http: httpx.Client, account: str) -> None:
    """Of one token's requests in a second ten are accepted; the others get 429 with `Retry-After`."""
    headers = bearer(deals.token(account))
    others = bearer(deals.token(account))
    began = time.time()
    answers: list[httpx.Response] = []
    with ThreadPoolExecutor(2) as pool:
        while len(answers) < 400 and all(answer.status_code == 200 for answer in answers):
            answers += pool.map(lambda _: http.get("/v2/orders", headers=headers), range(20))
        another = http.get("/v2/orders", headers=others)
    seconds = int(time.time()) - int(began) + 1
    refused = [answer for answer in answers if answer.status_code != 200]
    time.sleep(int(refused[0].headers["Retry-After"]) if refused else 0)

    assert refused
    for answer in refused:
        own_error(answer, 429, "rate_limit_exceeded")
        assert answer.headers["Retry-After"] == "1"
    assert len(answers) - len(refused) <= 10 * seconds
    assert another.status_code == 200
    assert http.get("/v2/orders", headers=headers).status_code == 200


# Orders, line items and products.


def test_no_content(crm: httpx.Client) -> None:
    """A 204 has neither a body nor a content type, because clients parse anything declared as JSON."""
    order = crm.post("/v2/orders", json=data(deal_id=a_deal())).json()["data"]["id"]
    prices = [{"amount": "10", "currency": "USD"}]
    product = crm.post("/v2/products", json=data(name="One", prices=prices)).json()["data"]["id"]
    lines = f"/v2/orders/{order}/line_items"
    line = crm.post(lines, json=data(product_id=product, currency="USD")).json()["data"]["id"]
    answers = [
        crm.delete(f"{lines}/{line}"),
        crm.delete(f"/v2/orders/{order}"),
        crm.delete(f"/v2/products/{product}"),
        crm.options("/v2/orders"),
    ]

    for answer in answers:
        assert (answer.status_code, answer.content) == (204, b"")
        assert not {"Content-Type", "Content-Length", "Transfer-Encoding"} & {*map(str.title, answer.headers)}
        check_headers(answer)


def test_envelopes(crm: httpx.Client) -> None:
    """Single items and lists have their envelopes, and the headers of every answer."""
    made = crm.post("/v2/orders", json=data(deal_id=a_deal(), discount=7.5))
    listed = crm.get("/v2/orders", params={"ids": made.json()["data"]["id"]})

    assert (made.status_code, made.json()["meta"], made.json()["data"]["discount"]) == (200, {"type": "order"}, 7.5)
    assert listed.json()["items"] == [made.json()]
    for answer in (made, listed):
        check_headers(answer)
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_links_to_the_end(deals: Deals, http: httpx.Client) -> None:
    """Following `next_page` from the first page reads every order once, and `prev_page` leads back."""
    target: str | None = f"{deals.demo_file['baseUrl']}/v2/orders?sort_by=discount:desc,deal_id&per_page=20"
    pages: list[dict[str, Any]] = []
    while target and len(pages) < 20:
        headers = bearer(deals.jwt(demo_deals.ACCOUNT))
        pages.append(http.get(target, headers=headers).json())
        target = pages[-1]["meta"]["links"].get("next_page")
    orders = [order["data"] for page in pages for order in page["items"]]

    assert len({order["id"] for order in orders}) == len(orders) >= demo_deals.ORDERS
    assert orders == sorted(orders, key=lambda order: (-order["discount"], order["deal_id"]))
    assert [page["meta"]["count"] for page in pages] == [len(page["items"]) for page in pages]
    for before, after in pairwise(pages):
        assert after["meta"]["links"]["prev_page"] == before["meta"]["links"]["self"]
        assert after["meta"]["links"]["first_page"] == pages[0]["meta"]["links"]["self"]
    assert not {"first_page", "prev_page"} & pages[0]["meta"]["links"].keys()


def test_same_deal_at_once(deals: Deals, http: httpx.Client, account: str) -> None:
    """Of eight concurrent creates for one deal one succeeds, and the others are 422."""
    body = data(deal_id=a_deal())
    headers = [bearer(deals.jwt(account)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: http.post("/v2/orders", headers=one, json=body), headers))
    (made,) = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    found = http.get("/v2/orders", headers=bearer(deals.jwt(account)), params={"deal_id": made["deal_id"]})

    assert sorted(answer.status_code for answer in answers) == [200, *[422] * 7]
    for answer in answers:
        if answer.status_code == 422:
            assert own_error(answer, 422, "already_exists")["field"] == "/data/deal_id"
    assert [item["data"] for item in found.json()["items"]] == [made]


def test_destroyed_order_leaves_nothing(deals: Deals, http: httpx.Client, account: str) -> None:
    """A deleted order's 30 line items are 404 at once, and soon deleted from the table."""

    def send(method: str, path: str, **body: Any) -> httpx.Response:
        headers = bearer(deals.jwt(account))
        return http.request(method, path, headers=headers, json=data(**body) if body else None)

    product = send("POST", "/v2/products", name="One", prices=[{"amount": "10", "currency": "USD"}]).json()["data"][
        "id"
    ]
    deal = a_deal()
    order = send("POST", "/v2/orders", deal_id=deal).json()["data"]["id"]
    path = f"/v2/orders/{order}/line_items"
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: send("POST", path, product_id=product, currency="USD"), range(LINES)))
    lines = [answer.json()["data"]["id"] for answer in made]
    listed = send("GET", f"{path}?per_page={LINES}").json()
    keys = BookKeys(f"deal-lines#{account}#{order}")
    partitions = {key[0] for key in [*keys.entries(1, LAST_POSITION), keys.tickets, keys.head, keys.voids]}

    def left() -> int:
        return sum(1 for partition in partitions for _ in deals.installation.orders.query(partition, " ", "~"))

    before = left()
    gone = send("DELETE", f"/v2/orders/{order}")

    assert [item["data"]["id"] for item in listed["items"]] == sorted(lines)
    assert before > LINES
    assert gone.status_code == 204
    own_error(send("GET", path), 404, "not_found")
    own_error(send("GET", f"{path}/{lines[0]}"), 404, "not_found")
    own_error(send("POST", path, product_id=product, currency="USD"), 404, "not_found")
    assert eventually(lambda: left() == 0)
    assert send("POST", "/v2/orders", deal_id=deal).json()["data"]["id"] > order


def test_ids_rise(deals: Deals, http: httpx.Client) -> None:
    """Concurrent creates get unique ids, which are lower than those of later creates."""
    account = deals.account()

    def create(_: int) -> int:
        answer = http.post("/v2/orders", headers=bearer(deals.jwt(account)), json=data(deal_id=a_deal()))
        order_id: int = answer.json()["data"]["id"]
        return order_id

    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(create, range(16)))
        second = list(pool.map(create, range(16)))

    assert len({*first, *second}) == 32
    assert max(first) < min(second)


def test_accounts_are_apart(deals: Deals, http: httpx.Client, account: str) -> None:
    """Another account's order is 404, its deal is not listed, and the same deal id is free."""
    mine, theirs = bearer(deals.jwt(account)), bearer(deals.jwt(deals.account()))
    deal = a_deal()
    order = http.post("/v2/orders", headers=mine, json=data(deal_id=deal)).json()["data"]["id"]

    own_error(http.get(f"/v2/orders/{order}", headers=theirs), 404, "not_found")
    assert http.get("/v2/orders", headers=theirs, params={"deal_id": deal}).json()["items"] == []
    assert http.post("/v2/orders", headers=theirs, json=data(deal_id=deal)).status_code == 200


def test_nothing_secret_in_the_logs(deals: Deals, token: str, crm: httpx.Client) -> None:
    """The logs and the terminal have no token, personal data or product name."""
    assert crm.get("/v2/products", params={"sort_by": "name"}).status_code == 200
    logs = deals.logs

    for secret in [token, *deals.demo_file["tokens"].values(), "may.keller@example.com", "Keller", "Starter Plan"]:
        assert secret not in logs
