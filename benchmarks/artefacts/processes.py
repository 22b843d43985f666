"""Functions in processes of their own, under AWS's runtime client, as Lambda starts them; and what they consume."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.artefacts.meters import InstructionCounter, NoInstructions
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION, function_arn
from ordering_tools.local.http import Answer, HttpRequest
from ordering_tools.local.runtime.runtime_api import Call, RuntimeApi

_PATIENCE = 300.0
"""Seconds for which a process may initialise, or a request may take: valgrind is slow."""
_SHOWN = 4_000
"""Characters of a log that an error has."""


class CallFailed(Exception):
    """A function did not answer as it must; the text has its log."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A function that is measured.

    Args:
        path: The folders of its modules besides its own, in the order of Lambda's path.
        trusted: The file of the authorities whose certificates it trusts in Lambda.
    """

    name: str
    folder: Path
    path: Sequence[Path]
    variables: Mapping[str, str]
    trusted: Path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where DynamoDB is.

    Args:
        authorities: The file of the certificates that are trusted, for TLS.
    """

    url: str
    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class Consumed:
    """What a process has consumed since it began."""

    instructions: int
    cpu: float
    """Seconds."""

    def __sub__(self, before: Consumed) -> Consumed:
        return Consumed(self.instructions - before.instructions, self.cpu - before.cpu)


class _WaitingApi(RuntimeApi):
    """The Runtime API, which knows when its process waits for a call."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        super().__init__()

    def answer(self, request: HttpRequest) -> Answer:
        if request.path.endswith("/invocation/next"):
            self.waiting.set()
        return super().answer(request)


class Process:
    """A process of a candidate, ready for its first call.

    Raises:
        CallFailed: It did not become ready.
    """

    def __init__(
        self,
        candidate: Candidate,
        python: Path,
        runtime: Path,
        endpoint: Endpoint,
        counter: InstructionCounter | None = None,
    ) -> None:
        self.name = candidate.name
        self._counter = counter or NoInstructions()
        self._api = _WaitingApi()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - the runtime's own interpreter
            self._counter.command([str(python), "-m", "awslambdaric", "app.handler"]),
            cwd=candidate.folder,
            env=_environment(candidate, runtime, endpoint) | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._counter.attach(self._process.pid)
            self._wait()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def call(self, event: Mapping[str, Any]) -> Any:
        """Return what the function returns, once the process waits for the next call.

        Raises:
            CallFailed: The function raised an exception.
        """
        self._api.waiting.clear()
        call = Call(str(uuid.uuid4()), function_arn(self.name), json.dumps(event).encode(), _PATIENCE)
        self._api.put(call)
        self._wait()
        if not call.result.done() or call.result.exception():
            raise CallFailed(f"{self.name}: the call failed:\n{self.log()[-_SHOWN:]}")
        return json.loads(call.result.result())

    def spent(self, event: Mapping[str, Any]) -> Consumed:
        """Return what a call takes.

        Raises:
            CallFailed: The function raised an exception.
        """
        before = self.consumed()
        self.call(event)
        return self.consumed() - before

    def consumed(self) -> Consumed:
        """Return what the process has consumed."""
        # Linux numbers the clock of a process so (clock_getcpuclockid).
        return Consumed(self._counter.read(), time.clock_gettime((~self._process.pid << 3) | 2))

    def begin(self) -> None:
        """Count instructions from here on, at the latest."""
        self._counter.begin()

    def resident(self) -> float:
        """Return the resident memory, in 10^6 bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    def log(self) -> str:
        """Return what the process printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._api.close()
        self._log.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self._api.waiting.wait(0.5):
            failed = self._api.ready.done() and self._api.ready.exception()
            if failed or self._process.poll() is not None or time.monotonic() > deadline:
                raise CallFailed(f"{self.name} did not become ready: {failed or ''}\n{self.log()[-_SHOWN:]}")


def _environment(candidate: Candidate, runtime: Path, endpoint: Endpoint) -> dict[str, str]:
    return {
        **candidate.variables,
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint.url,
        **({"AWS_CA_BUNDLE": str(endpoint.authorities)} if endpoint.authorities else {}),
        "AWS_LAMBDA_FUNCTION_NAME": candidate.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "LAMBDA_TASK_ROOT": str(candidate.folder),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        # As in Lambda, where the folders of code cannot be written; and the same order of sets in each run.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": ":".join(map(str, [*candidate.path, runtime])),
    }
