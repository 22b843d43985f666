"""The refusals of every operation over HTTP, by the gateway and the functions, compared with the OpenAPI document."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ordering.clock import system_clock
from ordering.identity.accounts import Partner
from ordering.identity.tokens import Claims
from ordering.principal import BusinessUnit
from ordering.values import replace
from ordering.web.http import LARGEST_BODY
from ordering_tools.demo import training as demo
from ordering_tools.demo.data import demo_partners
from support.documented import DOCUMENT, check_response
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

PATHS: dict[str, dict[str, Any]] = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LARGEST_OF_THE_GATEWAY = 10 * 2**20
UNIT = BusinessUnit("33333333-0000-4000-8000-0000000000ff", "Refused")

PARTNERS = {"/api/v2": "training", "/v1": "ecards", "/v2": "deals", "/webhooks": "training"}
"""A grant of the demo's partners that may call the operations below a prefix."""

UNGRANTED = {"/api/v2": "deals", "/v1": "training", "/v2": "ecards"}
"""One of those that may not. Every partner may have webhooks."""

PUBLIC = "/connect and /.well-known"
"""The operations that need no token."""

PROBLEM = "/api/v2/orders"
"""A path whose errors are problems, as are those of paths that no contract has."""

TOKEN = "/connect/token"
MALFORMED_IDS = ("x!", "%00", "%2F", "%FF", "9" * 300)

Headers = Sequence[tuple[str, str]]
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Attempt:
    """A request that must be refused, and the statuses of a right refusal."""

    why: str
    statuses: set[int]
    method: str
    path: str
    headers: Headers = ()
    body: bytes | None = None
    resource: str = ""
    """The path in the document; that of the operation if empty."""


@dataclass(frozen=True)
class Caller:
    """A partner without any data, and the ids of resources of other partners."""

    issue: Callable[..., str]
    refused: Mapping[str, str]
    """Tokens that are refused with 401, by the reason."""
    ungranted: str | None
    """A token for other contracts only."""
    ids: Mapping[str, str]

    @property
    def good(self) -> tuple[str, str]:
        """A valid token, which has a rate limit of its own."""
        return bearer(self.issue())


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def prefix_of(path: str) -> str:
    return next((prefix for prefix in PARTNERS if path.startswith(prefix)), PUBLIC)


def issue_token(real: RealStack, partner: Partner, **changes: Any) -> str:
    user = next(iter(partner.users))
    claims = Claims(secrets.token_urlsafe(16), partner.id, user, system_clock() + demo.VALID, None)
    return real.installation.signer.issue(replace(claims, **changes))


@pytest.fixture(scope="module")
def http(real: RealStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real.stack.base_url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def ids(real: RealStack, http: httpx.Client) -> Iterator[dict[str, dict[str, str]]]:
    """Ids of other partners' resources by prefix, one of which no partner has: that of a parked event."""
    headers = [bearer(issue_token(real, demo_partners("ecards")[0]))]
    order = http.get("/v1/orders", headers=headers).json()["data"][0]
    owner = [bearer(issue_token(real, demo_partners("training")[0]))]
    webhook = http.post("/webhooks", headers=owner, json={"url": "http://127.0.0.1:9/"}).json()
    yield {
        "/api/v2": {"orderId": "1", "productId": demo.AZ_300.id, "featureSetId": demo.AZ_300_STANDARD.id},
        "/v1": {"order_id": order["id"]},
        "/v2": {"order_id": "1", "id": "1"},
        "/webhooks": {"webhookId": webhook["id"], "eventId": str(uuid.UUID(int=9))},
    }
    assert http.delete(webhook["_links"]["self"], headers=owner).status_code == 204


@pytest.fixture
def caller(real: RealStack, ids: dict[str, dict[str, str]], prefix: str) -> Caller | None:
    """A caller of the contract below a prefix; None if it needs none."""
    if prefix == PUBLIC:
        return None
    like = demo_partners(PARTNERS[prefix])[0]
    partner = replace(like, id=f"refused-{secrets.token_hex(4)}", business_units=(UNIT,) if like.business_units else ())
    real.accounts.save_partner(partner)
    revoked = secrets.token_urlsafe(16)
    real.accounts.revoke(partner.id, revoked, system_clock() + demo.VALID)
    return Caller(
        lambda: issue_token(real, partner),
        {
            "malformed token": "nonsense",
            "token with another signature": f"{issue_token(real, partner)[:-8]}AAAAAAAA",
            "expired token": issue_token(real, partner, expires=system_clock() - timedelta(hours=1)),
            "revoked token": issue_token(real, partner, token_id=revoked),
        },
        issue_token(real, demo_partners(UNGRANTED[prefix])[0]) if prefix in UNGRANTED else None,
        ids[prefix],
    )


def of_callers(caller: Caller, method: str, path: str) -> Iterator[Attempt]:
    """Requests whose caller may not make them."""
    yield Attempt("no token", {401}, method, path)
    yield Attempt("other scheme", {401}, method, path, [("Authorization", "Basic bWF5OnNlY3JldA==")])
    yield Attempt("two tokens", {401}, method, path, [caller.good, ("authorization", "Bearer nonsense")])
    for why, token in caller.refused.items():
        yield Attempt(why, {401}, method, path, [bearer(token)])
    if caller.ungranted:
        yield Attempt("token for another contract", {403}, method, path, [bearer(caller.ungranted)])


def of_bodies(method: str, path: str, good: Headers) -> Iterator[Attempt]:
    """Requests whose body cannot be read."""
    prefix = prefix_of(path)
    undeclared = {400} if prefix in {"/v2", PUBLIC} else {415}
    too_large = {400} if prefix == PUBLIC else {413}
    yield Attempt("malformed JSON", {400}, method, path, [*good, JSON], b'{"a":')
    yield Attempt("no text", {400}, method, path, [*good, JSON], b"\xff\xfe")
    yield Attempt("nested JSON", {400}, method, path, [*good, JSON], b"[" * 50_000)
    yield Attempt("no body", {400}, method, path, good)
    yield Attempt("other media type", undeclared, method, path, [*good, ("Content-Type", "text/csv")], b"a,b")
    yield Attempt("other encoding", {415}, method, path, [*good, JSON, ("Content-Encoding", "br")], b"{}")
    yield Attempt("large body", too_large, method, path, [*good, JSON], b" " * (LARGEST_BODY + 1))


def of_ids(caller: Caller, method: str, resource: str, body: bytes | None) -> Iterator[Attempt]:
    """Requests about a resource that the caller does not have."""
    # Deal orders validate the body first.
    missing = {404, 422} if body and prefix_of(resource) == "/v2" else {404}
    headers = [caller.good, JSON]
    yield Attempt("another partner's", missing, method, resource.format(**caller.ids), headers, body)
    for malformed in MALFORMED_IDS:
        path = resource.format(**dict.fromkeys(caller.ids, malformed))
        yield Attempt(f"id {malformed[:5]}", missing, method, path, headers, body)


def of_operation(caller: Caller | None, method: str, resource: str) -> Iterator[Attempt]:
    """Requests that an operation must refuse."""
    operation = PATHS[resource][method.lower()]
    path = resource.format(**caller.ids) if caller else resource
    body = b"{}" if "requestBody" in operation else None
    if caller:
        yield from of_callers(caller, method, path)
        yield Attempt("unknown parameter", {400}, method, f"{path}?nonsense=1", [caller.good, JSON], body)
        yield Attempt("nameless parameter", {400}, method, f"{path}?=%FF", [caller.good, JSON], body)
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())):
            headers = [caller.good, JSON, ("Idempotency-Key", "k" * 300)]
            yield Attempt("long key", {400}, method, path, headers, body)
        if prefix_of(resource) == "/v2":
            yield Attempt("not acceptable", {406}, method, path, [caller.good, ("Accept", "text/html")], body)
        if path != resource:
            yield from of_ids(caller, method, resource, body)
    if body:
        yield from of_bodies(method, path, [caller.good] if caller else [])


def of_path(caller: Caller | None, resource: str) -> Iterator[Attempt]:
    """Requests to a path that are no operation."""
    path = resource.format(**caller.ids) if caller else resource
    good = [caller.good] if caller else []
    prefix = prefix_of(resource)
    for method in METHODS:
        if method.lower() not in PATHS[resource]:
            yield Attempt("method", {404} if prefix == "/v2" else {405}, method, path, good)
    shape = PROBLEM if prefix == PUBLIC else ""
    yield Attempt("path below", {404}, "GET", f"{path}/no/such", good, resource=shape)
    yield Attempt("path with two slashes", {404}, "GET", f"/{path}", good, resource=PROBLEM)


def refuse(http: httpx.Client, resource: str, attempt: Attempt) -> Iterator[str]:
    """Send a request; yields how its refusal differs from the document, or from the statuses that are right."""
    # As an absolute URL, so that httpx keeps two slashes at the beginning of a path.
    url = f"{str(http.base_url).rstrip('/')}{attempt.path}"
    answer = http.request(attempt.method, url, headers=list(attempt.headers), content=attempt.body)
    if answer.status_code == 429:  # one of the tokens has had its requests of this second
        time.sleep(int(answer.headers["Retry-After"]))
        answer = http.request(attempt.method, url, headers=list(attempt.headers), content=attempt.body)
    line = f"{attempt.why}: {attempt.method} {attempt.path[:80]} is answered {answer.status_code}"
    if answer.status_code not in attempt.statuses:
        yield f"{line} {answer.text[:200]}"
        return
    if answer.status_code == 405:
        verbs = {verb.upper() for verb in PATHS[resource]} | {"OPTIONS"}
        if set(answer.headers["Allow"].split(", ")) != (verbs | {"HEAD"} if "GET" in verbs else verbs):
            yield f"{line}, and Allow is {answer.headers['Allow']}"
    try:
        check_response(attempt.method, attempt.resource or resource, answer.status_code, answer.headers, answer.text)
    except AssertionError as error:
        yield f"{line}, {error}"


@pytest.mark.parametrize("prefix", [*PARTNERS, PUBLIC])
def test_refusals_fit_the_document(http: httpx.Client, prefix: str, caller: Caller | None) -> None:
    """Whatever is wrong with a request, its refusal has the status, media type and shape that the document lists.

    The request may lack a valid token, name another partner's resource or an unknown path, or have an unreadable body.
    """
    below = [path for path in PATHS if prefix_of(path) == prefix]
    attempts = [
        *((path, one) for path in below for verb in PATHS[path] for one in of_operation(caller, verb.upper(), path)),
        *((path, one) for path in below for one in of_path(caller, path)),
    ]

    assert len(attempts) > 10 * len(below) or prefix == PUBLIC
    assert [difference for path, one in attempts for difference in refuse(http, path, one)] == []


def test_clients_that_are_refused(http: httpx.Client) -> None:
    """An unknown client, in the form and by HTTP Basic, is refused as the document lists it."""
    form = ("Content-Type", "application/x-www-form-urlencoded")
    body = b"grant_type=client_credentials"
    basic = [form, ("Authorization", "Basic bWF5OnNlY3JldA==")]
    attempts = [
        Attempt("client in the form", {400}, "POST", TOKEN, [form], body + b"&client_id=a&client_secret=b"),
        Attempt("client by HTTP Basic", {401}, "POST", TOKEN, basic, body),
        Attempt("other grant", {400}, "POST", TOKEN, basic, b"grant_type=password"),
    ]

    assert [difference for one in attempts for difference in refuse(http, TOKEN, one)] == []


@pytest.mark.parametrize("path", ["/api/v2/orders", "/v1/orders", "/v2/orders", "/webhooks", TOKEN])
def test_bodies_that_the_gateway_refuses(http: httpx.Client, path: str) -> None:
    """A body of more than 10 MB is refused in the contract's documented shape, though no function sees it."""
    attempt = Attempt("huge body", {413}, "POST", path, [JSON], b" " * (LARGEST_OF_THE_GATEWAY + 1))

    assert [*refuse(http, path, attempt)] == []


def test_the_way_of_a_request(real: RealStack, http: httpx.Client) -> None:
    """A response's request id leads to the lines of the gateway, of the authorizer and of the function."""
    partner = demo_partners("ecards")[0]
    sent = {
        "no token": http.get("/api/v2/orders"),
        "no path": http.get("/nothing"),
        "no order": http.get(f"/v1/orders/{uuid.uuid4()}", headers=[bearer(issue_token(real, partner))]),
    }
    ways = {}
    for name, response in sent.items():
        shown = json.loads(real.ordering("logs", "--request", response.headers["X-Request-Id"], "--json").out)
        ways[name] = {(one["function"], one.get("status"), one.get("refusal")) for one in shown}

    assert ways == {
        "no token": {("Access", 401, "UNAUTHORIZED")},
        "no path": {("Access", 404, "MISSING_AUTHENTICATION_TOKEN")},
        "no order": {("Access", 404, "-"), ("Authorizer", None, None), ("EcardOrders", 404, "NotFound")},
    }
