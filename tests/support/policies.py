"""IAM policies of the template, evaluated against the calls that code makes, as IAM evaluates them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

Statement = Mapping[str, Any]
"""A statement whose `Action` and `Resource` are lists."""


class Access(NamedTuple):
    """What one call, or one part of it, does to one resource."""

    action: str
    resource: str
    """The logical id of a table, key or queue, with what follows its ARN: `OrdersTable/index/Search`."""
    partition: str = ""
    """The partition key of an item; empty for a scan, and for what is no table."""


def table_accesses(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    """The accesses of a call of DynamoDB, one for each item or partition."""
    for write in request.get("TransactItems", ()):
        ((kind, one),) = write.items()
        action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
        yield Access(f"dynamodb:{action}", one["TableName"], (one.get("Key") or one["Item"])["pk"]["S"])
    for table, wanted in request.get("RequestItems", {}).items():
        keys = wanted["Keys"] if isinstance(wanted, dict) else [next(iter(one.values())) for one in wanted]
        for key in keys:
            yield Access(f"dynamodb:{operation}", table, (key.get("Key") or key.get("Item") or key)["pk"]["S"])
    if "TableName" in request:
        index = f"/index/{request['IndexName']}" if "IndexName" in request else ""
        yield Access(f"dynamodb:{operation}", request["TableName"] + index, _partition(operation, request))


def _partition(operation: str, request: Mapping[str, Any]) -> str:
    if operation == "Scan":
        return ""
    values = request.get("ExpressionAttributeValues", {})
    key = request.get("Key") or request.get("Item") or {"pk": values.get(":pk") or values.get(":partition")}
    text: str = key["pk"]["S"]
    return text


def statements(policies: Iterable[Mapping[str, Any]]) -> Iterator[Statement]:
    """The statements of policy documents."""
    for policy in policies:
        for statement in policy["Statement"]:
            actions, resources = statement["Action"], statement["Resource"]
            yield {
                **statement,
                "Action": actions if isinstance(actions, list) else [actions],
                "Resource": resources if isinstance(resources, list) else [resources],
            }


def resource_name(value: Any) -> str:
    """The resource that a statement names, as `Access.resource` does: `!GetAtt X.Arn` is `X`."""
    match value:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Ref": name}:
            return str(name)
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": str(text)}:
            return text.replace(".Arn}", "}").replace("${", "").replace("}", "").rpartition(":identity/")[2]
    return str(value)


def leading_keys(statement: Statement) -> list[str] | None:
    """The patterns of partition keys that a statement is restricted to; None if it is not."""
    patterns: list[str] | None = (
        statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")
    )
    return patterns


def allows(statement: Statement, access: Access) -> bool:
    """Whether a statement allows an access."""
    patterns = leading_keys(statement)
    return (
        access.action in statement["Action"]
        and access.resource in map(resource_name, statement["Resource"])
        # A condition on all keys of a request without keys, as a scan is, holds.
        and (patterns is None or not access.partition or any(fnmatchcase(access.partition, one) for one in patterns))
    )


def unused(policy: Iterable[Statement], done: Collection[Access]) -> Iterator[tuple[str, str]]:
    """The actions, resources and partition keys of a policy's statements that no access needs."""
    for statement in policy:
        needed = [access for access in done if allows(statement, access)]
        actions, resources = {*statement["Action"]}, {*map(resource_name, statement["Resource"])}
        for action in actions - {access.action for access in needed}:
            yield action, " ".join(sorted(resources))
        for resource in resources - {access.resource for access in needed}:
            yield " ".join(sorted(actions)), resource
        for pattern in leading_keys(statement) or ():
            if not any(fnmatchcase(access.partition, pattern) for access in needed):
                yield " ".join(sorted(actions)), pattern
