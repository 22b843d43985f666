"""The AWS services of the local run: MiniStack as a child process, or any DynamoDB endpoint instead.

MiniStack keeps its data in memory. It saves the data in `<state>/engine`, including streams, queues and mails (see
`ministack`), when it ends by SIGTERM, and loads them when it starts. It gets that signal when the run is stopped, and
from its `lifeline` when its parent is killed. Only if the engine itself is killed with SIGKILL, or the machine crashes,
the data that were written since its start are lost; earlier data stay.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ordering.aws.calls import new_session
from ordering_tools.local.engine.aws_account import CREDENTIALS, ENGINE_ACCOUNT, REGION
from ordering_tools.local.runtime.processes import Child

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from ordering_tools.template import TableDefinition

ENDPOINT_VARIABLE = "ORDERING_DYNAMODB_ENDPOINT"

LOOPBACK = "127.0.0.1"
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - a value that a caller can choose

_TOOLS = Path(__file__).resolve().parents[3]
_READY_SECONDS = 120.0
"""Loading the data of ten thousand orders takes more than 20 s while other programs use the processor."""
_STOP_SECONDS = 300.0
"""An engine that is killed has saved nothing, and with thousands of orders saving takes longer than 15 s."""


class EngineError(Exception):
    """The engine cannot run; the message gives the reason, and what to do."""


class Engine:
    """MiniStack, with its state in `folder`: `endpoint` is that of DynamoDB, `services` that of all other services."""

    def __init__(  # noqa: PLR0913 - the properties of an engine
        self,
        python: Path,
        folder: Path,
        *,
        functions: str = "",
        descriptors: tuple[int, ...] = (),
        address: tuple[str, int] = (LOOPBACK, 0),
        endpoint: str | None = None,
    ) -> None:
        """Start the engine.

        Args:
            functions: The URL of the host that runs functions.
            address: The address and the port to listen on; port 0 takes any free port.
            endpoint: The endpoint of an external DynamoDB, which is used instead of the engine's.

        Raises:
            EngineError: Its environment is missing, or it cannot listen there.
        """
        if not python.exists():
            raise EngineError(f"the engine's environment is missing ({python}); `make` sets it up")
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "engine.log"
        host, port = address[0], _usable_port(*address)
        self.services = f"http://{LOOPBACK if host == _ALL_ADDRESSES else host}:{port}"
        self.endpoint = endpoint or self.services
        with self._log.open("ab") as log:
            self._child = Child(
                python,
                "ordering_tools.local.engine.ministack",
                environment={**_settings(folder, host, port), "ORDERING_FUNCTIONS": functions},
                output=log,
                end=signal.SIGTERM,
                folder=folder,
                descriptors=descriptors,
            )

    @property
    def alive(self) -> bool:
        """Whether the engine still runs."""
        return self._child.alive

    def ended(self) -> EngineError:
        """Return the error that says how the engine ended."""
        return EngineError(f"the engine {self._child.ending()}; its log is {self._log}")

    def wait(self) -> None:
        """Wait until the engine responds.

        Raises:
            EngineError: It ended, or did not respond within two minutes.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while self._child.alive and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.services}/_ministack/ready", timeout=2):  # noqa: S310 - http on this machine
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise EngineError(f"the engine did not start; its log is {self._log}")

    def stop(self) -> bool:
        """End the engine after it has saved its state; False if it had to be killed, which loses the new data."""
        return self._child.stop(_STOP_SECONDS)


def dynamodb(endpoint: str) -> DynamoDBClient:
    """A client for the engine's DynamoDB."""
    return cast("DynamoDBClient", connect("dynamodb", endpoint))


def connect(service: str, endpoint: str, *, timeout: int = 30, attempts: int = 3) -> Any:
    """A client for a service of the local run, independent of the machine's own AWS configuration.

    Args:
        timeout: Seconds that a response may take.
    """
    # Imported here, because many commands that import this module never connect.
    from botocore.config import Config  # noqa: PLC0415 - as above

    return new_session().create_client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=5, read_timeout=timeout, retries={"mode": "standard", "total_max_attempts": attempts}
        ),
    )


def create_tables(client: DynamoDBClient, tables: list[TableDefinition]) -> list[str]:
    """Create the missing tables; returns their names."""
    present = {name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]}
    missing = [table for table in tables if table.name not in present]
    for table in missing:
        client.create_table(**table.create)
        client.get_waiter("table_exists").wait(TableName=table.name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        if table.ttl_attribute:
            client.update_time_to_live(
                TableName=table.name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": table.ttl_attribute},
            )
    return [table.name for table in missing]


def _usable_port(host: str, port: int) -> int:
    """Return a port that can be listened on, a free one for 0.

    Raises:
        EngineError: The address is not this machine's, or another program listens on the port.
    """
    try:
        with socket.create_server((host, port)) as probe:
            usable: int = probe.getsockname()[1]
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise EngineError(f"the engine cannot listen on {host}, port {port}: {reason}") from error
    return usable


def _settings(folder: Path, host: str, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(_TOOLS),
        "BIND_HOST": host,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ENGINE_ACCOUNT,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
        "LOG_LEVEL": "WARNING",
        # Services that are not used should not open a port or search for a Docker daemon.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
    }
