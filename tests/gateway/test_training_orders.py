"""The training orders contract over HTTP: the template's routes, the real authorizer, the built functions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ordering_tools.demo import training as demo
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

ORDER = {
    "purchaseOrderReference": "PO-1",
    "emailKeys": False,
    "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 3}],
}


@pytest.fixture(scope="module")
def told(real: RealStack) -> Mapping[str, Any]:
    """What the run wrote for those who try it."""
    return real.told


@pytest.fixture(scope="module")
def partner(told: Mapping[str, Any]) -> Iterator[httpx.Client]:
    """The demo partner with a token for its first business unit."""
    headers = {"Authorization": f"Bearer {told['tokens']['trainingSingleUnit']}"}
    with httpx.Client(base_url=told["baseUrl"], headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def both_units(told: Mapping[str, Any]) -> Iterator[httpx.Client]:
    """The demo partner with a token for both of its units."""
    headers = {"Authorization": f"Bearer {told['tokens']['training']}"}
    with httpx.Client(base_url=told["baseUrl"], headers=headers, timeout=30) as client:
        yield client


def test_demo_file(told: Mapping[str, Any]) -> None:
    """The run tells its address, the units, one token for each thing worth trying, and clients that get their own."""
    assert set(told) == {
        *("baseUrl", "businessUnitId", "secondBusinessUnitId", "foreignBusinessUnitId"),
        *("tokens", "clients"),
    }
    assert set(told["tokens"]) == {
        *("training", "trainingSingleUnit", "trainingWithoutKeys", "cardTerms", "expired", "revoked"),
        *("deals", "dealsBasicPlan", "dealsChangesDisabled"),
    }
    assert set(told["clients"]) == {"ecards", "ecardsPoor"}
    assert all(set(client) == {"clientId", "clientSecret"} for client in told["clients"].values())


def test_demo_file_for_shells(real: RealStack, told: Mapping[str, Any]) -> None:
    """A shell that reads the other file has what the quickstart needs."""
    lines = (real.stack.state / demo.SHELL_FILE).read_text().splitlines()
    client = told["clients"]["ecards"]

    assert dict(line.split("=", 1) for line in lines) == {
        "URL": told["baseUrl"],
        "UNIT": told["businessUnitId"],
        "TOKEN": told["tokens"]["training"],
        "DEALS_TOKEN": told["tokens"]["deals"],
        "CLIENT_ID": client["clientId"],
        "CLIENT_SECRET": client["clientSecret"],
    }


def test_reference_page(partner: httpx.Client) -> None:
    """The first page of products is the reference's: 287 products on 29 pages of 10, AZ-300 first."""
    page = partner.get("/api/v2/products").json()

    assert (page["_pageInfo"]["totalItemCount"], page["_pageInfo"]["pageCount"]) == (287, 29)
    assert page["items"][0]["code"] == "AZ-300"


def test_whole_catalogue_by_its_links(both_units: httpx.Client, told: Mapping[str, Any]) -> None:
    """Following `next` from the first page reads every product once."""
    ids: list[str] = []
    target: str | None = f"/api/v2/products?businessUnitId={told['businessUnitId']}&_pageSize=50"
    while target and len(ids) < 1_000:
        page = both_units.get(target).json()
        ids += [product["id"] for product in page["items"]]
        target = page["_links"].get("next")

    assert (len(ids), len(set(ids))) == (287, 287)


def test_one_orders_life(partner: httpx.Client) -> None:
    """An order that was created is there by its location, with its items, and at the end of the list."""
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
    """Read an order's keys, as often as the answer says to try again."""
    deadline = time.monotonic() + 30
    while (answer := partner.get(f"{order}/keys", params=query)).status_code == 409 and time.monotonic() < deadline:
        assert (answer.json()["type"].rpartition("/")[2], answer.headers["Retry-After"]) == ("keys-not-issued", "2")
        time.sleep(0.2)
    return answer


def test_keys_of_an_order(partner: httpx.Client) -> None:
    """An order's keys are issued soon after it is placed; then it is Completed, and in the list too."""
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


def test_keys_need_the_grant(told: Mapping[str, Any]) -> None:
    """A token that does not cover access keys reads orders, and no keys."""
    headers = {"Authorization": f"Bearer {told['tokens']['trainingWithoutKeys']}"}
    unit = {"businessUnitId": told["businessUnitId"]}
    answers = [
        httpx.get(f"{told['baseUrl']}/api/v2/orders/2{rest}", headers=headers, params=unit) for rest in ("", "/keys")
    ]

    assert [answer.status_code for answer in answers] == [200, 403]


def test_money_keeps_its_decimals(partner: httpx.Client) -> None:
    """A price of 48 pounds is written 48.0000, all the way through the gateway."""
    answer = partner.get(f"/api/v2/products/{demo.AZ_300.id}/feature_sets")

    assert '"prices":[{"currency":"GBP","value":48.0000}]' in answer.text


def test_many_creates_at_once(both_units: httpx.Client, told: Mapping[str, Any]) -> None:
    """Creates that arrive at once are all taken, get ids of their own, and are all in the list."""
    unit = {"businessUnitId": told["secondBusinessUnitId"]}
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
    """One key that arrives many times at once creates one order, and every caller gets its answer."""
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
def test_unauthorized(told: Mapping[str, Any], token: str | None) -> None:
    """An expired, revoked or missing token is answered with 401 and a problem document."""
    headers = {"Authorization": f"Bearer {told['tokens'][token]}"} if token else {}
    answer = httpx.get(f"{told['baseUrl']}/api/v2/orders", headers=headers)

    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["X-Request-Id"] == answer.json()["requestId"]


def test_card_terms(told: Mapping[str, Any]) -> None:
    """A partner with card payment terms gets an error that says so."""
    headers = {"Authorization": f"bearer {told['tokens']['cardTerms']}"}
    answer = httpx.get(f"{told['baseUrl']}/api/v2/products", headers=headers)

    assert answer.status_code == 403
    assert "Card payment terms" in answer.json()["detail"]


def test_single_unit(partner: httpx.Client, told: Mapping[str, Any]) -> None:
    """A token for one unit needs to name none, and cannot read its partner's other one."""
    own = partner.get("/api/v2/orders/1")
    other = partner.get("/api/v2/orders", params={"businessUnitId": told["secondBusinessUnitId"]})

    assert (own.status_code, other.status_code) == (200, 404)


def test_unit_must_be_named(both_units: httpx.Client) -> None:
    """A token for two units has to say which."""
    answer = both_units.get("/api/v2/orders/1")

    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, "businessUnitId")


def test_another_partners_unit(both_units: httpx.Client, told: Mapping[str, Any]) -> None:
    """Another partner's unit is answered as one that does not exist."""
    foreign = both_units.get("/api/v2/orders", params={"businessUnitId": told["foreignBusinessUnitId"]})

    assert foreign.status_code == 404


def test_unknown_path_and_method(partner: httpx.Client) -> None:
    """An unknown path is a 404 problem of the gateway, an unknown method a 405 of the function, with `Allow`."""
    path = partner.get("/api/v2/nothing")
    method = partner.delete("/api/v2/orders")

    assert (path.status_code, path.headers["Content-Type"]) == (404, "application/problem+json")
    assert (method.status_code, method.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_head_and_options(partner: httpx.Client) -> None:
    """HEAD is GET without its body, OPTIONS tells the methods."""
    head = partner.head("/api/v2/products")
    options = partner.options("/api/v2/products")

    assert (head.status_code, head.content) == (200, b"")
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
    """A body that is no order is answered in the contract's shape, whoever refuses it."""
    answer = partner.post("/api/v2/orders", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_functions_run_from_the_build(real: RealStack) -> None:
    """What answers is the built layers and functions: no process of theirs names the source tree."""
    root = Path(demo.__file__).resolve().parents[3]
    lines = (real.stack.state / "functions.log").read_text()

    assert str(root / "layers") not in lines
    assert str(root / "functions") not in lines


def test_token_issue(real: RealStack, told: Mapping[str, Any]) -> None:
    """A token that an operator issues for a partner is accepted."""
    done = real.command("token", "issue", "--partner", "tailspin")
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    answer = httpx.get(f"{told['baseUrl']}/api/v2/orders", headers=headers, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert answer.json()["_pageInfo"]["totalItemCount"] == 6


def test_nothing_secret_in_the_logs(real: RealStack, told: Mapping[str, Any], partner: httpx.Client) -> None:
    """Neither a token nor a name nor an address nor an access key is in the functions' logs or on the terminal."""
    keys = [item["key"] for item in keys_of(partner, "/api/v2/orders/2").json()["items"]]
    logs = real.logs

    assert keys
    for secret in [*told["tokens"].values(), *keys, "johnsmith@example.com", "Smith"]:
        assert secret not in logs
