"""The contract's "Lists": pages, their description and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from ordering.principal import BusinessUnit
from ordering.training.catalogue import TrainingProduct
from support.gateway import Client, Reply
from support.orders import client_of_new_unit, new_item, new_order
from support.partners import STANDARD, feature_set
from support.services import Services

PRODUCTS = [
    TrainingProduct(f"{number:08x}-0000-4000-8000-000000000000", f"P-{number:02}", "A course") for number in range(23)
]
NAMES = [f"Offer {letter}" for letter in "ABCDEFGHIJKLM"]
INFO = (
    "pageCount",
    "totalItemCount",
    "pageNumber",
    "pageSize",
    "hasPreviousPage",
    "hasNextPage",
    "isFirstPage",
    "isLastPage",
    "firstItemOnPage",
    "lastItemOnPage",
)
T, F = True, False


@dataclass(frozen=True)
class Lists:
    """A unit whose four lists have several pages."""

    client: Client
    unit: BusinessUnit
    paths: dict[str, str]
    lengths: dict[str, int]

    def get(self, which: str, query: str = "") -> Reply:
        return self.client.get(f"{self.paths[which]}?{query}")


@pytest.fixture(scope="module")
def lists(services: Services) -> Lists:
    offered = [feature_set(PRODUCTS[0], 100 + rank, name) for rank, name in enumerate(reversed(NAMES))]
    client, unit = client_of_new_unit(
        services, [(PRODUCTS[0], offered), *[(product, []) for product in reversed(PRODUCTS[1:])]]
    )
    items = [new_item(featureSetId=offered[0].id, quantity=quantity) for quantity in range(1, 13)]
    many = client.post("/api/v2/orders", new_order(orderItems=items)).json["id"]
    for number in range(10):
        client.post("/api/v2/orders", new_order(purchaseOrderReference=f"PO-{number}", orderItems=items[:1]))
    return Lists(
        client,
        unit,
        paths={
            "products": "/api/v2/products",
            "feature sets": f"/api/v2/products/{PRODUCTS[0].id}/feature_sets",
            "orders": "/api/v2/orders",
            "items": f"/api/v2/orders/{many}/items",
        },
        lengths={"products": 23, "feature sets": 13, "orders": 11, "items": 12},
    )


@pytest.fixture(params=["products", "feature sets", "orders", "items"])
def which(request: pytest.FixtureRequest) -> str:
    """Each list of the contract."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def units(services: Services) -> dict[int, Client]:
    """Callers whose units have these numbers of products."""
    return {
        count: client_of_new_unit(services, [(product, []) for product in PRODUCTS[:count]])[0]
        for count in (0, 1, 10, 11, 20, 23)
    }


@pytest.mark.parametrize(
    ("total", "page", "size", "expected"),
    [
        pytest.param(0, 1, 10, (0, 0, 1, 10, F, F, F, F, 0, 0), id="empty"),
        pytest.param(0, 3, 10, (0, 0, 3, 10, F, F, F, F, 0, 0), id="empty, beyond the end"),
        pytest.param(1, 1, 10, (1, 1, 1, 10, F, F, T, T, 1, 1), id="one"),
        pytest.param(1, 1, 1, (1, 1, 1, 1, F, F, T, T, 1, 1), id="one on a page of one"),
        pytest.param(1, 2, 10, (1, 1, 2, 10, F, F, F, F, 0, 0), id="one, beyond the end"),
        pytest.param(10, 1, 10, (1, 10, 1, 10, F, F, T, T, 1, 10), id="exactly one page"),
        pytest.param(11, 1, 10, (2, 11, 1, 10, F, T, T, F, 1, 10), id="one more than a page, first"),
        pytest.param(11, 2, 10, (2, 11, 2, 10, T, F, F, T, 11, 11), id="one more than a page, last"),
        pytest.param(20, 2, 10, (2, 20, 2, 10, T, F, F, T, 11, 20), id="two full pages, last"),
        pytest.param(23, 1, 10, (3, 23, 1, 10, F, T, T, F, 1, 10), id="first of three"),
        pytest.param(23, 2, 10, (3, 23, 2, 10, T, T, F, F, 11, 20), id="middle of three"),
        pytest.param(23, 3, 10, (3, 23, 3, 10, T, F, F, T, 21, 23), id="last of three is clipped"),
        pytest.param(23, 4, 10, (3, 23, 4, 10, F, F, F, F, 0, 0), id="just beyond the end"),
        pytest.param(23, 2**31 - 1, 500, (1, 23, 2**31 - 1, 500, F, F, F, F, 0, 0), id="far beyond the end"),
        pytest.param(23, 1, 500, (1, 23, 1, 500, F, F, T, T, 1, 23), id="largest page"),
        pytest.param(23, 1, 23, (1, 23, 1, 23, F, F, T, T, 1, 23), id="page as long as the list"),
        pytest.param(23, 23, 1, (23, 23, 23, 1, T, F, F, T, 23, 23), id="smallest page, last"),
    ],
)
def test_page_info(units: dict[int, Client], total: int, page: int, size: int, expected: tuple[object, ...]) -> None:
    """`_pageInfo` has the ten fields of X.PagedList; `next` exists only if there is a next page."""
    answer = units[total].get(f"/api/v2/products?_page={page}&_pageSize={size}").json
    info = answer["_pageInfo"]

    assert list(answer) == ["items", "_pageInfo", "_links"]
    assert list(zip(INFO, expected, strict=True)) == list(info.items())
    shown = PRODUCTS[info["firstItemOnPage"] - 1 : info["lastItemOnPage"]] if info["firstItemOnPage"] else []
    assert [product.id for product in shown] == [item["id"] for item in answer["items"]]
    assert (["next"] if info["hasNextPage"] else []) == list(answer["_links"])


def test_default_page(lists: Lists, which: str) -> None:
    """Without parameters a list shows its first page of ten."""
    answer = lists.get(which)

    assert (answer.status, len(answer.json["items"])) == (200, 10)
    assert (answer.json["_pageInfo"]["pageNumber"], answer.json["_pageInfo"]["pageSize"]) == (1, 10)
    assert answer.text == lists.get(which, "_page=1&_pageSize=10").text.replace("_page=2&_pageSize=10", "_page=2")


def test_totals(lists: Lists, which: str) -> None:
    """Every page has the list's total."""
    totals = [lists.get(which, f"_page={page}&_pageSize=4").json["_pageInfo"]["totalItemCount"] for page in (1, 2, 99)]

    assert [lists.lengths[which]] * 3 == totals


def test_following_next_reads_everything_once(lists: Lists, which: str) -> None:
    """Following `next` from the first page reads each entry once, in order."""
    everything = lists.get(which, "_pageSize=500").json["items"]
    seen: list[Any] = []
    link: str | None = f"{lists.paths[which]}?_pageSize=5"
    pages = 0

    while link:
        answer = lists.client.get(link).json
        seen += answer["items"]
        link = answer["_links"].get("next")
        pages += 1

    assert lists.lengths[which] == len(everything)
    assert everything == seen
    assert -(-lists.lengths[which] // 5) == pages


def test_next_is_the_documented_link(lists: Lists, which: str) -> None:
    """Without a query, `next` is the path with only `_page=2`."""
    assert {"next": f"{lists.paths[which]}?_page=2"} == lists.get(which).json["_links"]


def test_no_links_on_the_last_page(lists: Lists, which: str) -> None:
    """`_links` is `{}` on the last page and any page beyond it."""
    assert lists.get(which, "_pageSize=500").json["_links"] == {}
    assert lists.get(which, "_page=77").json["_links"] == {}
    assert '"_links":{}}' in lists.get(which, "_page=77").text


def test_next_repeats_the_query(lists: Lists, which: str) -> None:
    """`next` repeats the whole query, with only `_page` changed."""
    sent = [
        ("businessUnitId", lists.unit.id),
        ("_pageSize", "2"),
        ("_page", "3"),
    ]
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sent)

    link = urlsplit(lists.get(which, query).json["_links"]["next"])

    assert ("", "", lists.paths[which]) == (link.scheme, link.netloc, link.path)
    moved = [(name, "4" if name == "_page" else value) for name, value in sent]
    assert moved == parse_qsl(link.query, keep_blank_values=True)
    assert lists.get(which, link.query).json["items"] == lists.get(which, "_page=4&_pageSize=2").json["items"]


@pytest.mark.parametrize("name", ["_page", "_pageSize"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("0", "out_of_range"),
        ("-1", "out_of_range"),
        ("abc", "invalid_type"),
        ("", "invalid_type"),
        ("1.0", "invalid_type"),
        ("1e1", "invalid_type"),
        ("01", "invalid_type"),
        ("+1", "invalid_type"),
        (" 1", "invalid_type"),
        ("1_0", "invalid_type"),
        ("\u0661", "invalid_type"),
        ("1" * 100, "out_of_range"),
        ("9" * 5_000, "out_of_range"),
        ("true", "invalid_type"),
        ("null", "invalid_type"),
    ],
    ids=lambda value: (value or "empty")[:8] if value.isascii() else "other digits",
)
def test_paging_is_never_clamped(lists: Lists, name: str, value: str, code: str) -> None:
    """An invalid page or page size is 400 and named, instead of being replaced by another."""
    reply = lists.get("orders", f"{name}={quote(value)}")

    assert (400, [(name, code)]) == (reply.status, reply.faults)


def test_page_size_ends_at_500(lists: Lists, which: str) -> None:
    """The largest page size is 500 on every list."""
    refused = lists.get(which, "_pageSize=501")

    assert lists.get(which, "_pageSize=500").status == 200
    assert (refused.status, refused.faults) == (400, [("_pageSize", "out_of_range")])


def test_both_paging_faults_are_reported(lists: Lists, which: str) -> None:
    """Faults of several parameters are reported together."""
    reply = lists.get(which, "_page=0&_pageSize=0&businessUnitId=x")

    assert {("_page", "out_of_range"), ("_pageSize", "out_of_range"), ("businessUnitId", "invalid_format")} == set(
        reply.faults
    )


def test_orders_come_oldest_first(lists: Lists) -> None:
    """Orders are listed by creation, oldest first."""
    items = lists.get("orders", "_pageSize=500").json["items"]

    assert ["PO-1", *[f"PO-{number}" for number in range(10)]] == [item["purchasingOrderReference"] for item in items]
    assert sorted(item["created"] for item in items) == [item["created"] for item in items]


def test_full_pages_do_not_change(services: Services) -> None:
    """New orders do not change a page that is full."""
    client, _ = client_of_new_unit(services)
    for _ in range(3):
        client.post("/api/v2/orders", new_order())
    before = client.get("/api/v2/orders?_pageSize=2").json["items"]

    client.post("/api/v2/orders", new_order())

    assert before == client.get("/api/v2/orders?_pageSize=2").json["items"]
    assert client.get("/api/v2/orders?_pageSize=2").json["_pageInfo"]["totalItemCount"] == 4


def test_created_orders_are_listed_at_once(services: Services) -> None:
    """An order is listed as soon as its create is answered."""
    client, _ = client_of_new_unit(services)
    assert client.get("/api/v2/orders").json["items"] == []

    created = client.post("/api/v2/orders", new_order()).json["id"]

    assert [created] == [item["id"] for item in client.get("/api/v2/orders").json["items"]]


def test_products_come_by_code_then_name(services: Services) -> None:
    """Products are listed by code, then by name."""
    products = [
        TrainingProduct(f"{rank:08x}-1111-4000-8000-000000000000", code, name)
        for rank, (code, name) in enumerate([("B", "x"), ("A", "z"), ("B", "a"), ("A", "b"), ("AA", "a")])
    ]
    client, _ = client_of_new_unit(services, [(product, []) for product in products])

    items = client.get("/api/v2/products").json["items"]

    assert [(item["code"], item["name"]) for item in items] == [
        ("A", "b"),
        ("A", "z"),
        ("AA", "a"),
        ("B", "a"),
        ("B", "x"),
    ]


def test_feature_sets_come_by_name(lists: Lists) -> None:
    """Feature sets are listed by name."""
    assert [item["name"] for item in lists.get("feature sets", "_pageSize=500").json["items"]] == NAMES


def test_items_come_by_number(lists: Lists) -> None:
    """Items are numbered and listed as they were sent."""
    items = lists.get("items", "_pageSize=500").json["items"]

    assert [(number, number) for number in range(1, 13)] == [(item["id"], item["quantity"]) for item in items]


def test_five_hundred_items_keep_their_order(services: Services) -> None:
    """The largest order's items are listed completely and in order, on pages of any size."""
    client, _ = client_of_new_unit(services)
    items = [new_item(featureSetId=STANDARD.id, quantity=quantity) for quantity in range(1, 501)]
    order_id = client.post("/api/v2/orders", new_order(orderItems=items)).json["id"]

    whole = client.get(f"/api/v2/orders/{order_id}/items?_pageSize=500").json
    part = client.get(f"/api/v2/orders/{order_id}/items?_pageSize=7&_page=72").json

    assert list(range(1, 501)) == [item["quantity"] for item in whole["items"]]
    assert [item["id"] for item in part["items"]] == [498, 499, 500]
    assert part["_pageInfo"]["lastItemOnPage"] == 500
