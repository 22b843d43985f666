"""The e-card orders contract over HTTP, from a client's secret to delivered certificates, on the built functions."""

from __future__ import annotations

import re
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from client.deals import a_deal
from gateway.ecard_helpers import (
    HUNDRED,
    MONTH,
    OUTSIDE,
    PARTICIPANT,
    THOUSAND,
    WAITING,
    Company,
    add_company,
    bearer,
    token_form,
    token_of,
)
from gateway.waiting import eventually
from ordering import values
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.certificates import Certificates
from ordering.identity.accounts import Partner
from ordering.identity.clients import Client, Clients
from ordering.identity.token_endpoint import TokenEndpoint
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo.data import demo_partners
from support.local_stack import running
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

ORDER_FIELDS = ["id", "number", "createdDate", "status", "participantLogin", "total"]


def key_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def but_status(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The orders without their statuses, which change asynchronously, sorted by id."""
    bare = [{name: order[name] for name in order if name != "status"} for order in orders]
    return sorted(bare, key=lambda order: str(order["id"]))


@pytest.fixture(scope="module")
def rich(companies: Callable[[int], Company]) -> Company:
    """A company with enough money for all tests of this module."""
    return companies(1_000_000)


def error(answer: httpx.Response, status: int) -> dict[str, list[str]]:
    """Check what all errors have in common; returns the errors by field."""
    shown = answer.json()

    assert (answer.status_code, shown["status"]) == (status, status), answer.text
    assert list(shown) == ["message", "status", "errors"]
    assert shown["message"].strip()
    assert answer.headers["Content-Type"] == "application/json"
    assert str(uuid.UUID(answer.headers["X-Request-Id"])) == answer.headers["X-Request-Id"]
    errors: dict[str, list[str]] = shown["errors"]
    assert errors if status == 400 else errors == {}
    return errors


# Tokens.


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_token(real: RealStack, rich: Company, kind: str) -> None:
    """A client's id and secret, in either kind of form, get a token for `/v1`, which must not be cached."""
    form = token_form(rich.id, rich.secret)
    sent = {"files": {name: (None, value) for name, value in form.items()}} if "multipart" in kind else {"data": form}
    answer = httpx.post(f"{real.stack.base_url}/connect/token", timeout=30, **sent)
    shown = answer.json()
    listed = httpx.get(f"{real.stack.base_url}/v1/orders", headers=bearer(shown["access_token"]), timeout=30)

    assert (answer.status_code, answer.request.headers["Content-Type"].partition(";")[0]) == (200, kind)
    assert list(shown) == ["access_token", "expires_in", "token_type", "scope"]
    assert (shown["expires_in"], shown["token_type"], shown["scope"]) == (3600, "Bearer", "ecard-certificates ecards")
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert listed.status_code == 200


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "ecards training"}, "invalid_scope"),
    ],
)
def test_token_refused(real: RealStack, rich: Company, changes: dict[str, str], fault: str) -> None:
    """An invalid form is 400 with a code of RFC 6749, and must not be cached."""
    form = {**token_form(rich.id, rich.secret), **changes}
    answer = httpx.post(f"{real.stack.base_url}/connect/token", data=form, timeout=30)

    assert (answer.status_code, answer.json()["error"]) == (400, fault)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "access_token" not in answer.text


def test_token_by_basic(real: RealStack, rich: Company) -> None:
    """The metadata leads to a token endpoint that accepts HTTP Basic, with 401 for a wrong secret, and to the keys."""
    found = httpx.get(f"{real.stack.base_url}/.well-known/oauth-authorization-server", timeout=30).json()
    form = {"grant_type": "client_credentials"}
    answers = [
        httpx.post(found["token_endpoint"], data=form, auth=(rich.id, secret), timeout=30)
        for secret in (rich.secret, "wrong")
    ]

    assert found["issuer"] == real.installation.issuer
    assert httpx.get(found["jwks_uri"], timeout=30).json()["keys"]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[0].json()["scope"] == "ecard-certificates ecards"
    assert answers[1].json()["error"] == "invalid_client"


def test_published_keys(real: RealStack, rich: Company) -> None:
    """The published keys verify a token and have no private part."""
    answer = httpx.get(f"{real.stack.base_url}/.well-known/jwks.json", timeout=30)
    published = {key["kid"]: key for key in answer.json()["keys"]}
    token = token_of(real, rich.id, rich.secret)
    claims = jwt.decode(
        token,
        jwt.PyJWK.from_dict(published[key_of(token)]),
        algorithms=["ES256"],
        audience=real.installation.audience,
        issuer=real.installation.issuer,
    )

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=300")
    assert (claims["client_id"], claims["scope"], claims["exp"] - claims["iat"]) == (
        rich.id,
        "ecard-certificates ecards",
        3600,
    )
    assert not any("d" in key for key in published.values())


def test_tokens_cover_the_grants(real: RealStack) -> None:
    """A token covers all of the client's grants, or those it asked for, and no others."""
    both: Partner = values.replace(
        demo_partners("deals")[0], id=f"both-{secrets.token_hex(4)}", grants=frozenset({"deals", "ecards"}), company="b"
    )
    real.accounts.save_partner(both)
    grants = both.grants
    secret = Clients(real.installation.accounts).add(Client(both.id, both.id, next(iter(both.users)), grants))

    def statuses(token: str) -> list[int]:
        with httpx.Client(base_url=real.stack.base_url, headers=bearer(token), timeout=30) as http:
            deal = http.post("/v2/orders", json={"data": {"deal_id": a_deal()}})
            return [deal.status_code, *(http.get(path).status_code for path in ("/v1/orders", "/api/v2/orders"))]

    assert statuses(token_of(real, both.id, secret)) == [200, 200, 403]
    assert statuses(token_of(real, both.id, secret, scope="ecards")) == [403, 200, 403]


@pytest.mark.parametrize(
    ("path", "header"),
    [
        *((path, None) for path in ("/v1", "/v1/orders", "/v1/orders/1", "/v1/ecards", "/v1/balance", "/v1/no/thing")),
        *(("/v1/orders", header) for header in ("Bearer", "Basic bWF5OnNlY3JldA==", "Bearer a.b.c")),
        ("/v1/orders", f"Bearer {'0' * 64}"),
    ],
)
def test_unauthorized(real: RealStack, path: str, header: str | None) -> None:
    """Without a good token every path is 401, in the contract's shape."""
    headers = {"Authorization": header} if header else {}
    answer = httpx.get(f"{real.stack.base_url}{path}", headers=headers, timeout=30)

    error(answer, 401)
    assert answer.headers["x-amzn-Remapped-WWW-Authenticate"].startswith('Bearer realm="orders"')


@pytest.mark.parametrize("name", ["training", "deals"])
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/ecards", "/v1/balance"])
def test_not_granted(real: RealStack, name: str, path: str) -> None:
    """A partner without e-card orders gets 403."""
    error(httpx.get(f"{real.stack.base_url}{path}", headers=bearer(real.demo_file["tokens"][name]), timeout=30), 403)


def test_switched_off(real: RealStack, company: Company) -> None:
    """A company that is switched off gets 403 from its next request."""
    partner = real.accounts.partner(company.id)
    assert partner
    real.accounts.save_partner(values.replace(partner, active=False))

    error(company.http.get("/v1/orders"), 403)
    error(company.create(company.body()), 403)


# Orders.


def test_demo_orders(real: RealStack) -> None:
    """The demo's client reads 45 orders, newest first, 20 on a page, all of them final or waiting."""
    client = real.demo_file["clients"]["ecards"]
    headers = bearer(token_of(real, client["clientId"], client["clientSecret"]))
    with httpx.Client(base_url=real.stack.base_url, headers=headers, timeout=30) as http:

        def pages() -> list[dict[str, Any]]:
            return [http.get("/v1/orders", params={"page": page}).json() for page in range(1, 5)]

        def statuses() -> Counter[str]:
            return Counter(order["status"] for page in pages() for order in page["data"])

        def seen_twice() -> list[dict[str, Any]]:
            """The pages, if the first one is the same without its number; orders that wait may still move on."""
            seen = pages()
            return seen if http.get("/v1/orders/").json() == seen[0] else []

        at_rest = {"Delivered", WAITING, "Cancelled"}
        assert eventually(lambda: statuses().keys() == at_rest, progress=statuses), statuses()
        seen = eventually(seen_twice)
    orders = [order for page in seen for order in page["data"]]

    assert [len(page["data"]) for page in seen] == [20, 20, 5, 0]
    assert {(page["totalPages"], page["pageSize"]) for page in seen} == {(3, 20)}
    assert [page["currentPage"] for page in seen] == [1, 2, 3, 4]
    numbers = [order["number"] for order in orders]
    # Not 45 to 1: a create that took longer than the grace time left its number void.
    assert len({*numbers}) == 45
    assert numbers == sorted(numbers, reverse=True)
    assert [order["createdDate"] for order in orders] == sorted((o["createdDate"] for o in orders), reverse=True)


def test_one_orders_life(company: Company) -> None:
    """A covered order is paid, a duplicate create returns it, and every read shows the same order."""
    body = company.body(company.card(THOUSAND), company.card(MONTH, 2))
    company.orders.top_up("second", Decimal(500))
    answer = company.create(body)
    made = answer.json()
    path = f"/v1/orders/{made['id']}"
    company.wait(made, WAITING)
    now = {**made, "status": WAITING}
    same = [company.create(one).json() for one in (body, {**body, "orderId": body["orderId"].upper()})]
    details = company.read(path)

    assert list(made) == ORDER_FIELDS
    assert (answer.status_code, made["id"], made["status"]) == (200, body["orderId"], "Payed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", made["createdDate"])
    assert (made["number"], made["participantLogin"]) == (1, "ann.lee@example.com_acme")
    assert answer.text.endswith('"total":1499}')
    assert same == [now, now]
    assert company.read("/v1/orders") == {"data": [now], "totalPages": 1, "currentPage": 1, "pageSize": 20}
    assert {name: details[name] for name in ORDER_FIELDS} == now
    assert details["participant"] == PARTICIPANT
    assert [(line["faceValue"], line["quantity"], line["price"]) for line in details["ecards"]] == [
        (THOUSAND, 1, 1100),
        (MONTH, 2, 199.5),
    ]
    assert [moment["status"] for moment in details["history"]] == ["Payed", WAITING]
    assert made["createdDate"] == details["history"][0]["at"] < details["history"][1]["at"]
    assert company.read(f"{path}/status") == {"status": WAITING}
    assert company.read(path.upper().replace("V1/ORDERS", "v1/orders")) == details
    assert company.balance == "1"


def test_another_order_under_the_same_id(company: Company) -> None:
    """A different order under an existing id is 409 and changes nothing."""
    body = company.body(company.card(THOUSAND))
    made = company.create(body).json()

    error(company.create({**body, "ecards": [company.card(quantity=2)]}), 409)
    error(company.create({**body, "participant": {**PARTICIPANT, "phone": "1"}}), 409)
    assert company.read("/v1/orders")["data"] == [made]
    assert (made["status"], company.balance) == ("Created", "1000")


def test_catalogue(rich: Company) -> None:
    """The company's cards are an array, each with its face values and prices."""
    assert rich.read("/v1/ecards") == [
        {
            "id": card.id,
            "name": card.name,
            "description": card.description,
            "unit": card.unit,
            "faceValues": [{"name": value.name, "price": float(value.price)} for value in card.face_values],
        }
        for card in rich.cards
    ]


def test_companies_are_apart(company: Company, rich: Company) -> None:
    """Another company's order is 404, and its id is free."""
    order = rich.made()
    body = company.body(orderId=order["id"])

    error(company.http.get(f"/v1/orders/{order['id']}"), 404)
    error(company.http.get(f"/v1/orders/{order['id']}/status"), 404)
    assert company.create(body).json()["number"] == 1
    assert len(company.read("/v1/orders")["data"]) == 1


# Support.


def test_handed_over_by_hand(company: Company) -> None:
    """Support can hand over certificates that SES refused to mail, in several moves."""
    company.load(3)
    with company.real.sandbox():
        order = company.made(company.card(quantity=3), participant=OUTSIDE)
        company.wait_refused(order)
        seen = [order["status"], company.status(order)]
        partially = ["--to", "PartiallyDelivered", "--count", "2", "--reason", "a test"]
        some = company.real.command("order", "move", order["id"].upper(), *partially)
        seen.append(company.status(order))
        company.wait_refused(order, mail=3)
        too_many = company.move(order, "PartiallyDelivered", "--count", "2")
        rest = company.move(order, "Delivered")
        seen.append(company.status(order))
    shown = company.real.ordering("order", "show", order["id"])

    assert (some.returncode, some.stderr) == (0, "")
    assert some.stdout == f"order {company.id}/1 is PartiallyDelivered, 2 of 3 certificates handed over\n"
    assert (too_many.code, "has 1 left to hand over" in too_many.err) == (1, True)
    assert (rest.code, rest.out) == (0, f"order {company.id}/1 is Delivered, 3 of 3 certificates handed over")
    assert seen == ["Payed", "ReadyForDelivery", "PartiallyDelivered", "Delivered"] == company.history(order)
    assert company.read("/v1/orders")["data"][0]["status"] == "Delivered"
    assert (company.free(), company.balance) == (0, "700")
    assert shown.out.count("refused: SES rejected the mail") == 2


def test_refused_moves(company: Company) -> None:
    """A move that is not allowed exits with 1 and a reason, and changes nothing."""
    order = company.made(company.card(quantity=2))
    unpaid = company.made(company.card(THOUSAND))
    company.wait(order, WAITING)
    refused = {
        f"{WAITING}: delivery cannot make it Delivered": company.move(order, "Delivered"),
        f"{WAITING}: delivery cannot make it PartiallyDelivered": company.move(order, "PartiallyDelivered"),
        f"order {company.id}/1 waits for certificates": company.move(order, "ReadyForDelivery"),
        f"order {company.id}/2 was not moved: it is Created": company.move(unpaid, "ReadyForDelivery"),
        f"there is no order '{company.id}/12'": company.move({"id": "12"}, "Cancelled"),
        "there is no order": company.move({"id": str(uuid.uuid4())}, "Cancelled"),
    }
    before = [company.status(order), company.status(unpaid)]
    company.load(2)
    company.wait(order, "Delivered")
    refused["Delivered is final"] = company.move(order, "Cancelled")

    for message, done in refused.items():
        assert (done.code, done.out) == (1, "")
        assert message in done.err
        assert "\n" not in done.err
    assert before == [WAITING, "Created"]
    assert company.status(order) == "Delivered"


def test_cancelled(company: Company) -> None:
    """Cancelling refunds the whole payment and returns undelivered certificates to stock."""
    company.load(3)
    with company.real.sandbox():
        order = company.made(company.card(quantity=3), participant=OUTSIDE)
        company.wait_refused(order)
        moves = [company.move(order, "PartiallyDelivered")]
        company.wait_refused(order, mail=2)
        before = (company.balance, company.free())
        moves.append(company.move(order, "Cancelled"))

    assert [done.code for done in moves] == [0, 0]
    assert before == ("700", 0)
    assert (company.balance, company.free(), company.status(order)) == ("1000", 2, "Cancelled")


def test_waits_for_money(company: Company) -> None:
    """Orders that the balance does not cover wait until a top-up pays them, oldest first."""
    orders = [company.made(company.card(THOUSAND)) for _ in range(3)]
    before = [order["status"] for order in orders]
    named = ["--operation", "invoice-1", "--reason", "paid by wire"]
    first = company.real.ordering("balance", "top-up", company.id, "1300.50", *named)
    again = company.real.ordering("balance", "top-up", company.id, "1300.50", *named)
    other = company.real.ordering("balance", "top-up", company.id, "1", *named)
    shown = company.real.ordering("balance", "show", company.id).out.splitlines()

    assert before == ["Created"] * 3
    assert [(done.code, done.out.splitlines()[-1].split()) for done in (first, again)] == [
        (0, ["balance", "100.50"])
    ] * 2
    assert (other.code, "another amount" in other.err) == (1, True)
    for order in orders[:2]:
        company.wait(order, WAITING)
        assert company.history(order) == ["Created", "Payed", WAITING]
    assert company.status(orders[2]) == "Created"
    assert company.balance == "100.50"
    assert shown[-1] == "balance 100.50"
    assert sum(Decimal(line.split()[2]) for line in shown[1:-1]) == Decimal("100.5")


def test_demo_company_without_money(real: RealStack) -> None:
    """The demo has a company whose balance does not cover an order."""
    client = real.demo_file["clients"]["ecardsPoor"]
    headers = bearer(token_of(real, client["clientId"], client["clientSecret"]))
    card = {"id": demo_ecards.CARDS[0].id, "quantity": 10, "faceValue": "1000 ₽"}
    body = {"orderId": str(uuid.uuid4()), "participant": PARTICIPANT, "ecards": [card]}
    with httpx.Client(base_url=real.stack.base_url, headers=headers, timeout=30) as http:
        before = http.get("/v1/balance").json()
        answer = http.post("/v1/orders", json=body)
        after = http.get("/v1/balance").json()

    assert (answer.status_code, answer.json()["status"]) == (200, "Created")
    assert before == after


def test_waits_for_stock(company: Company, tmp_path: Path) -> None:
    """An order that lacks stock waits until certificates are loaded; a duplicate load adds nothing."""
    company.load(1)
    order = company.made(company.card(quantity=2))
    short = company.move(order, "ReadyForDelivery")
    waiting = company.status(order)
    (tmp_path / "codes").write_text("one-1\none-2\none-3\n")
    stock = ["--card", str(company.stock().card_id), "--face-value", HUNDRED]
    load = ["stock", "load", str(tmp_path / "codes"), "--batch", "second", *stock]
    loaded = [company.real.ordering(*load) for _ in range(2)]

    assert (short.code, f"order {company.id}/1 waits for certificates of" in short.err) == (1, True)
    assert waiting == WAITING
    assert [(done.code, done.out.splitlines()[-1]) for done in loaded] == [(0, "2 free")] * 2
    company.wait(order, "Delivered")
    assert company.history(order) == ["Payed", WAITING, "ReadyForDelivery", "Delivered"]


# Concurrent requests.


def test_many_creates_at_once(companies: Callable[[int], Company]) -> None:
    """Of twelve concurrent orders a balance for five pays exactly five, and its ledger adds up."""
    company = companies(500)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(company.create, [company.body() for _ in range(12)]))
    made = [answer.json() for answer in answers]
    listed = company.read("/v1/orders")["data"]
    ledger = [entry.amount for entry in company.orders.balance.entries()]

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(order["status"] for order in made) == ["Created"] * 7 + ["Payed"] * 5
    assert but_status(listed) == but_status(made)
    assert len({order["number"] for order in made}) == 12
    assert company.balance == "0"
    assert sorted(ledger) == [Decimal(-100)] * 5 + [Decimal(500)]


def test_same_order_at_once(company: Company) -> None:
    """Eight concurrent creates of one order create and pay it once, and all get the same answer."""
    body = company.body()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: company.create(body), range(8)))
    shown = [answer.json() for answer in answers]

    assert {answer.status_code for answer in answers} == {200}
    assert but_status(shown) == but_status(company.read("/v1/orders")["data"]) * 8
    assert [order["id"] for order in shown] == [body["orderId"]] * 8
    # Some may be answered after the order has moved on.
    assert {order["status"] for order in shown} <= {"Payed", WAITING}
    assert company.balance == "900"


# Refusals.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("POST", "/v1"),
        ("GET", "/v1/"),
        ("GET", "/v1/nothing"),
        ("DELETE", "/v1/nothing/at/all"),
        ("GET", "/v1/orders/1/status/more"),
        ("GET", "/v1/orders/not-an-id"),
        ("GET", f"/v1/orders/{uuid.UUID(int=1)}"),
        ("GET", f"/v1/orders/{uuid.UUID(int=1)}/status"),
    ],
)
def test_not_found(rich: Company, method: str, path: str) -> None:
    """An unknown path or order is 404."""
    error(rich.http.request(method, path), 404)


@pytest.mark.parametrize("path", ["/v10", "/v10/orders", "/V1/orders", "/connect", "/.well-known"])
def test_paths_outside_every_contract(rich: Company, path: str) -> None:
    """A path outside every contract is refused by the gateway."""
    answer = rich.http.get(path)

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/orders/1", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/orders/1/status", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/ecards", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/balance", "GET, HEAD, OPTIONS"),
    ],
)
def test_method_not_allowed(rich: Company, method: str, path: str, allowed: str) -> None:
    """An unsupported method is 405 with the supported ones; OPTIONS lists the same."""
    answer = rich.http.request(method, path)
    options = rich.http.options(path)

    error(answer, 405)
    assert answer.headers["Allow"] == options.headers["Allow"] == allowed
    assert (options.status_code, options.content) == (204, b"")


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "", "1&page=2"])
def test_invalid_page(rich: Company, page: str) -> None:
    """A page that is not an integer from 1 is refused by name."""
    assert list(error(rich.http.get(f"/v1/orders?page={page}"), 400)) == ["Page"]


def test_invalid_order(rich: Company) -> None:
    """All faults of an order are reported together, by their paths."""
    faults = error(
        rich.create(
            {
                "participant": {"name": "Ann", "phone": ""},
                "ecards": [{**rich.card(), "quantity": 0}, {"id": "x", "faceValue": HUNDRED, "quantity": 1}],
            }
        ),
        400,
    )

    assert list(faults) == ["OrderId", "Participant.Email", "Participant.Phone", "Ecards[0].Quantity", "Ecards[1].Id"]
    assert faults["Participant.Email"] == ["The Email field is required."]


def test_not_offered(rich: Company, company: Company) -> None:
    """A card or face value that only another company can order is refused by its path."""
    body = rich.body(rich.card(), company.card(), {**rich.card(), "faceValue": MONTH})

    assert list(error(rich.create(body), 400)) == ["Ecards[1].Id", "Ecards[2].FaceValue"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"orderId": "\\ud800"}', "application/json", 400),
        (b"{}", "text/xml", 415),
        (b'"' + b"x" * 2**20 + b'"', "application/json", 413),
    ],
    ids=["cut", "absent", "not utf-8", "deep", "list", "surrogate", "xml", "over 1 MiB"],
)
def test_bad_bodies(rich: Company, body: bytes, content_type: str, status: int) -> None:
    """A malformed or invalid body is refused in the contract's shape."""
    error(rich.http.post("/v1/orders", content=body, headers={"Content-Type": content_type}), status)


def test_body_that_the_gateway_refuses(rich: Company) -> None:
    """The gateway's own refusal of a body has the contract's `message` and `status`."""
    body = b" " * (10 * 2**20 + 1)
    answer = rich.http.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert answer.json()["message"]


def test_nothing_secret_in_the_logs(company: Company) -> None:
    """The logs and the terminal have no secret, token, certificate or personal data."""
    codes = company.load(1)
    company.wait(company.made(), "Delivered")
    logs = company.real.logs
    client_secrets = [client["clientSecret"] for client in company.real.demo_file["clients"].values()]
    token = company.http.headers["Authorization"].removeprefix("Bearer ")

    assert company.id in logs
    for secret in [
        *codes,
        *client_secrets,
        company.secret,
        token,
        PARTICIPANT["email"],
        "Quillfeather",
        PARTICIPANT["phone"],
    ]:
        assert secret not in logs


# Key rotation and restart.


@dataclass(frozen=True)
class Rotated:
    """An installation without demo data whose signing key was replaced before a restart."""

    keys: tuple[str, str]
    """The ids of the first key and of the one that replaced it."""
    tokens: dict[str, str]
    accepted: dict[str, int]
    """The status that each token got before the restart."""
    seen: dict[str, Any]
    """The answers before the restart, by path."""
    order: dict[str, Any]
    """An order that waits for stock."""
    codes: list[str]
    company: Company
    """The company after the restart, with its token from before."""


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    state = tmp_path_factory.mktemp("rotated") / "state"
    with ExitStack() as closing:
        with running(state, build=None) as stack:
            real = RealStack(stack)
            first = real.ordering("key", "add", "--kms", "alias/ordering-SigningKeyA", "--reason", "rotation").out
            assert real.ordering("key", "use", first, "--now", "--reason", "rotation").code == 0
            company = add_company(real, closing, 1_000)
            second = real.ordering("key", "add", "--kms", "alias/ordering-SigningKeyB", "--reason", "rotation").out
            too_early = real.ordering("key", "use", second, "--reason", "rotation")
            used = real.ordering("key", "use", second, "--now", "--reason", "rotation")
            assert (too_early.code, "wait, or use --now" in too_early.err, used.code) == (1, True, 0)
            tokens = {
                "of before": company.http.headers["Authorization"].removeprefix("Bearer "),
                "of a process that still goes on with the first key": token_of(real, company.id, company.secret),
                "of a process that has looked since": token_of_another_process(real, company),
            }
            accepted = {name: company.http.get("/v1/orders", headers=bearer(tokens[name])) for name in tokens}
            codes = company.load(2)
            done, order = company.made(), company.made(company.card(quantity=3))
            company.wait(done, "Delivered")
            company.wait(order, WAITING)
            paths = ["/v1/orders", f"/v1/orders/{done['id']}", f"/v1/orders/{order['id']}"]
            seen = {path: company.read(path) for path in paths}
        with running(state, build=None) as stack:
            http = httpx.Client(base_url=stack.base_url, headers=company.http.headers, timeout=30)
            yield Rotated(
                keys=(first, second),
                tokens=tokens,
                accepted={name: answer.status_code for name, answer in accepted.items()},
                seen=seen,
                order=order,
                codes=codes,
                company=replace(company, real=RealStack(stack), http=closing.enter_context(http)),
            )


def token_of_another_process(real: RealStack, company: Company) -> str:
    """A token from a process of the token endpoint that has not cached any keys."""
    installation = real.installation
    clients = Clients(real.installation.accounts)
    endpoint = TokenEndpoint(real.accounts, clients, installation.kms, installation.issuer, installation.audience)
    client = endpoint.authenticate(company.id, company.secret, "127.0.0.1")
    return endpoint.issue(client, client.scope)


def test_key_rotation(rotated: Rotated) -> None:
    """During a key rotation tokens of both keys are accepted, whichever process issued them."""
    first, second = rotated.keys

    assert [key_of(token) for token in rotated.tokens.values()] == [first, first, second]
    assert set(rotated.accepted.values()) == {200}


def test_restart_keeps_orders_and_stock(rotated: Rotated) -> None:
    """After a restart orders, balance and stock are unchanged, and a waiting order gets new stock."""
    company, order = rotated.company, rotated.order
    certificates = Certificates(company.real.installation.orders, EnvelopeSealer(company.real.installation.kms))

    assert {path: company.read(path) for path in rotated.seen} == rotated.seen
    assert (company.free(), company.orders.balance.hundredths()) == (1, 600_00)
    assert [one.code for one in certificates.open(company.stock(), ((1, 2),))] == rotated.codes
    company.load(2)
    company.wait(order, "Delivered")
    assert company.free() == 0
    assert company.made()["number"] == 3


def test_restart_keeps_keys(rotated: Rotated) -> None:
    """After a restart old tokens are accepted, the signer is the same, and all keys are published."""
    company = rotated.company
    new = token_of(company.real, company.id, company.secret)
    published = httpx.get(f"{company.real.stack.base_url}/.well-known/jwks.json", timeout=30).json()["keys"]

    assert key_of(new) == rotated.keys[1]
    assert {key["kid"] for key in published} == set(rotated.keys)
    for token in [*rotated.tokens.values(), new]:
        assert company.http.get("/v1/orders", headers=bearer(token)).status_code == 200
    retired = company.real.ordering("key", "retire", rotated.keys[0], "--reason", "rotation")
    assert "tokens that it signed are valid until" in retired.err
