"""The tables on moto, whose copying is replaced by ours (`support/aws/on_moto.py`)."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.aws.dynamodb import ServiceFault
from support.aws import on_moto

NAME = "OrdersTable"


def item(sort: str, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": "a"}, "sk": {"S": sort}, **more}


def test_cancelled_transaction() -> None:
    """A transaction that moto cancels at its last write leaves every item as it was, also inside of maps."""
    before = [item("1", n={"N": "1"}, m={"M": {"x": {"N": "1"}}}), item("2", n={"N": "2"})]
    update = {
        "UpdateExpression": "SET n = :two, m.x = :two ADD c :two",
        "ExpressionAttributeValues": {":two": {"N": "2"}},
    }
    check = {"Key": item("9"), "ConditionExpression": "attribute_exists(pk)"}
    writes = [
        {"Update": {"TableName": NAME, "Key": item("1"), **update}},
        {"Delete": {"TableName": NAME, "Key": item("2")}},
        {"Put": {"TableName": NAME, "Item": item("3")}},
    ]
    query = {
        "TableName": NAME,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "a"}},
        "ConsistentRead": True,
    }

    with on_moto.tables() as send:
        for one in before:
            send("PutItem", {"TableName": NAME, "Item": one})
        with pytest.raises(ServiceFault, match="TransactionCanceled"):
            send("TransactWriteItems", {"TransactItems": [*writes, {"ConditionCheck": {"TableName": NAME, **check}}]})
        cancelled = send("Query", query)["Items"]
        send("TransactWriteItems", {"TransactItems": writes})
        carried_out = send("Query", query)["Items"]

    two = {"N": "2"}
    assert cancelled == before
    assert carried_out == [item("1", n=two, m={"M": {"x": two}}, c=two), item("3")]
