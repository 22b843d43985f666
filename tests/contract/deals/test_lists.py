"""The contract's lists of orders, line items and products: pages, links, filters and sorting."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ordering.book import sorted_lists
from support.aws.fake_connections import Recorder
from support.deals import ACCOUNT, HOST, ORIGIN, Crm, Watch, fault, faults, price
from support.services import Services

LISTS = {"order": "/v2/orders", "line_item": "/v2/orders/1/line_items", "product": "/v2/products"}
EACH_LIST = pytest.mark.parametrize("path", LISTS.values(), ids=LISTS.keys())


@pytest.fixture
def stocked(crm: Crm) -> Crm:
    """An account with five orders, five line items on the first, and five products."""
    for number in range(1, 6):
        crm.order(100 + number, discount=number % 3)
        crm.product(name=f"P{number % 3}", prices=[price(f"{number}0")])
    for number in (2, 1, 2, 3, 1):
        crm.line(1, number)
    return crm


@pytest.mark.parametrize(("kind", "path"), LISTS.items(), ids=LISTS.keys())
def test_envelope(stocked: Crm, kind: str, path: str) -> None:
    """A list has its items, each as it is read alone, and the number of items on the page."""
    reply = stocked.get(path).json

    assert list(reply) == ["items", "meta"]
    assert {"type": "collection", "count": 5, "links": {"self": f"{ORIGIN}{path}?page=1&per_page=25"}} == reply["meta"]
    assert [{"type": kind}] * 5 == [one["meta"] for one in reply["items"]]
    assert reply["items"] == [stocked.get(f"{path}/{one['data']['id']}").json for one in reply["items"]]


@EACH_LIST
def test_order_of_members(stocked: Crm, path: str) -> None:
    """As in the reference, an item of a list ends with `created_at`, `updated_at`, a single answer the other way."""
    listed = stocked.get(path).json["items"][0]["data"]
    alone = stocked.get(f"{path}/{listed['id']}").json["data"]

    assert list(listed)[-2:] == ["created_at", "updated_at"]
    assert list(alone) == [*list(listed)[:-2], "updated_at", "created_at"]


@EACH_LIST
def test_empty(crm: Crm, path: str) -> None:
    """An empty list is a page without items."""
    crm.order(1)
    reply = crm.get("/v2/orders?deal_id=2" if path == "/v2/orders" else path).json

    assert (reply["items"], reply["meta"]["count"], list(reply["meta"]["links"])) == ([], 0, ["self"])


@EACH_LIST
def test_links(stocked: Crm, path: str) -> None:
    """Pages from 2 on have `first_page` and `prev_page`; every page but the last has `next_page`."""
    expected = {
        1: {"self": 1, "next_page": 2},
        2: {"self": 2, "first_page": 1, "prev_page": 1, "next_page": 3},
        3: {"self": 3, "first_page": 1, "prev_page": 2},
        4: {"self": 4, "first_page": 1, "prev_page": 3},
    }
    for page, links in expected.items():
        shown = stocked.get(f"{path}?page={page}&per_page=2").json["meta"]["links"]
        assert {name: f"{ORIGIN}{path}?page={number}&per_page=2" for name, number in links.items()} == shown


@EACH_LIST
def test_a_full_last_page_has_no_next(stocked: Crm, path: str) -> None:
    """A full page at the end of the list has no `next_page`."""
    assert "next_page" not in stocked.get(f"{path}?per_page=5").json["meta"]["links"]


@EACH_LIST
@pytest.mark.parametrize("sort_by", ["id", "id:desc", "created_at", "updated_at:desc"])
def test_past_the_end(stocked: Crm, path: str, sort_by: str) -> None:
    """A page past the end is 200 and empty, in every sort order."""
    for page in (4, 1_000, 2**31 - 1):
        reply = stocked.get(f"{path}?page={page}&per_page=2&sort_by={sort_by}")
        assert (reply.status, reply.json["items"], reply.json["meta"]["count"]) == (200, [], 0)
        assert "next_page" not in reply.json["meta"]["links"]


@EACH_LIST
@pytest.mark.parametrize("sort_by", ["", "&sort_by=id:desc", "&sort_by=created_at", "&sort_by=updated_at:desc"])
def test_links_lead_through_the_whole_list(stocked: Crm, path: str, sort_by: str) -> None:
    """Following `next_page` reads every item once, in order."""
    whole = stocked.ids(f"{path}?per_page=500{sort_by}")

    assert len(whole) == 5
    assert whole == [one["id"] for one in stocked.pages(f"{path}?per_page=2{sort_by}")]


def test_filters_stay_in_the_links(stocked: Crm) -> None:
    """Links keep the page size and all filters of the request."""
    links = stocked.get("/v2/orders?ids=5,1,3,4&per_page=1&sort_by=discount:desc,id&page=2").json["meta"]["links"]

    assert {name: parse_qs(urlsplit(link).query).pop("page")[0] for name, link in links.items()} == {
        "self": "2",
        "first_page": "1",
        "prev_page": "1",
        "next_page": "3",
    }
    for link in links.values():
        query = parse_qs(urlsplit(link).query)
        assert {name: values for name, values in query.items() if name != "page"} == {
            "per_page": ["1"],
            "ids": ["5,1,3,4"],
            "sort_by": ["discount:desc,id"],
        }


def test_deal_id_stays_in_the_links(stocked: Crm) -> None:
    """Links keep the deal id of the request."""
    link = stocked.get("/v2/orders?deal_id=101").json["meta"]["links"]["self"]

    assert link == f"{ORIGIN}/v2/orders?page=1&per_page=25&deal_id=101"


def test_links_under_a_stage(services: Services, stocked: Crm) -> None:
    """If the request's path begins with the stage, so do the links."""
    staged = Crm(services, ACCOUNT, stage="live")

    for path in LISTS.values():
        links = staged.get(f"{path}?page=2&per_page=2").json["meta"]["links"]
        assert {f"{ORIGIN}/live{path}"} == {link.partition("?")[0] for link in links.values()}
        assert len(links) == 4
    assert stocked.ids("/v2/orders?per_page=2&page=2") == staged.ids("/v2/orders?per_page=2&page=2")


def test_links_name_the_host_that_was_called(crm: Crm) -> None:
    """Links have the scheme and host of the request."""
    forwarded = {"Host": "localhost:3000", "X-Forwarded-Proto": "http"}

    assert (
        crm.get("/v2/orders", headers=forwarded).json["meta"]["links"]["self"].startswith("http://localhost:3000/v2/")
    )
    assert crm.get("/v2/orders").json["meta"]["links"]["self"].startswith(f"https://{HOST}/v2/")


def test_page_size(crm: Crm) -> None:
    """A page has 25 items by default and at most 500."""
    for deal_id in range(1, 28):
        crm.order(deal_id)

    assert tuple(
        crm.get(f"/v2/orders{query}").json["meta"]["count"] for query in ("", "?per_page=27", "?per_page=500")
    ) == (25, 27, 27)
    assert crm.ids("/v2/orders?page=2") == [26, 27]


@pytest.mark.parametrize(
    "query",
    [
        "per_page=501",
        "per_page=0",
        "per_page=-1",
        "per_page=",
        "per_page=x",
        "per_page=1.0",
        "per_page=01",
        "per_page=%2B1",
        "per_page=1e2",
        "per_page=99999999999999999999",
        "page=0",
        "page=-1",
        "page=",
        "page=one",
        "page=2147483648",
        "page=1&page=2",
        "ids=",
        "ids=,",
        "ids=1,",
        "ids=1;2",
        "ids=1,x",
        "ids=0",
        "ids=-1",
        "ids=01",
        "ids=1, 2",
        "ids=1&ids=2",
        "ids[]=1",
        f"ids={2**53}",
        "ids=" + ",".join(map(str, range(1, 502))),
        "sort_by=",
        "sort_by=nothing",
        "sort_by=id:",
        "sort_by=id:up",
        "sort_by=id:DESC",
        "sort_by=-id",
        "sort_by=id,",
        "sort_by=id, created_at",
        "sort_by=product_id",
        "sort_by=__class__",
        "sort_by=id&sort_by=id",
        "Page=1",
        "per-page=1",
        "q=x",
        "=",
    ],
)
def test_bad_parameters(crm: Crm, query: str) -> None:
    """A malformed, out-of-range, repeated or unknown parameter is 400 `invalid_param`."""
    for path in LISTS.values():
        assert fault(crm.get(f"{path}?{query}"), 400) == ("invalid_param",)


@pytest.mark.parametrize(
    "query", ["deal_id=", "deal_id=x", "deal_id=0", "deal_id=1,2", "deal_id=1.0", f"deal_id={2**53}"]
)
def test_bad_deals(stocked: Crm, query: str) -> None:
    """An invalid deal id is 400 `invalid_param`."""
    assert fault(stocked.get(f"/v2/orders?{query}"), 400) == ("invalid_param",)


@pytest.mark.parametrize("path", ["/v2/products", "/v2/orders/1/line_items"])
def test_only_orders_are_filtered_by_deal(stocked: Crm, path: str) -> None:
    """Lists other than orders do not accept a deal id."""
    assert fault(stocked.get(f"{path}?deal_id=101"), 400) == ("invalid_param",)


def test_every_bad_parameter_is_reported(stocked: Crm) -> None:
    """All invalid parameters are reported together, each by name."""
    reply = stocked.get("/v2/orders?page=0&per_page=501&foo=1")

    assert faults(reply, 400) == [("invalid_param",)] * 3
    details = [one["error"]["details"] for one in reply.json["errors"]]
    assert all(name in detail for name, detail in zip(("page", "per_page", "foo"), details, strict=True))


def test_unknown_parameters_name_the_nearest(stocked: Crm) -> None:
    """The error of an unknown parameter names the nearest known one, or says that the call takes none."""
    replies = [stocked.get("/v2/products?sku_=1&perPage=2"), stocked.get("/v2/orders/1?fields=id")]

    assert [one["error"]["details"] for reply in replies for one in reply.json["errors"]] == [
        "Unknown parameter 'sku_'. Did you mean 'sku'?",
        "Unknown parameter 'perPage'. Did you mean 'per_page'?",
        "Unknown parameter 'fields'. This call takes no query parameters.",
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/orders"),
        ("GET", "/v2/orders/1"),
        ("PUT", "/v2/orders/1"),
        ("DELETE", "/v2/orders/1"),
        ("POST", "/v2/orders/1/line_items"),
        ("GET", "/v2/orders/1/line_items/1000001"),
        ("DELETE", "/v2/orders/1/line_items/1000001"),
        ("POST", "/v2/products"),
        ("GET", "/v2/products/1"),
        ("PUT", "/v2/products/1"),
        ("DELETE", "/v2/products/1"),
    ],
)
def test_other_calls_take_no_parameters(stocked: Crm, recorder: Recorder, method: str, path: str) -> None:
    """A call other than a list refuses any parameter and has no effect."""
    bodies = {"/v2/orders": {"deal_id": 99}, "/v2/products": {"name": "x"}, "/v2/orders/1": {"discount": 1}}
    body = {"data": bodies.get(path, {})} if method in {"POST", "PUT"} else None
    recorder.calls.clear()

    reply = stocked.request(method, f"{path}?page=1", body=body)

    assert "invalid_param" in [one[0] for one in faults(reply, 400)]
    assert recorder.writes == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ids=1", [1]),
        ("ids=3,1", [1, 3]),
        ("ids=3,1,3", [1, 3]),
        ("ids=9", []),
        ("ids=9,5,2147483648,9007199254740991", [5]),
        ("deal_id=103", [3]),
        ("deal_id=999", []),
        ("deal_id=103&ids=3,4", [3]),
        ("deal_id=103&ids=4", []),
        ("ids=5,4,3&sort_by=id:desc", [5, 4, 3]),
        ("ids=5,4,3&per_page=2&page=2", [5]),
        ("deal_id=103&page=2", []),
        ("deal_id=103&sort_by=discount:desc", [3]),
    ],
)
def test_filters_of_orders(stocked: Crm, query: str, expected: list[int]) -> None:
    """Orders can be filtered by ids, by deal or by both, then sorted and paged."""
    assert stocked.ids(f"/v2/orders?{query}") == expected


def test_500_ids(crm: Crm) -> None:
    """A list can be filtered by 500 ids."""
    for deal_id in range(1, 4):
        crm.order(deal_id)

    assert crm.ids("/v2/orders?per_page=500&ids=" + ",".join(map(str, range(2, 502)))) == [2, 3]


def test_filters_of_others(stocked: Crm) -> None:
    """Line items and products can be filtered by ids; ids of another order's line items match nothing."""
    stocked.line(2, 1)
    of_first, of_second = stocked.ids("/v2/orders/1/line_items"), stocked.ids("/v2/orders/2/line_items")
    asked = ",".join(map(str, [of_first[3], of_second[0], of_first[0], 1]))

    assert [of_first[0], of_first[3]] == stocked.ids(f"/v2/orders/1/line_items?ids={asked}")
    assert stocked.ids("/v2/products?ids=4,2,99") == [2, 4]


PRODUCTS: list[dict[str, Any]] = [
    {"name": "Licence", "sku": "L-1"},
    {"name": "Licence", "sku": "L-2", "active": False},
    {"name": "licence"},
    {"name": "Licence & Support: 100 %", "sku": ""},
    {"name": "Licence", "sku": "L-1", "prices": [price("10")]},
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=Licence", [1, 2, 5]),
        ("name=licence", [3]),
        ("name=Lic", []),
        ("name=", []),
        ("name=Licence+%26+Support%3A+100+%25", [4]),
        ("sku=L-1", [1, 5]),
        ("sku=", [4]),
        ("active=true", [1, 3, 4, 5]),
        ("active=True", [1, 3, 4, 5]),
        ("active=1", [1, 3, 4, 5]),
        ("active=false", [2]),
        ("active=0", [2]),
        ("name=Licence&active=true&sku=L-1", [1, 5]),
        ("name=Licence&ids=2,3,5", [2, 5]),
        ("name=Licence&sort_by=id:desc", [5, 2, 1]),
        ("name=Licence&sort_by=sku:desc,id:desc", [2, 5, 1]),
        ("name=Licence&per_page=2", [1, 2]),
        ("name=Licence&per_page=2&page=2", [5]),
        ("name=Licence&per_page=2&page=3", []),
    ],
)
def test_filters_of_products(crm: Crm, query: str, expected: list[int]) -> None:
    """Products can be filtered by exact name, SKU and whether they are active, then sorted and paged."""
    for product in PRODUCTS:
        crm.product(**product)

    assert crm.ids(f"/v2/products?{query}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("quantity=2", [2, 3]),
        ("quantity=9", []),
        ("value=10", [1, 2]),
        ("value=10.00", [1, 2]),
        ("value=11.5", [3]),
        ("value=11.51", []),
        ("value=10&quantity=2", [2]),
        ("quantity=2&sort_by=value:desc", [3, 2]),
        ("quantity=2&per_page=1&page=2", [3]),
        ("value=10&ids=1000002,1000003", [2]),
    ],
)
def test_filters_of_line_items(crm: Crm, query: str, expected: list[int]) -> None:
    """Line items can be filtered by quantity and by value, whatever its decimals."""
    crm.order(12)
    crm.product(prices=[price("10")])
    for quantity, variation in ((1, 0), (2, 0), (2, 15)):
        crm.line(1, 1, quantity=quantity, variation=variation)

    assert [number - 1_000_000 for number in crm.ids(f"/v2/orders/1/line_items?{query}")] == expected


def test_pages_of_a_filter(crm: Crm, recorder: Recorder) -> None:
    """A filtered list is read once, in its links and pages, while products are added and changed."""
    for number in range(1, 10):
        crm.product(name=f"P{number % 2}")

    first = crm.get("/v2/products?name=P1&per_page=2").json
    crm.product(name="P1")
    crm.put("/v2/products/5", {"data": {"name": "P0"}})
    recorder.calls.clear()
    second = crm.get(first["meta"]["links"]["next_page"].removeprefix(ORIGIN)).json

    assert "name=P1" in first["meta"]["links"]["next_page"]
    assert [one["data"]["id"] for one in first["items"]] == [1, 3]
    assert [one["data"]["id"] for one in second["items"]] == [7]
    assert [call for call, _ in recorder.calls] == ["BatchGetItem", "BatchGetItem"]
    assert [one["id"] for one in crm.pages("/v2/products?name=P1&per_page=2")] == [1, 3, 7, 9, 10]


def test_sequences_of_filters_are_separate(crm: Crm) -> None:
    """Two filters of one list do not disturb each other's pages."""
    for number in range(1, 9):
        crm.product(name=f"P{number % 2}")
    for name in ("P0", "P1"):
        crm.get(f"/v2/products?name={name}&per_page=2")

    assert [crm.ids(f"/v2/products?name={name}&per_page=2&page=2") for name in ("P0", "P1")] == [[6, 8], [5, 7]]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/products", "active="),
        ("/v2/products", "active=yes"),
        ("/v2/products", "name=a&name=b"),
        ("/v2/products", "name=a%00b"),
        ("/v2/products", "description=x"),
        ("/v2/products", "quantity=1"),
        ("/v2/orders", "name=x"),
        ("/v2/orders", "value=1"),
        ("/v2/orders/1/line_items", "name=x"),
        ("/v2/orders/1/line_items", "quantity=0"),
        ("/v2/orders/1/line_items", "quantity=1.0"),
        ("/v2/orders/1/line_items", "value="),
        ("/v2/orders/1/line_items", "value=1e2"),
        ("/v2/orders/1/line_items", "value=1,5"),
        ("/v2/orders/1/line_items", "value=0.1234567"),
    ],
)
def test_bad_filters(stocked: Crm, path: str, query: str) -> None:
    """A filter of another resource, or one with an invalid value, is 400 `invalid_param`."""
    assert fault(stocked.get(f"{path}?{query}"), 400) == ("invalid_param",)


@pytest.mark.parametrize(
    ("path", "sort_by", "expected"),
    [
        ("/v2/orders", "discount", [3, 1, 4, 2, 5]),
        ("/v2/orders", "discount:asc", [3, 1, 4, 2, 5]),
        ("/v2/orders", "discount:desc", [2, 5, 1, 4, 3]),
        ("/v2/orders", "discount,id:desc", [3, 4, 1, 5, 2]),
        ("/v2/orders", "discount:desc,deal_id:desc", [5, 2, 4, 1, 3]),
        ("/v2/orders", "id:desc", [5, 4, 3, 2, 1]),
        ("/v2/orders", "id:desc,discount", [5, 4, 3, 2, 1]),
        ("/v2/orders", "deal_id:desc", [5, 4, 3, 2, 1]),
        ("/v2/products", "name", [3, 1, 4, 2, 5]),
        ("/v2/products", "name:desc,id:desc", [5, 2, 4, 1, 3]),
        ("/v2/products", "prices:desc", [5, 4, 3, 2, 1]),
    ],
)
def test_sorting(stocked: Crm, path: str, sort_by: str, expected: list[int]) -> None:
    """A list can be sorted by several fields, each in either direction, with ties broken by id."""
    assert stocked.ids(f"{path}?sort_by={sort_by}") == expected
    assert [one["id"] for one in stocked.pages(f"{path}?sort_by={sort_by}&per_page=2")] == expected


@EACH_LIST
def test_every_field_sorts(stocked: Crm, path: str) -> None:
    """A list can be sorted by every field of its items."""
    for field in stocked.get(path).json["items"][0]["data"]:
        for direction in ("", ":asc", ":desc"):
            assert stocked.get(f"{path}?sort_by={field}{direction}").json["meta"]["count"] == 5


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/orders", "sort_by=discount"),
        ("/v2/orders/1/line_items", "sort_by=price:desc"),
        ("/v2/orders/1/line_items", "quantity=1"),
        ("/v2/products", "sort_by=name,id"),
        ("/v2/products", "active=true"),
    ],
)
def test_too_many_to_sort(stocked: Crm, monkeypatch: pytest.MonkeyPatch, path: str, query: str) -> None:
    """A list that is too long to be sorted or filtered is 400 `invalid_param`; by id and by ids it can be read."""
    assert len(stocked.ids(f"{path}?{query}")) > 0
    monkeypatch.setattr(sorted_lists, "MOST_SORTED", 4)

    refused = stocked.get(f"{path}?{query}")
    assert fault(refused, 400) == ("invalid_param",)
    assert refused.json["errors"][0]["error"]["details"] == (
        "The list has 5 items, removed ones included. At most 4 can be sorted by another field than id, or filtered by "
        "a field's value. Read the list sorted by id and sort or filter it yourself, or request up to 500 ids."
    )
    ids = stocked.ids(f"{path}?sort_by=id:desc")
    assert len(ids) == 5
    assert len(stocked.ids(f"{path}?{query}&ids={ids[0]},{ids[1]},{ids[2]},{ids[3]},{ids[4]}")) > 0


def test_pages_stay_together(stocked: Crm, watch: Watch) -> None:
    """Changes between two pages of a sorted list neither skip nor repeat orders."""
    page = "/v2/orders?sort_by=discount:desc&per_page=2&page="
    first = stocked.ids(page + "1")
    stocked.order(106, discount=90)
    stocked.put("/v2/orders/3", {"data": {"discount": 95}})
    stocked.delete("/v2/orders/2")
    watch.pass_(30)

    assert (first, stocked.ids(page + "2"), stocked.ids(page + "3")) == ([2, 5], [1, 4], [3])
    assert stocked.ids(page + "1") == [3, 6]


@pytest.mark.parametrize("sort_by", ["id:asc", "id:desc"])
def test_pages_by_id_stay_together_while_orders_are_created(stocked: Crm, sort_by: str) -> None:
    """Orders created between two pages do not move others, when sorted by id either."""
    page = f"/v2/orders?sort_by={sort_by}&per_page=2&page="
    expected = [1, 2, 3, 4] if sort_by == "id:asc" else [5, 4, 3, 2]

    first = stocked.ids(page + "1")
    stocked.order(106)

    assert [*first, *stocked.ids(page + "2")] == expected


def test_head(stocked: Crm) -> None:
    """HEAD of a list has the headers of GET, and no body."""
    reply = stocked.request("HEAD", "/v2/orders?page=2&per_page=2")

    assert (reply.status, reply.text) == (200, "")
    assert reply.headers == stocked.get("/v2/orders?page=2&per_page=2").headers
