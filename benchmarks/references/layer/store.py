"""Orders in DynamoDB, by boto3's resources."""

import json
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key
from drafts import new_order, writes
from layout import ACCOUNTS_TABLE, BLOCK, CATALOGUE_TABLE, HEAD, ORDERS_TABLE, PAGES, SEQUENCE, TICKETS
from memory import Remembered
from shown import shown_in_list

dynamodb = boto3.resource("dynamodb")
orders = dynamodb.Table(ORDERS_TABLE)
catalogue = dynamodb.Table(CATALOGUE_TABLE)
accounts = dynamodb.Table(ACCOUNTS_TABLE)

_version = Remembered(2)
_partner = Remembered(60)
_offers: dict[str, Any] = {}
_ids: list[int] = []


def read_page(size: int) -> tuple[list[dict[str, Any]], int]:
    """Return the first page of the orders, and how many there are."""
    keys = [{"pk": pk, "sk": sk} for pk, sk in HEAD]
    found = dynamodb.batch_get_item(RequestItems={ORDERS_TABLE: {"Keys": keys, "ConsistentRead": True}})
    total = next(item["issued"] for item in found["Responses"][ORDERS_TABLE] if "issued" in item)
    items: list[dict[str, Any]] = []
    for partition, first, last in PAGES[f"{size}"]:
        within = Key("pk").eq(partition) & Key("sk").between(first, last)
        items += orders.query(KeyConditionExpression=within, ConsistentRead=True)["Items"]
    return [item["order"] for item in items], int(total)


def read_order(number: int) -> dict[str, Any] | None:
    """Return an order; None if there is none of that id."""
    found = orders.get_item(Key={"pk": f"ORDER#training#{number}", "sk": "ORDER"}, ConsistentRead=True)
    return found["Item"]["order"] if "Item" in found else None


def place(caller: dict[str, Any], body: dict[str, Any], key: str) -> dict[str, Any]:
    """Create an order, once for each idempotency key; returns what the response shows."""
    offers = _offered(caller["business_units"][0], [str(item["featureSetId"]) for item in body["orderItems"]])
    name = _unit_name(caller)
    number = _next_id()
    position = _add(TICKETS, "ADD issued :one", 1)["issued"]
    order = new_order(caller, name, number, int(position), body)
    answer = shown_in_list(order)
    answer["created"] = f"{order['created'][:-1]}0Z"
    del answer["orderSource"]
    items = writes(order, body, offers, key, json.dumps(answer).encode())
    dynamodb.meta.client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": ORDERS_TABLE, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}
            for item in items
        ]
    )
    return answer


def _next_id() -> int:
    if not _ids:
        last = int(_add(SEQUENCE, "ADD given :one", BLOCK)["given"])
        _ids.extend(range(last, last - BLOCK, -1))
    return _ids.pop()


def _add(key: tuple[str, str], expression: str, number: int) -> dict[str, Any]:
    changed = orders.update_item(
        Key={"pk": key[0], "sk": key[1]},
        UpdateExpression=expression,
        ExpressionAttributeValues={":one": number},
        ReturnValues="ALL_NEW",
    )
    return changed["Attributes"]


def _unit_name(caller: dict[str, Any]) -> str:
    key = {"pk": f"PARTNER#{caller['partner']}", "sk": "PARTNER"}
    partner = _partner.read(lambda: accounts.get_item(Key=key, ConsistentRead=True)["Item"])
    return next(unit["name"] for unit in partner["businessUnits"] if unit["id"] == caller["business_units"][0])


def _offered(unit: str, wanted: list[str]) -> dict[str, Any]:
    key = {"pk": f"UNIT#{unit}", "sk": "CATALOGUE"}
    version = _version.read(lambda: catalogue.get_item(Key=key, ConsistentRead=True)["Item"]["version"])
    if missing := [one for one in wanted if one not in _offers]:
        keys = [{"pk": f"{version}#FEATURE_SET#{one}", "sk": "FEATURE_SET"} for one in missing]
        found = dynamodb.batch_get_item(RequestItems={CATALOGUE_TABLE: {"Keys": keys, "ConsistentRead": True}})
        _offers.update({item["id"]: item for item in found["Responses"][CATALOGUE_TABLE]})
    return _offers
