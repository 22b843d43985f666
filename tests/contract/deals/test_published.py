"""The examples of the published reference: the same requests get the same answers."""

from __future__ import annotations

import json

from support.deals import JSON, Crm, Watch

LISTED = """
{  "items": [    {      "data": {        "id": 1,        "deal_id": 12,        "discount": 5,
"created_at": "2015-07-06T16:32:56Z",        "updated_at": "2015-07-06T16:32:56Z"      },
"meta": {        "type": "order"      }    }  ],  "meta": {    "type": "collection",    "count": 1,
"links": {      "self": "http://api.getbase.com/v2/orders?page=1&per_page=25"    }  }}
"""
TO_CREATE = '{  "data": {    "deal_id": 12,    "discount": 50  },  "meta": {    "type": "order"  }}'
CREATED = """
{  "data": {    "id": 19,    "deal_id": 12,    "discount": 50,    "updated_at": "2015-07-07T10:03:19Z",
"created_at": "2015-07-07T10:03:19Z"  },  "meta": {    "type": "order"  }}
"""
TO_UPDATE = '{  "data": {    "discount": 25  }}'
UPDATED = """
{  "data": {    "id": 1,    "deal_id": 12,    "discount": 25,    "updated_at": "2015-07-08T13:03:19Z",
"created_at": "2015-07-07T10:03:19Z"  },  "meta": {    "type": "order"  }}
"""


def test_retrieve_all_orders(crm: Crm, watch: Watch) -> None:
    """The list is identical to the published one, in the order of its members."""
    watch.set("2015-07-06T16:32:56.987654Z")
    crm.order(12, discount=5)

    reply = crm.get(
        "/v2/orders",
        headers={"Accept": "application/json", "Host": "api.getbase.com", "X-Forwarded-Proto": "http"},
    )

    assert (reply.status, reply.headers["Content-Type"], reply.headers["Content-Language"]) == (200, JSON, "en")
    assert json.dumps(json.loads(LISTED), separators=(",", ":")) == reply.text


def test_create_an_order(crm: Crm, watch: Watch) -> None:
    """The published create gets the published order, member for member, with 200."""
    for deal_id in range(101, 119):
        crm.order(deal_id)
    watch.set("2015-07-07T10:03:19Z")

    reply = crm.send_json("POST", "/v2/orders", TO_CREATE)

    assert (reply.status, reply.headers["Content-Type"]) == (200, JSON)
    assert json.dumps(json.loads(CREATED), separators=(",", ":")) == reply.text


def test_retrieve_a_single_order(crm: Crm, watch: Watch) -> None:
    """An order is read by id as it was created."""
    watch.set("2015-07-07T10:03:19Z")
    crm.send_json("POST", "/v2/orders", TO_CREATE)

    reply = crm.get("/v2/orders/1", headers={"Accept": "application/json"})

    published = json.loads(CREATED)
    published["data"]["id"] = 1
    assert json.dumps(published, separators=(",", ":")) == reply.text


def test_update_an_order(crm: Crm, watch: Watch) -> None:
    """The published update gets the published order, with other fields unchanged."""
    watch.set("2015-07-07T10:03:19Z")
    crm.send_json("POST", "/v2/orders", TO_CREATE)
    watch.set("2015-07-08T13:03:19Z")

    reply = crm.send_json("PUT", "/v2/orders/1", TO_UPDATE)

    assert (200, json.dumps(json.loads(UPDATED), separators=(",", ":"))) == (reply.status, reply.text)


def test_sort_by_of_the_reference(crm: Crm) -> None:
    """The published `sort_by=value:desc` is accepted: orders have no value, so the next field or the id decides."""
    for deal_id, discount in ((12, 1), (13, 2), (14, 2)):
        crm.order(deal_id, discount=discount)

    assert crm.ids("/v2/orders?sort_by=value:desc") == [1, 2, 3]
    assert crm.ids("/v2/orders?sort_by=value:desc,discount:desc") == [2, 3, 1]


def test_published_texts_of_404(crm: Crm) -> None:
    """An unknown resource and an unknown path get the published texts."""
    (missing,) = crm.get("/v2/orders/23").json["errors"]
    (lost,) = crm.get("/v2/contacts").json["errors"]
    (no_put,) = crm.put("/v2/orders", {"data": {}}).json["errors"]

    assert missing["error"] == {
        "resource": "order",
        "code": "not_found",
        "message": "resource you are looking for was not found",
        "details": "Resource of the type 'order' with the id '23' was not found.",
    }
    assert lost["error"] == {
        "code": "incorrect_path",
        "message": "path was not found",
        "details": "Requested path at '/v2/contacts' was not found using the HTTP method 'GET'.",
    }
    assert no_put["error"]["details"] == "Requested path at '/v2/orders' was not found using the HTTP method 'PUT'."


def test_delete_an_order(crm: Crm) -> None:
    """The published delete, without content type and body, gets 204 without either."""
    crm.order(12)

    reply = crm.delete("/v2/orders/1")

    assert (reply.status, reply.text) == (204, "")
    assert "Content-Type" not in reply.headers
    assert crm.get("/v2/orders/1").status == 404
