"""Connects a function to the services that its environment names."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ordering.aws import calls
from ordering.aws.calls import Connect
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Send, connect_tables
from ordering.aws.kms import connect_kms
from ordering.aws.sqs import connect_queue
from ordering.errors import cause_of

H = TypeVar("H")

_log = logging.getLogger("ordering")

# By default, only warnings are logged in Lambda.
_log.setLevel(logging.INFO)


def _name_function(record: logging.LogRecord) -> bool:
    record.function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    return True


if os.environ.get("AWS_SAM_LOCAL"):
    # In Lambda each function has a log group of its own; locally all of them write to one file.
    _log.addFilter(_name_function)


def allowed_origins() -> frozenset[str]:
    """Return the origins of web pages that may call the API; the environment separates them by commas."""
    settings = os.environ
    return frozenset(settings.get("ALLOWED_ORIGINS", "").split(",")) - {""}


def serves_reference() -> bool:
    """Return whether the stack serves the reference of the API and its guides."""
    settings = os.environ
    return settings.get("REFERENCE") == "true"


def open_connections() -> Connections:
    """Return the connections that the environment names. None is made before its first use.

    Raises:
        ValueError: `SERVICE_CLIENT` names no client.
        Unsupported: The environment asks for what only botocore does.
    """
    client = os.environ.get("SERVICE_CLIENT", "direct")
    # A process loads only the client that it uses.
    if client == "direct":
        from ordering.aws.direct import AwsAccount  # noqa: PLC0415 - as above

        account = AwsAccount(os.environ)
        return _over(account.connect, account.tables(), account.forget)
    if client == "botocore":
        return _over(calls.connect, connect_tables())
    raise ValueError(f"SERVICE_CLIENT={client}: it must be direct or botocore")


def _over(connect: Connect, tables: Send, forget: Callable[[], None] | None = None) -> Connections:
    return Connections(
        os.environ,
        tables,
        connect_kms(connect),
        open_queue=partial(connect_queue, connect=connect),
        connect=connect,
        forget=forget,
    )


def prime(connections: Connections, table: str, prefix: str) -> None:
    """Read an item that does not exist while a function initialises in Lambda, so that its first request is not slow.

    The connection is made, and all code of a call has run. It takes half a read unit. A failure is only logged. If the
    process is kept as a snapshot, it keeps neither the connection nor the credentials.

    Args:
        connections: The connections of the process.
        table: The setting that names a table.
        prefix: What the partition keys begin with that the function may read from it with GetItem.
    """
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
        return
    is_snapshot = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    if is_snapshot and connections.forget is None:
        return  # botocore's connections cannot be closed and used again
    key = {"pk": {"S": f"{prefix}-"}, "sk": {"S": "-"}}
    try:
        connections.send("GetItem", {"TableName": connections.settings[table], "Key": key})
    except Exception as error:  # noqa: BLE001 - the first request tries again, and reports what fails
        _log.warning("the first read failed", extra={"cause": cause_of(error)})
    if is_snapshot and connections.forget:
        connections.forget()


def initialised(handler: H) -> H:
    """Return a function's handler, at the end of its initialisation.

    In Lambda the garbage collector is off while a function initialises. Here it is switched on, with Python's own
    thresholds, and leaves out what exists by now, all of which stays.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return handler
