"""The contract's certificates: what is shown of them, to which companies, and the answer before there are any."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ordering.ecards.certificates import Stock
from ordering.values import replace
from ordering_tools.documents import openapi
from support.aws.fake_connections import Recorder
from support.ecards import COMPANY, HUNDRED, OTHER_COMPANY, Rewards, card, order_id, refused
from support.gateway import Reply
from support.services import Services

GRANTED = ("ecards", "ecard-certificates")
MUSIC = Stock(3, "1 month")


@pytest.fixture
def reader(company: Rewards) -> Rewards:
    """A company with the grant for certificates, and with money and stock."""
    company.top_up(10_000)
    company.load(5)
    company.load(2, MUSIC, "music")
    return Rewards(company.services, replace(COMPANY, grants=GRANTED))


def path(number: int = 1, query: str = "") -> str:
    return f"/v1/orders/{order_id(number)}/certificates{query}"


def hand_over(company: Rewards, count: int, number: int = 1) -> None:
    company.orders.hand_over(company.orders.advance(order_id(number)), count)


def shown(reply: Reply) -> list[tuple[int, str, str, str]]:
    data: list[dict[str, Any]] = reply.json["data"]
    assert all(list(one) == ["cardId", "name", "faceValue", "code"] for one in data)
    return [(one["cardId"], one["name"], one["faceValue"], one["code"]) for one in data]


def test_certificates_that_were_handed_over(reader: Rewards) -> None:
    """A delivered order shows every certificate with its card and face value, in the order of the hand-over."""
    reader.place(1, card(3, "1 month", 2), card(quantity=1))
    hand_over(reader, 3)
    reply = reader.get(path())

    assert (reply.status, list(reply.json)) == (200, ["data", "totalPages", "currentPage", "pageSize"])
    assert [reply.json[name] for name in ("totalPages", "currentPage", "pageSize")] == [1, 1, 100]
    assert shown(reply) == [
        (1, "Bookshop", "100 ₽", "b1-0"),
        (3, "Music", "1 month", "music-0"),
        (3, "Music", "1 month", "music-1"),
    ]


def test_certificates_by_the_schema(reader: Rewards) -> None:
    """The response is valid by the schema in the OpenAPI document."""
    reader.place()
    hand_over(reader, 1)
    schema = {"$ref": "#/components/schemas/EcardCertificateList", "components": openapi.document()["components"]}

    Draft202012Validator(schema).validate(reader.get(path()).json)


def test_no_cache_stores_certificates(reader: Rewards) -> None:
    """Responses with certificates, and errors in their place, must not be stored by any cache."""
    reader.place()
    early = reader.get(path())
    hand_over(reader, 1)

    assert [one.headers["Cache-Control"] for one in (early, reader.get(path()))] == ["no-store"] * 2


def test_partly_handed_over(reader: Rewards) -> None:
    """A partially delivered order shows what was handed over, and nothing that is in transit or still to come."""
    reader.place(1, card(quantity=3))
    hand_over(reader, 1)
    reader.orders.begin_hand_over(reader.orders.order(order_id(1)), 1)

    assert shown(reader.get(path())) == [(1, "Bookshop", "100 ₽", "b1-0")]


@pytest.mark.parametrize("status", ["Payed", "ReadyForDelivery", "Created", "AwaitingCertificateAssignment"])
def test_before_anything_is_handed_over(reader: Rewards, status: str) -> None:
    """Before the first hand-over the response is 409; it names the status and says when to send the request again."""
    wanted = {"Created": 1_000, "AwaitingCertificateAssignment": 6}.get(status, 1)
    reader.place(1, card(quantity=wanted))
    if status not in {"Created", "Payed"}:
        reader.orders.advance(order_id(1))

    assert reader.status() == status
    assert refused(reader.get(path()), 409) == (
        f"No certificate of order {order_id(1)} was handed over yet: it is {status}. Send the request again when its "
        "status is PartiallyDelivered or Delivered."
    )


def test_cancelled_orders(reader: Rewards) -> None:
    """A cancelled order shows what was handed over before; if nothing was, the response is 409 and says so."""
    reader.place(1)
    reader.place(2, card(quantity=2))
    hand_over(reader, 1, 2)
    for number in (1, 2):
        reader.orders.cancel(order_id(number))

    assert refused(reader.get(path(1)), 409) == (
        f"Order {order_id(1)} was cancelled before any of its certificates was handed over."
    )
    assert len(shown(reader.get(path(2)))) == 1


def test_pages_of_certificates(reader: Rewards, recorder: Recorder) -> None:
    """Certificates come 100 on a page, of any number of stocks, with two reads for each page; later pages are empty."""
    reader.top_up(100_000, "t2")
    reader.load(250, HUNDRED, "b2")
    reader.place(1, card(quantity=250), card(3, "1 month", 2))
    hand_over(reader, 252)
    recorder.calls.clear()
    pages = [reader.get(path(1, f"?page={page}")) for page in (1, 2, 3, 4)]

    assert [len(page.json["data"]) for page in pages] == [100, 100, 52, 0]
    assert {page.json["totalPages"] for page in pages} == {3}
    assert len({code for page in pages for *_, code in shown(page)}) == 252
    assert [operation for operation, _ in recorder.calls] == ["GetItem", "BatchGetItem"] * 3 + ["GetItem"]


def test_without_the_grant(company: Rewards) -> None:
    """A company without the grant for certificates gets 403, whether it has such an order or not."""
    company.top_up(100)
    company.place()

    for number in (1, 2):
        assert refused(company.get(path(number)), 403) == (
            "This token does not include the grant for certificates. Ask support for it."
        )


def test_the_grant_is_not_enough(services: Services, reader: Rewards) -> None:
    """The grant for certificates alone gives no access: the one for e-card orders is needed as well."""
    reader.place()
    hand_over(reader, 1)
    other = Rewards(services, replace(COMPANY, grants=("ecard-certificates",)))

    assert "grant for e-card orders" in refused(other.get(path()), 403)


@pytest.mark.parametrize("number", ["1", "not-a-uuid", order_id(9)])
def test_orders_that_do_not_exist(reader: Rewards, number: str) -> None:
    """An id that is malformed or unknown is answered with 404."""
    refused(reader.get(f"/v1/orders/{number}/certificates"), 404)


def test_another_company_s_certificates(services: Services, reader: Rewards) -> None:
    """Another company with the grant gets 404, as for an order that does not exist."""
    reader.place()
    hand_over(reader, 1)
    stranger = Rewards(services, replace(OTHER_COMPANY, grants=GRANTED))

    refused(stranger.get(path()), 404)


def test_codes_are_not_logged(reader: Rewards, caplog: pytest.LogCaptureFixture) -> None:
    """No log line of a request that shows certificates contains a code."""
    reader.place()
    hand_over(reader, 1)
    caplog.set_level("DEBUG")
    reader.get(path())

    assert "b1-0" not in caplog.text + "".join(str(vars(record)) for record in caplog.records)
