"""Functions of a release as processes over tables in memory: this release's, and those of the release before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from support.aws.served import Served
from support.gateway import ROOT

PREVIOUS = (ROOT / "tests" / "previous-release.txt").read_text(encoding="utf-8").split()[0]
"""The commit of the release before this one."""

_HOST = Path(__file__).parent / "function_host.py"
_SETTINGS = {
    "ORDERS_TABLE": "OrdersTable",
    "CATALOGUE_TABLE": "CatalogueTable",
    "ACCOUNTS_TABLE": "AccountsTable",
    "GRACE_SECONDS": "2",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_SAM_LOCAL": "true",
    # As in Lambda with SnapStart, so that the functions connect while they initialise, and keep no connection.
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
    "POWERTOOLS_METRICS_NAMESPACE": "a-stack",
}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


_QUEUES = ("LATER_QUEUE", "LARGE_ORDERS_QUEUE", "MAIL_QUEUE", "WEBHOOK_QUEUE")
_OTHERS = ("ACCESS_KEYS_KEY", "CERTIFICATES_KEY", "WEBHOOK_SECRETS_KEY", "EVENT_BUS", "MAIL_SENDER")
_NAMES = (*_OTHERS, "MAIL_CONFIGURATION_SET", "TOKEN_ISSUER", "TOKEN_AUDIENCE", "SHARED_USAGE")


class Missing(Exception):
    """The history does not have the commit of the previous release: a shallow clone, or an archive."""


def previous_release() -> Path:
    """Return a folder with the previous release's functions and layer.

    Raises:
        Missing: There is no such commit here.
    """
    target = ROOT / ".build" / "releases" / PREVIOUS
    if not target.exists():
        git = ["git", "-C", str(ROOT), "archive", PREVIOUS, "functions", "layers/ordering", "docs/openapi.json"]
        done = subprocess.run(git, capture_output=True, check=False)
        if done.returncode:
            raise Missing(f"the history does not have {PREVIOUS}: {done.stderr.decode().strip()}")
        fresh = target.with_name(f"{PREVIOUS}.{os.getpid()}")
        fresh.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(fresh)], input=done.stdout, check=True)
        try:
            fresh.rename(target)
        except OSError:
            assert target.exists()  # another test has just made it
    return target


@dataclass
class Host:
    """The functions of a release in a process."""

    process: subprocess.Popen[str]

    @cached_property
    def began(self) -> Mapping[str, Any]:
        """What the process says after its initialisation."""
        found: dict[str, Any] = self.read()
        return found

    def read(self) -> Any:
        return json.loads(_stream(self.process.stdout).readline() or "null")

    def send(self, command: Any) -> None:
        stream = _stream(self.process.stdin)
        stream.write(json.dumps(command) + "\n")
        stream.flush()

    def call(self, function: str, event: Mapping[str, Any]) -> Any:
        """Let a function handle an event; returns its answer."""
        assert self.began
        self.send({"function": function, "event": event})
        while isinstance(found := self.read(), dict) and not found.keys() & {"statusCode", "batchItemFailures"}:
            pass  # the lines of the log
        return found


@contextmanager
def hosted(
    release: Path, tables: Served, functions: Sequence[str], credentials: Mapping[str, str] = CREDENTIALS
) -> Iterator[Host]:
    """Run functions of a release."""
    environment = {
        **_SETTINGS,
        **dict.fromkeys(_NAMES, "a-name"),
        **credentials,
        "AWS_ENDPOINT_URL": tables.url,
        **{name: f"{tables.url}/{name}" for name in _QUEUES},
        "PYTHONPATH": str(release / "layers" / "ordering" / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }
    with subprocess.Popen(
        [sys.executable, "-P", str(_HOST), str(release / "functions"), *functions],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream
    return stream
