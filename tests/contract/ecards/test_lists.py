"""The list of orders: pages of twenty, newest first, and their parameters."""

from __future__ import annotations

import pytest

from ordering.values import replace
from support.deals import Watch
from support.ecards import ORDER_FIELDS, Rewards, invalid, order_id


@pytest.fixture
def full(company: Rewards, watch: Watch) -> Rewards:
    """A company with 41 orders, a second apart."""
    for number in range(1, 42):
        watch.pass_(1)
        company.place(number)
    return company


def test_no_orders(company: Rewards) -> None:
    """Before the first order the list is empty and has no pages."""
    assert company.get("/v1/orders").text == '{"data":[],"totalPages":0,"currentPage":1,"pageSize":20}'


def test_pages(full: Rewards) -> None:
    """Each page has twenty orders, newest first, and all pages together have each order once."""
    pages = [full.read(f"/v1/orders?page={page}") for page in (1, 2, 3)]

    shown = [one["number"] for page in pages for one in page["data"]]
    assert [len(page["data"]) for page in pages] == [20, 20, 1]
    assert shown == list(range(41, 0, -1))
    assert [(page["totalPages"], page["currentPage"], page["pageSize"]) for page in pages] == [
        (3, 1, 20), (3, 2, 20), (3, 3, 20),
    ]  # fmt: skip


def test_dates_descend(full: Rewards) -> None:
    """Dates descend through the list."""
    dates = [one["createdDate"] for one in full.read("/v1/orders")["data"]]

    assert sorted(dates, reverse=True) == dates
    assert len(set(dates)) == 20


def test_the_first_page_by_default(full: Rewards) -> None:
    """Without a page the first one is returned."""
    assert full.get("/v1/orders").text == full.get("/v1/orders?page=1").text


@pytest.mark.parametrize(
    ("target", "field", "detail"),
    [
        ("/v1/orders?Page=2", "Page", "Unknown parameter 'Page'. Did you mean 'page'?"),
        ("/v1/orders?pageSize=5", "PageSize", "Unknown parameter 'pageSize'. Did you mean 'page'?"),
        ("/v1/orders?status=New", "Status", "Unknown parameter 'status'. This call takes 'page'."),
        ("/v1/ecards?page=1", "Page", "Unknown parameter 'page'. This call takes no query parameters."),
        ("/v1/balance?x", "X", "Unknown parameter 'x'. This call takes no query parameters."),
    ],
)
def test_unknown_parameters(company: Rewards, target: str, field: str, detail: str) -> None:
    """An unknown query parameter is 400, and the error names the nearest known one, or else all of them."""
    assert invalid(company.get(target)) == {field: [detail]}


@pytest.mark.parametrize("page", [4, 5, 1_000_000, 2**31 - 1])
def test_a_page_past_the_end(full: Rewards, page: int) -> None:
    """A page past the end is 200 and empty, with the number of pages."""
    reply = full.read(f"/v1/orders?page={page}")

    assert reply == {"data": [], "totalPages": 3, "currentPage": page, "pageSize": 20}


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (19, 1), (20, 1), (21, 2)])
def test_total_pages(company: Rewards, count: int, pages: int) -> None:
    """The number of pages includes a page that is not full."""
    for number in range(1, count + 1):
        company.place(number)

    assert company.read("/v1/orders")["totalPages"] == pages


@pytest.mark.parametrize(
    "page",
    ["0", "-1", "", "x", "1.0", "1.5", "+1", "%201", "1%20", "01", "1e1", "0x1", "1_0", "%D9%A1", "2147483648", "null"],
)
def test_a_bad_page(full: Rewards, page: str) -> None:
    """A page that is not an integer from 1 is refused as `Page`."""
    errors = invalid(full.get(f"/v1/orders?page={page}"))

    assert list(errors) == ["Page"]
    assert len(errors["Page"]) == 1
    assert errors["Page"][0].startswith("The Page field is invalid. ")


def test_a_page_named_twice(full: Rewards) -> None:
    """A repeated page is refused, with a message for each of its faults."""
    assert [len(invalid(full.get(f"/v1/orders?{query}"))["Page"]) for query in ("page=1&page=2", "page=1&page=0")] == [
        1,
        2,
    ]


def test_shape(company: Rewards) -> None:
    """A listed order has the published fields in the published order, with their types."""
    company.place(7)
    (one,) = company.read("/v1/orders")["data"]

    assert list(one) == ORDER_FIELDS
    assert one == {
        "id": order_id(7),
        "number": 1,
        "createdDate": "2015-07-06T16:32:56.000000",
        "status": "Created",
        "participantLogin": "sss@ss.ss_company",
        "total": 100,
    }


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2020-01-11T16:13:56.814239Z", "2020-01-11T16:13:56.814239"),
        ("2020-01-11T16:13:56Z", "2020-01-11T16:13:56.000000"),
        ("2020-01-11T16:13:56.000001Z", "2020-01-11T16:13:56.000001"),
        ("2020-12-31T23:59:59.500000Z", "2020-12-31T23:59:59.500000"),
    ],
)
def test_created_date(company: Rewards, watch: Watch, at: str, shown: str) -> None:
    """A date is UTC with six decimals and no zone, in the list, in details and in the answer to a create."""
    watch.set(at)
    created = company.place()
    (listed,) = company.read("/v1/orders")["data"]
    details = company.read(f"/v1/orders/{order_id(1)}")

    assert [one["createdDate"] for one in (created, listed, details)] == [shown] * 3


def test_numbers_of_companies_are_separate(company: Rewards, stranger: Rewards) -> None:
    """Each company's numbers rise by one, and two companies may use the same order id."""
    numbers = [one.place(number)["number"] for number in (1, 2, 3) for one in (company, stranger)]

    assert numbers == [1, 1, 2, 2, 3, 3]
    assert [one["id"] for one in stranger.read("/v1/orders")["data"]] == [order_id(3), order_id(2), order_id(1)]


def test_a_replay_takes_no_number(company: Rewards) -> None:
    """Refused and duplicate creates use no number."""
    company.place(1)
    company.place(1)
    company.post("/v1/orders", {"orderId": order_id(2)})

    assert [company.place(3)["number"], company.read("/v1/orders")["totalPages"]] == [2, 1]


def test_the_list_is_of_one_company(company: Rewards, stranger: Rewards) -> None:
    """A company's list and page counts do not include another's orders."""
    for number in range(1, 22):
        company.place(number)

    assert stranger.read("/v1/orders") == {"data": [], "totalPages": 0, "currentPage": 1, "pageSize": 20}


def test_users_share_the_list(company: Rewards) -> None:
    """Users of one company see the same orders."""
    company.place()
    colleague = replace(company.caller, user=replace(company.caller.user, id="another"))

    assert Rewards(company.services, colleague).get("/v1/orders").text == company.get("/v1/orders").text


def test_pages_hold_while_orders_come(company: Rewards) -> None:
    """Orders on a page move down by the number of new orders, and none is lost."""
    for number in range(1, 26):
        company.place(number)
    before = company.read("/v1/orders?page=2")["data"]
    for number in range(26, 31):
        company.place(number)
    after = company.read("/v1/orders?page=2")["data"]

    assert [one["number"] for one in before] == [5, 4, 3, 2, 1]
    assert [one["number"] for one in after] == list(range(10, 0, -1))
