"""The engines that the same tests run on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ordering.aws.direct import AwsAccount
from ordering.aws.dynamodb import Send, connect_tables
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION, service_variables
from ordering_tools.local.engine.engine import ENDPOINT_VARIABLE, create_tables, dynamodb
from ordering_tools.local.engine.engine import Engine as MiniStack
from support.aws import on_moto
from support.aws.memory import Memory

ROOT = Path(__file__).resolve().parents[2]
GIVEN = os.environ.get(ENDPOINT_VARIABLE)
CLIENTS = ("direct", "botocore")
CLIENT = os.environ.get("ORDERING_SERVICE_CLIENT", CLIENTS[0])
"""The client by which engines with an endpoint are called; moto is called by botocore, which it replaces."""

NAMES = ("memory", "moto", "ministack", *(["endpoint"] if GIVEN else []))


@dataclass(frozen=True)
class Engine:
    """A DynamoDB with the template's tables."""

    name: str
    send: Send
    threads: str | None = None
    """Why it cannot take calls of several threads; None if it can."""
    table: str = "OrdersTable"
    clear: Callable[[], object] = lambda: None
    """Empties the tables where the engine gets slow with what they hold."""


@contextmanager
def running(name: str, folder: Path) -> Iterator[Engine]:
    """Have an engine, one of `NAMES`."""
    if name == "memory":
        yield Engine(name, Memory(), threads="the engine in memory is for one thread")
    elif name == "moto":
        with on_moto.tables() as send:
            yield Engine(name, send, threads="moto loses acknowledged writes under threads", clear=on_moto.empty)
    elif name == "ministack":
        child = MiniStack(ROOT / ".venvs" / "engine" / "bin" / "python", folder)
        try:
            child.wait()
            create_tables(dynamodb(child.endpoint), on_moto.TABLES)
            yield Engine(name, connected(child.endpoint))
        finally:
            child.stop()
    else:
        assert GIVEN
        create_tables(dynamodb(GIVEN), on_moto.TABLES)
        yield Engine(name, connected(GIVEN))


def connected(endpoint: str, client: str = CLIENT) -> Send:
    """Connect to an engine as functions do, by one of `CLIENTS`."""
    if client == "direct":
        return AwsAccount(service_variables(endpoint, endpoint)).tables()
    assert client == "botocore"
    return connect_tables(
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def in_threads(works: list[Any]) -> list[Any]:
    """Run functions at once, a thread each, and return what they returned; what one raised is raised here."""
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = works[number]()
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
