"""`ETag` and `If-Match` of deal orders, line items and products: a change replaces only what its caller has read."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.web.preconditions import MOST_TAGS
from support.aws.fake_connections import Recorder
from support.aws.faults import Faulty, answer_lost, interrupted
from support.aws.memory import Memory
from support.deals import ACCOUNT, Crm, Watch, fault, price, services_over
from support.gateway import Reply

ORDER, LINE, PRODUCT = "/v2/orders/1", "/v2/orders/1/line_items/1000001", "/v2/products/1"
CHANGES: dict[str, dict[str, Any]] = {ORDER: {"discount": 5}, PRODUCT: {"name": "Support"}}
EACH_CHANGED = pytest.mark.parametrize("path", CHANGES)
EACH = pytest.mark.parametrize("path", [ORDER, LINE, PRODUCT])
STALE = '"99"'


@pytest.fixture
def stocked(crm: Crm) -> Crm:
    """An account with one of everything."""
    return stock(crm)


def stock(crm: Crm) -> Crm:
    crm.order(12)
    crm.product(prices=[price("10")])
    crm.line(1, 1)
    return crm


def put(crm: Crm, path: str, tag: str | list[str] | None = None, **attributes: Any) -> Reply:
    headers = {} if tag is None else {"If-Match": tag}
    return crm.request("PUT", path, body={"data": attributes or CHANGES[path]}, headers=headers)


def delete(crm: Crm, path: str, tag: str | list[str]) -> Reply:
    return crm.request("DELETE", path, headers={"If-Match": tag})


def tag_of(crm: Crm, path: str) -> str:
    tag: str = crm.get(path).headers["ETag"]
    return tag


def kind_of(path: str) -> str:
    return {ORDER: "order", LINE: "line_item", PRODUCT: "product"}[path]


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        ("/v2/orders", {"deal_id": 99}),
        ("/v2/products", {"name": "x"}),
        ("/v2/orders/1/line_items", {"product_id": 1, "currency": "EUR"}),
    ],
)
@pytest.mark.parametrize("key", [None, "key"])
def test_tag_of_a_create(stocked: Crm, path: str, attributes: dict[str, Any], key: str | None) -> None:
    """The response to a create, and its replay, have the strong tag that a read of the new resource has."""
    headers = {} if key is None else {"Idempotency-Key": key}
    created = [stocked.post(path, {"data": attributes}, headers=headers) for _ in range(1 if key is None else 2)]
    tag = tag_of(stocked, f"{path}/{created[0].json['data']['id']}")

    assert {reply.headers["ETag"] for reply in created} == {tag}
    assert tag.startswith('"')


@EACH_CHANGED
def test_a_change_of_what_was_read(stocked: Crm, path: str) -> None:
    """A change that names the current tag takes effect, and its response has the tag of the next one."""
    tags = [tag_of(stocked, path)]
    for _ in range(3):
        reply = put(stocked, path, tags[-1])
        assert reply.status == 200
        assert reply.headers["ETag"] == tag_of(stocked, path)
        tags.append(reply.headers["ETag"])

    assert len({*tags}) == 4


@EACH_CHANGED
def test_a_change_of_what_has_changed(stocked: Crm, path: str) -> None:
    """Of two changes with one tag the second is 412, says what to do, and changes nothing."""
    tag = tag_of(stocked, path)
    first = put(stocked, path, tag)
    second = put(stocked, path, tag)
    (error,) = second.json["errors"]

    assert first.status == 200
    assert fault(second, 412) == ("precondition_failed",)
    assert error["error"]["resource"] == kind_of(path)
    assert "Read it again" in error["error"]["details"]
    assert "ETag" not in second.headers
    assert stocked.get(path).text == first.text


@EACH_CHANGED
def test_two_changes_at_once(watch: Watch, path: str) -> None:
    """Of two changes that have both read one tag, and arrive at the same time, exactly one takes effect."""
    faulty = Faulty(Memory())
    crm, other = Crm(services_over(faulty, watch), ACCOUNT), Crm(services_over(faulty, watch), ACCOUNT)
    tag = tag_of(stock(crm), path)
    replies: list[Reply] = []
    faulty.meet("UpdateItem", interrupted(lambda: replies.append(put(other, path, tag))))
    replies.append(put(crm, path, tag))

    assert [reply.status for reply in replies] == [200, 412]
    assert crm.get(path).text == replies[0].text


@EACH_CHANGED
def test_a_change_whose_response_from_the_table_is_lost(watch: Watch, path: str) -> None:
    """A change that took effect is 200 if only the table's response was lost: its own retry does not refuse it."""
    faulty = Faulty(Memory())
    crm = Crm(services_over(faulty, watch), ACCOUNT)
    tag = tag_of(stock(crm), path)
    faulty.meet("UpdateItem", answer_lost)
    reply = put(crm, path, tag)

    assert reply.status == 200
    assert (reply.text, reply.headers["ETag"]) == (crm.get(path).text, tag_of(crm, path))


@EACH
@pytest.mark.parametrize("named", ["{tag}", '"x", {tag}', ["{tag}", '"x"'], "*", " * ", 'W/"x" , {tag}'])
def test_named(stocked: Crm, path: str, named: str | list[str]) -> None:
    """The tag may be one of a list, on several lines; `*` names every one."""
    tag = tag_of(stocked, path)
    sent = [line.format(tag=tag) for line in named] if isinstance(named, list) else named.format(tag=tag)

    assert path == LINE or put(stocked, path, sent).status == 200
    if isinstance(sent, str) and "*" in sent:
        assert delete(stocked, path, sent).status == 204


@EACH
@pytest.mark.parametrize(
    "named", ["W/{tag}", STALE, '""', '"*"', '"x", W/{tag}', '"0"', '"01"', '"1.0"', f'"{10**30}"']
)
def test_not_named(stocked: Crm, path: str, named: str) -> None:
    """A weak tag, and the tag of something else, name no version, so changes and deletes are 412."""
    before = stocked.get(path)
    sent = named.format(tag=before.headers["ETag"])
    replies = [delete(stocked, path, sent), *([] if path == LINE else [put(stocked, path, sent)])]

    assert {fault(reply, 412) for reply in replies} == {("precondition_failed",)}
    assert stocked.get(path) == before


@EACH
@pytest.mark.parametrize("sent", ["", "1", '"1', '"1" "2"', '"1", *', "*, *", 'w/"1"'])
def test_malformed(stocked: Crm, recorder: Recorder, path: str, sent: str) -> None:
    """A field that breaks the grammar is 400 `invalid_header`, and nothing is read or changed."""
    recorder.calls.clear()
    replies = [delete(stocked, path, sent), *([] if path == LINE else [put(stocked, path, sent)])]

    assert {fault(reply, 400) for reply in replies} == {("invalid_header",)}
    assert "'If-Match'" in replies[0].text
    assert recorder.calls == []


def test_many_tags(stocked: Crm) -> None:
    """A field may name 50 tags and no more, as each is a comparison in the write's condition."""
    tag, others = tag_of(stocked, ORDER), [f'"{number}"' for number in range(100, 100 + MOST_TAGS)]

    assert put(stocked, ORDER, ", ".join([tag, *others[1:]])).status == 200
    assert fault(put(stocked, ORDER, ", ".join([tag, *others])), 400) == ("invalid_header",)


@EACH
def test_without_the_field(stocked: Crm, path: str) -> None:
    """Without the field the last change wins, and each has its own tag."""
    if path != LINE:
        tags = [put(stocked, path).headers["ETag"] for _ in range(2)]
        assert len({*tags}) == 2
    assert stocked.delete(path).status == 204


@EACH
def test_a_delete_of_what_was_read(stocked: Crm, path: str) -> None:
    """A delete that names the current tag takes effect."""
    assert delete(stocked, path, tag_of(stocked, path)).status == 204
    assert fault(stocked.get(path), 404) == ("not_found",)


@EACH_CHANGED
def test_a_delete_of_what_has_changed(stocked: Crm, path: str) -> None:
    """A delete that names an earlier tag is 412 and deletes nothing."""
    tag = tag_of(stocked, path)
    put(stocked, path)
    before = stocked.get(path)

    assert fault(delete(stocked, path, tag), 412) == ("precondition_failed",)
    assert stocked.get(path) == before


@EACH_CHANGED
def test_a_delete_and_a_change_at_once(watch: Watch, path: str) -> None:
    """A delete during which another caller changes the resource is 412, and the change stays."""
    faulty = Faulty(Memory())
    crm, other = Crm(services_over(faulty, watch), ACCOUNT), Crm(services_over(faulty, watch), ACCOUNT)
    tag = tag_of(stock(crm), path)
    crm.get(path.rpartition("/")[0])  # the book is settled, so the removal is one transaction
    replies: list[Reply] = []
    faulty.meet("TransactWriteItems", interrupted(lambda: replies.append(put(other, path, tag))))
    reply = delete(crm, path, tag)

    assert [one.status for one in replies] == [200]
    assert fault(reply, 412) == ("precondition_failed",)
    assert crm.get(path).text == replies[0].text


@EACH_CHANGED
def test_a_delete_whose_response_from_the_table_is_lost(watch: Watch, path: str) -> None:
    """A delete that took effect is 204 if only the table's response was lost."""
    faulty = Faulty(Memory())
    crm = Crm(services_over(faulty, watch), ACCOUNT)
    tag = tag_of(stock(crm), path)
    watch.pass_(60)
    faulty.meet("TransactWriteItems", answer_lost)

    assert delete(crm, path, tag).status == 204
    assert fault(crm.get(path), 404) == ("not_found",)


@pytest.mark.parametrize("tag", [STALE, "*"])
def test_nothing_there(stocked: Crm, tag: str) -> None:
    """What does not exist is 404, whatever tag is named (RFC 9110, 13.2.1)."""
    paths = ["/v2/orders/9", "/v2/products/9"]
    replies = [put(stocked, path, tag, name="x") if "products" in path else put(stocked, path, tag, discount=1)
               for path in paths]  # fmt: skip
    replies += [delete(stocked, path, tag) for path in [*paths, "/v2/orders/1/line_items/1000009"]]

    assert {fault(reply, 404) for reply in replies} == {("not_found",)}


def test_line_items_do_not_change_the_order(stocked: Crm) -> None:
    """An order's tag is about the order alone: line items that come and go leave it as it is."""
    tag = tag_of(stocked, ORDER)
    stocked.line(1, 1)
    stocked.delete(LINE)

    assert tag_of(stocked, ORDER) == tag


@EACH_CHANGED
@pytest.mark.parametrize("named", [None, "{tag}", STALE])
def test_calls_of_a_change(stocked: Crm, recorder: Recorder, path: str, named: str | None) -> None:
    """A change is one call to DynamoDB, whether it names a tag or not, and whether it is refused or not."""
    tag = tag_of(stocked, path)
    recorder.calls.clear()
    put(stocked, path, named and named.format(tag=tag))

    assert [call for call, _ in recorder.calls] == ["UpdateItem"]


@pytest.mark.parametrize("path", [ORDER, LINE, PRODUCT, "/v2/orders", "/v2/orders/1/line_items", "/v2/products"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_copy(stocked: Crm, path: str, method: str) -> None:
    """A read that names the response's tag is 304 without a body, until the resource changes."""
    first = stocked.get(path)
    again = stocked.request(method, path, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])
    if path in CHANGES:
        put(stocked, path)
        changed = stocked.request("GET", path, headers={"If-None-Match": first.headers["ETag"]})
        assert (changed.status, changed.text) == (200, stocked.get(path).text)
