"""The AWS CLI, for lines of pages that tests run on the engine: it reads options by botocore's description of the call.

It knows what the pages use: options by the names of parameters, flags, JSON, shorthand (`A=1,B=2`), `--query`,
`--output text` and `wait`. What an operation does not take is refused, as by the AWS CLI.

The engine restores a table as it is now. So the restore to a moment restores the backup that the variable POINT_BACKUP
names, which a test made at that moment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped] # it has no types
from botocore import xform_name
from botocore.model import Shape
from botocore.validate import validate_parameters


def _value(shape: Shape, text: str) -> Any:
    if shape.type_name in ("structure", "map", "list"):
        if text[:1] in "{[":
            return json.loads(text)
        parts = dict(part.split("=", 1) for part in text.split(","))
        return {name: _value(shape.members[name], part) for name, part in parts.items()}  # type: ignore[attr-defined]
    if shape.type_name == "boolean":
        return {"true": True, "false": False}[text]
    return int(text) if shape.type_name in ("integer", "long") else text


def _parameters(shape: Shape, words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    names = {xform_name(name, "-"): name for name in shape.members}  # type: ignore[attr-defined]
    left = iter(words)
    for word in left:
        option = word.removeprefix("--")
        flag = option.removeprefix("no-")
        if flag in names and shape.members[names[flag]].type_name == "boolean":  # type: ignore[attr-defined]
            yield names[flag], flag == option
        elif option in names:
            yield names[option], _value(shape.members[names[option]], next(left))  # type: ignore[attr-defined]
        else:
            raise SystemExit(f"aws: unknown option {word}")


def _taken(words: list[str], option: str) -> str:
    """Take a global option with its value out of the words."""
    if option not in words:
        return ""
    at = words.index(option)
    _, value = words[at : at + 2]
    del words[at : at + 2]
    return value


def main(service: str, operation: str, *more: str) -> None:
    """Carry out one line, and print its result."""
    words = [*more]
    query, output = _taken(words, "--query"), _taken(words, "--output")
    client = boto3.client(service)
    waiter = words.pop(0).replace("-", "_") if operation == "wait" else ""
    method = "describe_table" if waiter else operation.replace("-", "_")
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape
    given = dict(_parameters(shape, words))
    validate_parameters(given, shape)
    if waiter:
        client.get_waiter(waiter).wait(**given)
        return
    if operation == "restore-table-to-point-in-time":
        method, given = (
            "restore_table_from_backup",
            {"TargetTableName": given["TargetTableName"], "BackupArn": os.environ["POINT_BACKUP"]},
        )
    answer = getattr(client, method)(**given)
    found = jmespath.search(query, answer) if query else answer
    values = found if isinstance(found, list) else [found]
    sys.stdout.write("\t".join(map(str, values)) if output == "text" else json.dumps(found, default=str))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
