"""The floor: no framework and no SDK, and only what the answer needs."""

import json
from typing import Any

import msgspec
from direct import key, noted, plain, send
from drafts import new_order, writes
from layout import ACCOUNTS_TABLE, BLOCK, CATALOGUE_TABLE, HEAD, ORDERS_TABLE, PAGES, SEQUENCE, TICKETS
from memory import Remembered
from shown import page_of, shown, shown_in_list

_LARGEST = 500
_encode = msgspec.json.encode
_head = [key(*one) for one in HEAD]
_version = Remembered(2)
_partner = Remembered(60)
_offers: dict[str, Any] = {}
_ids: list[int] = []


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item to order."""

    featureSetId: str
    quantity: int
    sourceReference: str | None = None
    feedbackLinkUri: str | None = None
    feedbackLinkText: str | None = None
    enableFeedbackLink: bool | None = None
    achievementCode: str | None = None


class NewTrainingOrder(msgspec.Struct, forbid_unknown_fields=True):
    """An order to be created."""

    purchaseOrderReference: str
    emailKeys: bool
    orderItems: list[NewItem]
    contactEmail: str | None = None


_decode = msgspec.json.Decoder(NewTrainingOrder).decode


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    status, answer = _answer(event)
    print(json.dumps({"message": "request", "route": event["resource"], "status": status}))
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": _encode(answer).decode(),
        "isBase64Encoded": False,
    }


def _answer(event: dict[str, Any]) -> tuple[int, Any]:
    if event["httpMethod"] == "POST":
        caller = json.loads(event["requestContext"]["authorizer"]["principal"])
        return 201, _create(caller, _decode(event["body"]), event["headers"]["Idempotency-Key"])
    if event["resource"].endswith("}"):
        return _get(int(event["pathParameters"]["orderId"]))
    query = event["queryStringParameters"] or {}
    page, size = int(query.get("_page", 1)), int(query.get("_pageSize", 10))
    if page < 1 or not 1 <= size <= _LARGEST:
        return 400, {"message": "bad page"}
    return 200, _list(page, size)


def _list(page: int, size: int) -> dict[str, Any]:
    found = send("BatchGetItem", {"RequestItems": {ORDERS_TABLE: {"Keys": _head, "ConsistentRead": True}}})
    total = next(int(item["issued"]["N"]) for item in found["Responses"][ORDERS_TABLE] if "issued" in item)
    orders = []
    for partition, first, last in PAGES[f"{size}"]:
        values = {":pk": {"S": partition}, ":first": {"S": first}, ":last": {"S": last}}
        asked = {
            "TableName": ORDERS_TABLE,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        orders += [shown_in_list(plain(item["order"])) for item in send("Query", asked)["Items"]]
    return page_of("/api/v2/orders", orders, page, size, total)


def _get(number: int) -> tuple[int, Any]:
    found = _read(ORDERS_TABLE, f"ORDER#training#{number}", "ORDER")
    return (200, shown(plain(found["order"]))) if found else (404, {"message": "no such order"})


def _create(caller: dict[str, Any], body: NewTrainingOrder, once: str) -> dict[str, Any]:
    content = msgspec.to_builtins(body)
    offers = _offered(caller["business_units"][0], [item.featureSetId for item in body.orderItems])
    name = _unit_name(caller)
    if not _ids:
        last = _add(SEQUENCE, "given", BLOCK)
        _ids.extend(range(last, last - BLOCK, -1))
    order = new_order(caller, name, _ids.pop(), _add(TICKETS, "issued", 1), content)
    answer = shown_in_list(order)
    answer["created"] = f"{order['created'][:-1]}0Z"
    del answer["orderSource"]
    items = writes(order, content, offers, once, _encode(answer))
    puts = [
        {
            "Put": {
                "TableName": ORDERS_TABLE,
                "Item": noted(item)["M"],
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        for item in items
    ]
    send("TransactWriteItems", {"TransactItems": puts})
    return answer


def _add(to: tuple[str, str], name: str, number: int) -> int:
    changed = send(
        "UpdateItem",
        {
            "TableName": ORDERS_TABLE,
            "Key": key(*to),
            "UpdateExpression": f"ADD {name} :number",
            "ExpressionAttributeValues": {":number": {"N": str(number)}},
            "ReturnValues": "ALL_NEW",
        },
    )
    return int(changed["Attributes"][name]["N"])


def _unit_name(caller: dict[str, Any]) -> str:
    partner = _partner.read(lambda: _read(ACCOUNTS_TABLE, f"PARTNER#{caller['partner']}", "PARTNER"))
    units = plain(partner["businessUnits"])
    return next(unit["name"] for unit in units if unit["id"] == caller["business_units"][0])


def _offered(unit: str, wanted: list[str]) -> dict[str, Any]:
    version = _version.read(lambda: _read(CATALOGUE_TABLE, f"UNIT#{unit}", "CATALOGUE")["version"]["S"])
    if missing := [one for one in wanted if one not in _offers]:
        keys = [key(f"{version}#FEATURE_SET#{one}", "FEATURE_SET") for one in missing]
        found = send("BatchGetItem", {"RequestItems": {CATALOGUE_TABLE: {"Keys": keys, "ConsistentRead": True}}})
        for item in found["Responses"][CATALOGUE_TABLE]:
            _offers[item["id"]["S"]] = plain({"M": item})
    return _offers


def _read(table: str, partition: str, sort: str) -> Any:
    return send("GetItem", {"TableName": table, "Key": key(partition, sort), "ConsistentRead": True}).get("Item")
