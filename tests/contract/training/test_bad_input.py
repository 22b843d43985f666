"""Invalid input: each kind has its own refusal, changes nothing and is never a 500."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.aws.fake_connections import Recorder
from support.gateway import Client, LambdaContext, Reply, _reply, load
from support.orders import new_item, new_order, target
from support.partners import CALLER, FOREIGN_ONLY, UK
from support.services import Services

GOOD = json.dumps(new_order())
QUANTITY = "/orderItems/0/quantity"
LIMIT = 6 * 1024 * 1024
"""The largest answer of a function in bytes, as Lambda counts them."""

FEW = settings(
    max_examples=80,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def item(raw: str) -> str:
    """A good body with the given raw text in place of its first item's quantity."""
    return GOOD.replace('"quantity": 1', raw)


def assert_untouched(watched: Recorder, reply: Reply, status: int) -> None:
    assert status == reply.status
    assert watched.writes == []


BODIES: dict[str, tuple[str, tuple[str, str]]] = {
    "empty": ("", ("", "required")),
    "blank": (" \r\n", ("", "malformed_json")),
    "text": ("order", ("", "malformed_json")),
    "cut off": (GOOD[:-1], ("", "malformed_json")),
    "trailing": (GOOD + "x", ("", "malformed_json")),
    "two documents": (GOOD + GOOD, ("", "malformed_json")),
    "trailing comma": (GOOD[:-1] + ",}", ("", "malformed_json")),
    "comment": ("/* */" + GOOD, ("", "malformed_json")),
    "single quotes": (GOOD.replace('"', "'"), ("", "malformed_json")),
    "byte order mark": ("\ufeff" + GOOD, ("", "malformed_json")),
    "form": ("purchaseOrderReference=1", ("", "malformed_json")),
    "XML": ("<order/>", ("", "malformed_json")),
    "null": ("null", ("", "invalid_type")),
    "number": ("1", ("", "invalid_type")),
    "string": ('"order"', ("", "invalid_type")),
    "list": (f"[{GOOD}]", ("", "invalid_type")),
    "true": ("true", ("", "invalid_type")),
    "10^400": (item(f'"quantity": 1{"0" * 400}'), (QUANTITY, "out_of_range")),
    "-10^400": (item(f'"quantity": -1{"0" * 400}'), (QUANTITY, "out_of_range")),
    "10^5000": (item(f'"quantity": 1{"0" * 5000}'), ("", "malformed_json")),
    "2^63": (item(f'"quantity": {2**63}'), (QUANTITY, "out_of_range")),
    "1e400": (item('"quantity": 1e400'), (QUANTITY, "invalid_type")),
    "1e-2": (item('"quantity": 1e-2'), (QUANTITY, "invalid_type")),
    "1e20": (item('"quantity": 1e20'), (QUANTITY, "out_of_range")),
    "leading zero": (item('"quantity": 01'), ("", "malformed_json")),
    "plus sign": (item('"quantity": +1'), ("", "malformed_json")),
    "hexadecimal": (item('"quantity": 0x1'), ("", "malformed_json")),
    "lone surrogate, escaped": (
        json.dumps(new_order(purchaseOrderReference="\ud800")),
        ("", "malformed_json"),
    ),
    "lone surrogate, raw": (GOOD.replace("PO-1", "\ud800"), ("", "malformed_json")),
    "lone surrogate in a name": (json.dumps(new_order(**{"\udfff": 1})), ("", "malformed_json")),
    "raw line break in text": (GOOD.replace("PO-1", "PO\n1"), ("", "malformed_json")),
    "bad escape": (GOOD.replace("PO-1", "\\x41"), ("", "malformed_json")),
    "deeply nested list": ("[" * 100_000 + "]" * 100_000, ("", "malformed_json")),
    "deeply nested object": ('{"a":' * 100_000 + "1" + "}" * 100_000, ("", "malformed_json")),
    "deeply nested in a field": (item('"quantity": ' + "[" * 5_000 + "]" * 5_000), ("", "malformed_json")),
}


@pytest.mark.parametrize(("body", "fault"), BODIES.values(), ids=BODIES.keys())
def test_bodies(client: Client, watched: Recorder, body: str, fault: tuple[str, str]) -> None:
    """A body that is malformed or of the wrong type is reported at its place."""
    reply = client.post(target("orders"), body)

    assert_untouched(watched, reply, 400)
    assert [fault] == reply.faults


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have(client: Client, watched: Recorder, constant: str) -> None:
    """NaN and the infinities are refused."""
    reply = client.post(target("orders"), item(f'"quantity": {constant}'))

    assert_untouched(watched, reply, 400)
    ((pointer, code),) = reply.faults
    assert (pointer, code) in {("", "malformed_json"), (QUANTITY, "invalid_type")}


@pytest.mark.parametrize("character", ["\x00", "\x01", "\t", "\n", "\r", "\x1b", "\x7f", "\x80", "\x9f"], ids=ascii)
@pytest.mark.parametrize(
    "field", ["purchaseOrderReference", "sourceReference", "feedbackLinkText", "achievementCode", "feedbackLinkUri"]
)
def test_control_characters(client: Client, watched: Recorder, field: str, character: str) -> None:
    """A text with a control character is refused."""
    value = f"https://example.com/{character}"
    if field == "purchaseOrderReference":
        body, place = new_order(purchaseOrderReference=value), f"/{field}"
    else:
        body, place = new_order(orderItems=[new_item(**{field: value})]), f"/orderItems/0/{field}"

    reply = client.post(target("orders"), body)

    assert_untouched(watched, reply, 400)
    assert [(place, "control_character")] == reply.faults


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "json",
        "text/json",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/xml",
        "application/json,",
    ],
)
def test_content_types_refused(client: Client, watched: Recorder, content_type: str) -> None:
    """A body whose content type is not JSON in UTF-8 is 415."""
    assert_untouched(watched, client.post(target("orders"), GOOD, headers={"Content-Type": content_type}), 415)


def test_content_type_absent(client: Client, watched: Recorder) -> None:
    """A body without a content type is 415."""
    event = client.event("POST", "/api/v2/orders", f"businessUnitId={UK.id}", {}, GOOD, base64=False)
    event["resource"] = "/api/v2/orders"

    assert_untouched(watched, client_answer(client, event), 415)


def test_content_type_in_several_lines(client: Client, watched: Recorder) -> None:
    """Lines of `Content-Type` that differ are 400; equal ones are one value."""
    other = client.post(target("orders"), GOOD, headers={"Content-Type": ["application/json", "text/plain"]})

    assert_untouched(watched, other, 400)
    assert other.faults == [("Content-Type", "repeated")]
    assert client.post(target("orders"), GOOD, headers={"Content-Type": ["application/json"] * 2}).status == 201


def test_percent_encoded_path(client: Client) -> None:
    """A percent-encoded unreserved character of a path is the character."""
    created = client.post(target("orders"), GOOD).json
    encoded = "".join(f"%{ord(digit):x}" for digit in str(created["id"]))

    one = client.get(target(f"orders/{encoded}"))

    assert (one.status, one.json["id"]) == (200, created["id"])


def client_answer(client: Client, event: dict[str, Any]) -> Reply:
    app = load("training/orders")
    app.services = client.services
    return _reply(app.handle(event, LambdaContext()))  # type: ignore[arg-type] # all that is used of it


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/merge-patch+json",
        "application/json; profile=x",
        'application/json;a="b;c"; charset=us-ascii',
    ],
)
def test_content_types_accepted(client: Client, content_type: str) -> None:
    """The content type may have any case, name its character set and be a subtype of JSON."""
    assert client.post(target("orders"), GOOD, headers={"content-type": content_type}).status == 201


def test_no_body(client: Client, watched: Recorder) -> None:
    """A create without a body is reported as lacking it."""
    reply = client.request("POST", target("orders"))

    assert_untouched(watched, reply, 400)
    assert reply.faults == [("", "required")]


def test_base64_body(client: Client) -> None:
    """A body that the gateway passes on in base64 is decoded."""
    body = base64.b64encode(json.dumps(new_order(purchaseOrderReference="ü"), ensure_ascii=False).encode()).decode()

    reply = client.post(target("orders"), body, base64=True)

    assert (reply.status, reply.json["purchasingOrderReference"]) == (201, "ü")


@pytest.mark.parametrize(
    "body",
    ["***", "abc", base64.b64encode(b"\xff\xfe").decode(), base64.b64encode(GOOD.encode("utf-16")).decode(), "ü"],
    ids=["no base64", "cut off", "no UTF-8", "UTF-16", "no ASCII"],
)
def test_base64_garbage(client: Client, watched: Recorder, body: str) -> None:
    """Malformed base64, and base64 of anything but JSON in UTF-8, is malformed."""
    reply = client.post(target("orders"), body, base64=True)

    assert_untouched(watched, reply, 400)
    assert reply.faults == [("", "malformed_json")]


def test_no_utf8_inside_text(client: Client, watched: Recorder) -> None:
    """A body with invalid UTF-8 inside a text is malformed."""
    body = base64.b64encode(GOOD.encode().replace(b"PO-1", b"\xc3\x28")).decode()

    reply = client.post(target("orders"), body, base64=True)

    assert_untouched(watched, reply, 400)
    assert reply.faults == [("", "malformed_json")]


@pytest.mark.parametrize("size", [2**20 + 1, 2**20 + 10_000, 5 * 2**20])
@pytest.mark.parametrize("as_base64", [False, True], ids=["plain", "base64"])
def test_too_large(client: Client, watched: Recorder, size: int, *, as_base64: bool) -> None:
    """A body of more than 1 MiB is 413, counted in bytes as the caller sent it."""
    body = GOOD + " " * (size - len(GOOD))
    sent = base64.b64encode(body.encode()).decode() if as_base64 else body

    assert_untouched(watched, client.post(target("orders"), sent, base64=as_base64), 413)


def test_as_large_as_may_be(client: Client) -> None:
    """A body of exactly 1 MiB is accepted."""
    assert client.post(target("orders"), GOOD + " " * (2**20 - len(GOOD))).status == 201


def test_size_is_counted_in_bytes(client: Client, watched: Recorder) -> None:
    """The size limit counts bytes rather than characters."""
    body = json.dumps(new_order(purchaseOrderReference="€" * 400_000), ensure_ascii=False)

    assert_untouched(watched, client.post(target("orders"), body), 413)


@pytest.mark.parametrize("filler", ['"', "\\", "~", "/", "é", "\u0001", "x"], ids=ascii)
@pytest.mark.parametrize("length", [1, 900], ids=["short names", "long names"])
def test_many_faults_still_fit_an_answer(client: Client, watched: Recorder, filler: str, length: int) -> None:
    """The answer to any number of unknown fields fits Lambda's limit of 6 MB."""
    one = len(json.dumps({"12345678" + filler * length: 0}, ensure_ascii=False).encode())
    fields = {f"{number:08}" + filler * length: 0 for number in range((2**20 - 200) // one)}
    body = json.dumps({**new_order(), **fields}, ensure_ascii=False)

    reply = client.post(target("orders"), body)

    assert_untouched(watched, reply, 400)
    assert 0 < len(reply.json["errors"]) <= 1_000
    assert len(json.dumps({"body": reply.text}, ensure_ascii=False).encode()) < LIMIT
    assert f"{len(fields):,}" in reply.json["detail"] or len(fields) <= 1_000


def test_one_name_of_a_mebibyte(client: Client, watched: Recorder) -> None:
    """The answer to a single field name as long as a body fits Lambda's limit."""
    body = json.dumps({'"' * (2**19 - 100): 1})

    reply = client.post(target("orders"), body)

    assert_untouched(watched, reply, 400)
    assert len(json.dumps({"body": reply.text}, ensure_ascii=False).encode()) < LIMIT


def test_faults_in_all_500_items(client: Client, watched: Recorder) -> None:
    """Faults in 500 items are reported one by one."""
    reply = client.post(target("orders"), new_order(orderItems=[new_item(quantity=0)] * 500))

    assert_untouched(watched, reply, 400)
    assert [(f"/orderItems/{index}/quantity", "out_of_range") for index in range(500)] == reply.faults


def test_duplicated_names_the_last_counts(client: Client, watched: Recorder) -> None:
    """Of a duplicate name in JSON the last value is both validated and stored."""
    refused = client.post(target("orders"), item('"quantity": 1, "quantity": 0'))
    assert_untouched(watched, refused, 400)
    assert refused.faults == [(QUANTITY, "out_of_range")]

    accepted = client.post(target("orders"), item('"quantity": 0, "quantity": 3'))
    items = client.get(target(f"orders/{accepted.json['id']}/items")).json["items"]

    assert [one["quantity"] for one in items] == [3]


@pytest.mark.parametrize(
    ("path", "query", "faults"),
    [
        ("orders", "_page=1&_page=2", [("_page", "repeated")]),
        ("orders", "_page=1&_page=1", [("_page", "repeated")]),
        ("orders", "_page=0&_page=2&_pageSize=x", [("_page", "repeated"), ("_pageSize", "invalid_type")]),
        ("orders", f"businessUnitId={UK.id}&businessUnitId={UK.id}", [("businessUnitId", "repeated")]),
        ("products/x", f"businessUnitId={UK.id}&businessUnitId={UK.id}", [("businessUnitId", "repeated")]),
        ("orders", "businessUnitId[]=1", [("businessUnitId[]", "unknown_parameter")]),
        ("orders", f"businessunitid={UK.id}", [("businessunitid", "unknown_parameter")]),
        ("orders", "businessUnitId=%00", [("businessUnitId", "invalid_format")]),
    ],
)
def test_queries(client: Client, path: str, query: str, faults: list[tuple[str, str]]) -> None:
    """A query parameter that is repeated, misspelt or malformed is refused."""
    unit = "" if "businessunitid" in query.lower() else f"&businessUnitId={UK.id}"

    reply = client.get(f"/api/v2/{path}?{query}{unit}")

    assert (400, sorted(faults)) == (reply.status, sorted(reply.faults))


def test_repeated_unit_creates_nothing(client: Client, watched: Recorder) -> None:
    """A create with a repeated business unit is refused, and nothing is written."""
    reply = client.post(f"/api/v2/orders?businessUnitId={UK.id}&businessUnitId={UK.id}", new_order())

    assert_untouched(watched, reply, 400)
    assert reply.faults == [("businessUnitId", "repeated")]


def test_reads_do_not_look_at_a_body(client: Client) -> None:
    """The body of a read is ignored."""
    assert client.request("GET", target("orders"), body="{", headers={"Content-Type": "text/plain"}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "orders?pageSize=2", "Did you mean '_pageSize'?"),
        ("GET", "orders?page=3", "Did you mean '_page'?"),
        ("GET", "orders?_PageSize=2", "Did you mean '_pageSize'?"),
        ("GET", "orders?business_unit_id=x", "Did you mean 'businessUnitId'?"),
        ("GET", "orders/1/items?sort=id", "This call takes 'businessUnitId', '_page', '_pageSize'."),
        ("GET", "orders/1?_page=1", "This call takes 'businessUnitId'."),
        ("GET", "products?=1", "This call takes 'businessUnitId', '_page', '_pageSize'."),
        ("HEAD", "products?_size=1", None),
        ("POST", "orders?dryRun=true", "This call takes 'businessUnitId'."),
    ],
)
def test_unknown_parameters(client: Client, watched: Recorder, method: str, path: str, known: str | None) -> None:
    """An unknown query parameter is 400, and the error names the nearest known one, or else all of them."""
    path, _, query = path.partition("?")
    reply = client.request(method, f"{target(path)}&{query}", body=new_order() if method == "POST" else None)

    assert_untouched(watched, reply, 400)
    if known:
        name = query.partition("=")[0]
        assert reply.faults == [(name, "unknown_parameter")]
        assert reply.json["errors"][0]["detail"] == f"Unknown parameter '{name}'. {known}"


def test_unknown_parameters_beside_others(client: Client) -> None:
    """Unknown parameters are reported with the other faults of the query, each by name."""
    reply = client.get(f"{target('orders')}&_page=0&_pageSize=1&_pageSize=2&foo=1&bar=2")

    assert reply.faults == [
        ("_pageSize", "repeated"),
        ("_page", "out_of_range"),
        ("foo", "unknown_parameter"),
        ("bar", "unknown_parameter"),
    ]


def test_very_long_names(client: Client) -> None:
    """The error of an unknown parameter with a very long name shows the beginning of the name."""
    reply = client.get(f"{target('orders')}&{'x' * 7_000}=1")

    assert reply.status == 400
    assert reply.json["errors"][0]["detail"].startswith(f"Unknown parameter '{'x' * 64}…'. This call takes ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
OPTIONAL = ("sourceReference", "feedbackLinkUri", "feedbackLinkText", "enableFeedbackLink", "achievementCode")
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "featureSetId": st.sampled_from([new_item()["featureSetId"], FOREIGN_ONLY.id, "x"]) | JSON,
        "quantity": st.sampled_from([1, 10_000, 0]) | JSON,
        **dict.fromkeys(OPTIONAL, JSON),
    },
)
ORDER = st.fixed_dictionaries(
    {},
    optional={
        "purchaseOrderReference": st.just("PO-1") | JSON,
        "emailKeys": st.booleans() | JSON,
        "contactEmail": st.just("a@example.com") | JSON,
        "orderItems": st.lists(ITEM | JSON, max_size=3) | JSON,
        "other": JSON,
    },
)


@FEW
@given(body=ORDER | JSON, ensure_ascii=st.booleans())
def test_any_json(services: Services, body: Any, *, ensure_ascii: bool) -> None:
    """Any JSON as an order is created or refused, and never a 500."""
    reply = Client(services, CALLER).post(target("orders"), json.dumps(body, ensure_ascii=ensure_ascii))

    assert reply.status in {201, 400}
    assert reply.status == 201 or reply.json["errors"]


@FEW
@given(body=st.text(max_size=60) | st.binary(max_size=60), as_base64=st.booleans())
def test_any_text(services: Services, body: str | bytes, *, as_base64: bool) -> None:
    """Random text or bytes as an order are refused, and never a 500."""
    if isinstance(body, bytes):
        body, as_base64 = base64.b64encode(body).decode(), True

    reply = Client(services, CALLER).post(target("orders"), body, base64=as_base64)

    assert reply.status == 400


@FEW
@given(
    path=st.sampled_from(["products", "orders", "orders/1/items", "products/x/feature_sets", "orders/1"]),
    query=st.lists(
        st.tuples(
            st.sampled_from(["businessUnitId", "_page", "_pageSize"]) | st.text(max_size=5),
            st.sampled_from([UK.id, "1", "2", "500", ""]) | st.integers().map(str) | st.text(max_size=12),
        ),
        max_size=5,
    ),
)
def test_any_query(services: Services, path: str, query: list[tuple[str, str]]) -> None:
    """Any query of a read is accepted or refused, and never a 500."""
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)

    reply = Client(services, CALLER).get(f"/api/v2/{path}?{text}")

    assert reply.status in {200, 400, 404}
    json.loads(reply.text)


@FEW
@given(segment=st.text(st.characters(exclude_characters="?#/", exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_any_id(services: Services, segment: str) -> None:
    """Any malformed id is answered with 404."""
    client = Client(services, CALLER)
    query = f"businessUnitId={UK.id}"

    for path in (
        f"orders/x{segment}",
        f"orders/x{segment}/items",
        f"products/{segment}",
        f"products/{segment}/feature_sets",
    ):
        assert client.get(f"/api/v2/{path}?{query}").status == 404
