"""The training orders contract over HTTP: the template's routes, the real authorizer and the built functions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.waiting import eventually
from ordering_tools.demo import greeting
from ordering_tools.demo import training as demo
from ordering_tools.local.engine.state import find
from ordering_tools.operations import tokens
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

ORDER = {
    "purchaseOrderReference": "PO-1",
    "emailKeys": False,
    "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 3}],
}


@pytest.fixture(scope="module")
def demo_file(real: RealStack) -> Mapping[str, Any]:
    """The demo's addresses, units, tokens and clients."""
    return real.demo_file


@pytest.fixture(scope="module")
def partner(demo_file: Mapping[str, Any]) -> Iterator[httpx.Client]:
    """The demo partner with a token for its first business unit."""
    headers = {"Authorization": f"Bearer {demo_file['tokens']['trainingSingleUnit']}"}
    with httpx.Client(base_url=demo_file["baseUrl"], headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def both_units(demo_file: Mapping[str, Any]) -> Iterator[httpx.Client]:
    """The demo partner with a token for both of its units."""
    headers = {"Authorization": f"Bearer {demo_file['tokens']['training']}"}
    with httpx.Client(base_url=demo_file["baseUrl"], headers=headers, timeout=30) as client:
        yield client


def test_demo_file(demo_file: Mapping[str, Any]) -> None:
    """The demo file has its URL, units, one token for each case worth trying, and clients."""
    assert set(demo_file) == {
        *("baseUrl", "businessUnitId", "secondBusinessUnitId", "foreignBusinessUnitId"),
        *("tokens", "clients", "productId", "order"),
    }
    assert set(demo_file["tokens"]) == {
        *("training", "trainingSingleUnit", "trainingWithoutKeys", "cardTerms", "expired", "revoked"),
        *("deals", "dealsBasicPlan", "dealsChangesDisabled"),
    }
    assert set(demo_file["clients"]) == {"ecards", "ecardsPoor"}
    assert all(set(client) == {"clientId", "clientSecret"} for client in demo_file["clients"].values())


def test_event_of_the_authorizer(real: RealStack) -> None:
    """The deployed authorizer accepts the event that the local run writes for it, as `sam local invoke` sends it."""
    running = find(real.stack.state)
    assert running
    event = (real.stack.state / demo.LIVE_EVENT).read_bytes()

    answer = httpx.post(
        f"{running.functions}/2015-03-31/functions/AuthorizerFunction/invocations", content=event, timeout=30
    )

    assert answer.json()["principalId"] == "northwind"


def test_demo_file_for_shells(real: RealStack, demo_file: Mapping[str, Any]) -> None:
    """The demo file for shells has the variables that the quickstart uses."""
    lines = (real.stack.state / greeting.SHELL_FILE).read_text().splitlines()
    client = demo_file["clients"]["ecards"]

    assert dict(line.split("=", 1) for line in lines) == {
        "URL": demo_file["baseUrl"],
        "UNIT": demo_file["businessUnitId"],
        "TOKEN": demo_file["tokens"]["training"],
        "DEALS_TOKEN": demo_file["tokens"]["deals"],
        "CLIENT_ID": client["clientId"],
        "CLIENT_SECRET": client["clientSecret"],
    }


def test_page_for_people(real: RealStack, demo_file: Mapping[str, Any]) -> None:
    """A browser gets the local run's page, with the tokens of the demo; for any other client it is unknown."""

    def seen_together() -> tuple[httpx.Response, str] | None:
        """The page, and what goes on if that is the same before and after: mails may arrive meanwhile."""
        address = f"{real.stack.base_url}/_local/activity"
        before = httpx.get(address).text
        page = httpx.get(f"{real.stack.base_url}/local", headers={"Accept": "text/html,*/*"})
        quiet = httpx.get(address).text == before and ("participant00@example.com" in before or "the newest" in before)
        return (page, before) if quiet else None

    seen = eventually(seen_together)
    refused = httpx.get(f"{real.stack.base_url}/local", headers={"Accept": "application/json"})

    assert seen
    page, activity = seen
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert demo_file["tokens"]["training"] in page.text
    assert activity in page.text
    assert (refused.status_code, refused.headers["Content-Type"]) == (404, "application/problem+json")
    assert "/_local/" not in real.stack.printed()


def test_reference_page(partner: httpx.Client) -> None:
    """The first page of products is the reference's: 287 products on 29 pages of 10, AZ-300 first."""
    page = partner.get("/api/v2/products").json()

    assert (page["_pageInfo"]["totalItemCount"], page["_pageInfo"]["pageCount"]) == (287, 29)
    assert page["items"][0]["code"] == "AZ-300"


def test_whole_catalogue_by_its_links(both_units: httpx.Client, demo_file: Mapping[str, Any]) -> None:
    """Following `next` from the first page reads every product once."""
    ids: list[str] = []
    target: str | None = f"/api/v2/products?businessUnitId={demo_file['businessUnitId']}&_pageSize=50"
    while target and len(ids) < 1_000:
        page = both_units.get(target).json()
        ids += [product["id"] for product in page["items"]]
        target = page["_links"].get("next")

    assert (len(ids), len(set(ids))) == (287, 287)


def test_one_orders_life(partner: httpx.Client) -> None:
    """A created order can be read at its location, with its items, and is the last in the list."""
    before = partner.get("/api/v2/orders").json()["_pageInfo"]["totalItemCount"]
    made = partner.post("/api/v2/orders", json=ORDER, headers={"Idempotency-Key": "one-orders-life"})
    again = partner.post("/api/v2/orders", json=ORDER, headers={"Idempotency-Key": "one-orders-life"})
    read = partner.get(made.headers["Location"]).json()
    items = partner.get(made.headers["Location"] + "/items").json()["items"]
    last = partner.get("/api/v2/orders", params={"_page": before + 1, "_pageSize": 1}).json()

    assert (made.status_code, again.status_code) == (201, 201)
    assert (made.content, again.headers["Idempotent-Replayed"]) == (again.content, "true")
    assert read["id"] == made.json()["id"] == last["items"][0]["id"]
    assert [(item["id"], item["quantity"]) for item in items] == [(1, 3)]
    assert last["_pageInfo"]["totalItemCount"] == before + 1


def keys_of(partner: httpx.Client, order: str, **query: int) -> httpx.Response:
    """Read an order's keys, retrying while the answer says that they are not issued."""
    deadline = time.monotonic() + 30
    while (answer := partner.get(f"{order}/keys", params=query)).status_code == 409 and time.monotonic() < deadline:
        assert (answer.json()["type"].rpartition("#")[2], answer.headers["Retry-After"]) == ("keys-not-issued", "2")
        time.sleep(0.2)
    return answer


def test_keys_of_an_order(partner: httpx.Client) -> None:
    """An order's keys are issued soon after it is placed; it is then Completed, in the list too."""
    made = partner.post(
        "/api/v2/orders", json={**ORDER, "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 1_234}]}
    )
    order = made.headers["Location"]
    answer = keys_of(partner, order, _pageSize=500, _page=3)
    page = answer.json()
    total = partner.get("/api/v2/orders").json()["_pageInfo"]["totalItemCount"]
    last = partner.get("/api/v2/orders", params={"_page": total, "_pageSize": 1}).json()["items"][0]

    assert (answer.status_code, page["_pageInfo"]["totalItemCount"], len(page["items"])) == (200, 1_234, 234)
    assert (page["items"][-1]["orderItemId"], page["items"][-1]["seat"]) == (1, 1_234)
    assert keys_of(partner, order, _pageSize=500, _page=3).json() == page
    assert partner.get(order).json()["orderStatus"] == last["orderStatus"] == "Completed"
    assert last["id"] == made.json()["id"]


def test_keys_need_the_grant(demo_file: Mapping[str, Any]) -> None:
    """A token that does not cover access keys can read orders, but no keys."""
    headers = {"Authorization": f"Bearer {demo_file['tokens']['trainingWithoutKeys']}"}
    unit = {"businessUnitId": demo_file["businessUnitId"]}
    answers = [
        httpx.get(f"{demo_file['baseUrl']}/api/v2/orders/2{rest}", headers=headers, params=unit)
        for rest in ("", "/keys")
    ]

    assert [answer.status_code for answer in answers] == [200, 403]


def test_money_keeps_its_decimals(partner: httpx.Client) -> None:
    """A price of 48 pounds is 48.0000 through the whole gateway."""
    answer = partner.get(f"/api/v2/products/{demo.AZ_300.id}/feature_sets")

    assert '"prices":[{"currency":"GBP","value":48.0000}]' in answer.text


def test_many_creates_at_once(both_units: httpx.Client, demo_file: Mapping[str, Any]) -> None:
    """Concurrent creates all succeed, with unique ids, and are all listed."""
    unit = {"businessUnitId": demo_file["secondBusinessUnitId"]}
    feature_set = demo.catalogues()[demo.IRELAND.id][0][1][0]
    order = {**ORDER, "orderItems": [{"featureSetId": feature_set.id, "quantity": 1}]}
    before = both_units.get("/api/v2/orders", params=unit).json()["_pageInfo"]["totalItemCount"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: both_units.post("/api/v2/orders", params=unit, json=order), range(24)))
    page = both_units.get("/api/v2/orders", params={**unit, "_pageSize": 500}).json()

    assert [answer.status_code for answer in answers] == [201] * 24
    assert len({answer.json()["id"] for answer in answers}) == 24
    assert {answer.json()["id"] for answer in answers} <= {order["id"] for order in page["items"]}
    assert page["_pageInfo"]["totalItemCount"] == len(page["items"]) == before + 24


def test_same_key_at_once(partner: httpx.Client) -> None:
    """Concurrent creates with one idempotency key create one order and get the same answer."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: partner.post("/api/v2/orders", json=ORDER, headers={"Idempotency-Key": "at-once"}), range(8)
            )
        )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


@pytest.mark.parametrize("token", ["expired", "revoked", None])
def test_unauthorized(demo_file: Mapping[str, Any], token: str | None) -> None:
    """An expired, revoked or missing token is 401 with a problem document."""
    headers = {"Authorization": f"Bearer {demo_file['tokens'][token]}"} if token else {}
    answer = httpx.get(f"{demo_file['baseUrl']}/api/v2/orders", headers=headers, timeout=30)

    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert answer.headers["Content-Type"] == "application/problem+json"
    if token:
        assert answer.headers["x-amzn-Remapped-WWW-Authenticate"] == 'Bearer realm="orders", error="invalid_token"'
    else:
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="orders"'
    assert answer.headers["X-Request-Id"] == answer.json()["requestId"]


@pytest.mark.parametrize("good_first", [True, False])
@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_two_authorization_headers(real: RealStack, name: str, *, good_first: bool) -> None:
    """A request with a valid and an invalid token is 401, and makes the invalid one no better for the next request."""
    # A token of its own: the refusal may be cached under it.
    token, _ = tokens.issue(real.installation, "northwind", demo.JOHN.id, None, timedelta(hours=1))
    good, bad = f"Bearer {token}", f"Bearer nonsense-{name}-{good_first}"
    headers = [("Authorization", good), (name, bad)]
    url = f"{real.stack.base_url}/webhooks"
    answers = [
        httpx.get(url, headers=headers if good_first else headers[::-1]),
        httpx.get(url, headers={"Authorization": bad}),
    ]

    assert [answer.status_code for answer in answers] == [401, 401]


def test_webhook_registered_under_a_key(real: RealStack) -> None:
    """A retried registration gets the first answer, which KMS decrypts with its secret."""
    token, _ = tokens.issue(real.installation, "northwind", demo.JOHN.id, None, timedelta(hours=1))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one-webhook"}
    url = f"{real.stack.base_url}/webhooks"
    first, again = (httpx.post(url, headers=headers, json={"url": "http://127.0.0.1:9/"}) for _ in range(2))
    httpx.delete(f"{url}/{first.json()['id']}", headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.text, again.headers["Idempotent-Replayed"]) == (first.text, "true")


def test_card_terms(demo_file: Mapping[str, Any]) -> None:
    """A partner with card payment terms gets an error that names them."""
    headers = {"Authorization": f"bearer {demo_file['tokens']['cardTerms']}"}
    answer = httpx.get(f"{demo_file['baseUrl']}/api/v2/products", headers=headers)

    assert answer.status_code == 403
    assert "Card payment terms" in answer.json()["detail"]


def test_single_unit(partner: httpx.Client, demo_file: Mapping[str, Any]) -> None:
    """A token for one unit needs to name none, and cannot read the partner's other unit."""
    own = partner.get("/api/v2/orders/1")
    other = partner.get("/api/v2/orders", params={"businessUnitId": demo_file["secondBusinessUnitId"]})

    assert (own.status_code, other.status_code) == (200, 404)


def test_unit_must_be_named(both_units: httpx.Client) -> None:
    """A token for two units must name one."""
    answer = both_units.get("/api/v2/orders/1")

    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, "businessUnitId")


def test_another_partners_unit(both_units: httpx.Client, demo_file: Mapping[str, Any]) -> None:
    """Another partner's unit is indistinguishable from an unknown one."""
    foreign = both_units.get("/api/v2/orders", params={"businessUnitId": demo_file["foreignBusinessUnitId"]})

    assert foreign.status_code == 404


def test_unknown_path_and_method(partner: httpx.Client) -> None:
    """An unknown path is a 404 of the gateway, an unsupported method a 405 of the function with `Allow`."""
    path = partner.get("/api/v2/nothing")
    method = partner.delete("/api/v2/orders")

    assert (path.status_code, path.headers["Content-Type"]) == (404, "application/problem+json")
    assert (method.status_code, method.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_head_and_options(partner: httpx.Client) -> None:
    """HEAD is GET without its body, and OPTIONS lists the methods, also for a caller without a token."""
    read = partner.get("/api/v2/products")
    head = partner.head("/api/v2/products")
    current = partner.get("/api/v2/products", headers={"If-None-Match": read.headers["ETag"]})
    options = partner.options("/api/v2/products", headers={"Authorization": ""})

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == read.headers["Content-Length"]
    assert (current.status_code, current.content) == (304, b"")
    assert (options.status_code, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b'{"purchaseOrderReference": "\\ud800"}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"a": ' + b"1" * 400 + b"}", 400),
        (b'"' + b"x" * 2**20 + b'"', 413),
        (b" " * (10 * 2**20 + 1), 413),
    ],
    ids=["cut", "absent", "surrogate", "not utf-8", "deep", "10^400", "over 1 MiB", "over 10 MiB"],
)
def test_bad_bodies(partner: httpx.Client, body: bytes, status: int) -> None:
    """A malformed or invalid body is refused in the contract's shape."""
    answer = partner.post("/api/v2/orders", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_functions_run_from_the_build(real: RealStack) -> None:
    """The functions run from the built layers: no process names the source tree."""
    root = Path(demo.__file__).resolve().parents[3]
    lines = (real.stack.state / "functions.log").read_text()

    assert str(root / "layers") not in lines
    assert str(root / "functions") not in lines


def test_token_issue(real: RealStack, demo_file: Mapping[str, Any]) -> None:
    """A token that an operator issues for a partner is accepted."""
    done = real.command("token", "issue", "tailspin")
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    answer = httpx.get(f"{demo_file['baseUrl']}/api/v2/orders", headers=headers, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert answer.json()["_pageInfo"]["totalItemCount"] == 6


def test_nothing_secret_in_the_logs(real: RealStack, demo_file: Mapping[str, Any], partner: httpx.Client) -> None:
    """The logs and the terminal have no token, access key or personal data."""
    keys = [item["key"] for item in keys_of(partner, "/api/v2/orders/2").json()["items"]]
    logs = real.logs

    assert keys
    for secret in [*demo_file["tokens"].values(), *keys, "johnsmith@example.com", "Smith"]:
        assert secret not in logs
