"""The template's tables on moto, made cheap enough for a new set in each test.

Most of the time of tests on moto went into what is done once here, or not at all: botocore reads its definitions for
each connection, and moto compares each request with the addresses of all services, and copies the whole table, its
stream included, for each write of a transaction.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.session import get_session
from moto import backend_index, mock_aws
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table

from ordering.aws.dynamodb import Send, connect_tables
from ordering_tools.template import Template

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ROOT = Path(__file__).resolve().parents[3]
TABLES = Template.load(ROOT / "template.yaml").tables

# The services that tests call.
backend_index.backend_url_patterns[:] = [
    (service, pattern)
    for service, pattern in backend_index.backend_url_patterns
    if service in {"dynamodb", "events", "sqs"}
]


def _backup(table: Table, _: dict[int, Any]) -> Table:
    """Copy a table, as moto does before a transaction; the copies share their items, which `_update_item` replaces."""
    backup = copy.copy(table)
    backup.items = table.items.copy()
    for partition, items in table.items.items():
        backup.items[partition] = copy.copy(items)
    if table.stream_shard:
        backup.stream_shard = copy.copy(table.stream_shard)
        backup.stream_shard.items = [*table.stream_shard.items]
    return backup


def _update_item(
    self: DynamoDBBackend,
    table_name: str,
    key: dict[str, Any],
    *args: Any,
    update: Any = DynamoDBBackend.update_item,
    **more: Any,
) -> Any:
    """Put a copy in an item's place before moto changes it, so that the backup keeps the item as it was."""
    table = self.get_table(table_name)
    partition = DynamoType(key[table.hash_key_attr])
    sort = DynamoType(key[table.range_key_attr]) if table.range_key_attr else None
    if item := table.get_item(partition, sort):
        changed: Any = copy.deepcopy(item)
        if sort is None:
            table.items[partition] = changed
        else:
            table.items[partition][sort] = changed
    return update(self, table_name, key, *args, **more)


Table.__deepcopy__ = _backup  # type: ignore[attr-defined] # which `copy` looks for
DynamoDBBackend.update_item = _update_item  # type: ignore[method-assign]


@contextmanager
def tables() -> Iterator[Send]:
    """Mock AWS, with empty tables as the template has them; yields the connection to them."""
    with mock_aws():
        client, send = _connections()
        for table in TABLES:
            client.create_table(**table.create)
        yield send


def empty() -> None:
    """Empty the tables: moto gets slow with what they hold."""
    client, _ = _connections()
    for table in TABLES:
        client.delete_table(TableName=table.name)
        client.create_table(**table.create)


@cache
def _connections() -> tuple[DynamoDBClient, Send]:
    """Connect to moto: a client that creates tables, and the product's connection."""
    return cast("DynamoDBClient", get_session().create_client("dynamodb")), connect_tables()
