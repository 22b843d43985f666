"""Calls of the fixture's stack, what its functions have logged, and its processes."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

import httpx

from ordering_tools.local.dead_letters import peek_at
from ordering_tools.local.engine.engine import connect, dynamodb
from support.local_stack import LocalStack

Item = dict[str, Any]


def item(pk: str, sk: str = "0", command: str = "") -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}, "command": {"S": command}}


def put(stack: LocalStack, *items: Item) -> None:
    """Write items in one transaction, so that the stream has them in this order."""
    writes = [{"Put": {"TableName": stack.resources["LedgerTable"], "Item": each}} for each in items]
    dynamodb(stack.endpoint).transact_write_items(TransactItems=writes)  # type: ignore[arg-type] # plain data


def entries(stack: LocalStack, start: str) -> list[dict[str, Any]]:
    log = stack.state / "functions.log"
    lines = (log.read_text() if log.exists() else stack.printed()).splitlines()
    return [json.loads(line) for line in lines if line.startswith(start) and line.endswith("}")]


def stream_calls(stack: LocalStack, prefix: str) -> list[dict[str, Any]]:
    """The calls with records of items whose key starts with `prefix`."""
    return [call for call in entries(stack, '{"at"') if any(key.startswith(prefix) for key in keys(call))]


def keys(call: dict[str, Any]) -> list[str]:
    return [record["dynamodb"]["Keys"]["pk"]["S"] for record in call["records"]]


def delivered(stack: LocalStack, prefix: str) -> list[str]:
    return [key for call in stream_calls(stack, prefix) for key in keys(call) if key.startswith(prefix)]


def send(stack: LocalStack, queue: str, *commands: str, **more: Any) -> str:
    """Send a message for each command, all with the same new name; returns the name."""
    client, name = connect("sqs", stack.endpoint), uuid.uuid4().hex
    for command in commands:
        client.send_message(
            QueueUrl=stack.queue(queue), MessageBody=json.dumps({"name": name, "command": command}), **more
        )
    return name


def queue_calls(stack: LocalStack, name: str) -> list[dict[str, Any]]:
    return [call for call in entries(stack, '{"queue"') if name in json.dumps(call.get("messages", []))]


def bodies(stack: LocalStack, queue: str) -> str:
    return json.dumps([each["Body"] for each in peek_at(stack.endpoint, stack.queue(queue))])


def behave(stack: LocalStack, **command: object) -> httpx.Response:
    return httpx.post(f"{stack.base_url}/behave", json=command, timeout=20)


def processes() -> dict[int, int]:
    """All running processes, each with its parent."""
    table = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines()]
    return {int(process): int(parent) for process, parent, status in rows if not status.startswith("Z")}


def descendants(process: int) -> set[int]:
    parents = processes()
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def notes(stack: LocalStack) -> set[str]:
    found = dynamodb(stack.endpoint).scan(TableName=stack.resources["NotesTable"], ConsistentRead=True)["Items"]
    return {item["pk"]["S"] for item in found}


def write_note(stack: LocalStack, name: str) -> None:
    dynamodb(stack.endpoint).put_item(
        TableName=stack.resources["NotesTable"], Item={"pk": {"S": name}, "owner": {"S": "me"}}
    )
