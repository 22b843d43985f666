"""Lambda's Invoke for the functions of the local run, for other programs and for the engine's event source mappings.

Other programs call it as they call Lambda (`aws lambda invoke --endpoint-url …`):
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html

The engine calls `/mappings/<function>` for each batch of a stream or a queue. It takes any status but 2xx as a failed
batch. It reads the failed messages that a function reports of a queue's batch, but not the failed records of a
stream's. So a batch of a stream with a reported failure fails as a whole here, and is delivered again as a whole.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ordering_tools.local.hosts import is_local_program, refusal
from ordering_tools.local.runtime.functions import EventTooLargeError, FunctionError, RunEndedError

if TYPE_CHECKING:
    from ordering_tools.local.runtime.functions import Runner

_PATH = ("2015-03-31", "functions")
_STREAM = "aws:dynamodb"


class Invocations(ThreadingMixIn, HTTPServer):
    """An HTTP server on a socket that is already listening, with a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, listener: socket.socket, names: Mapping[str, str], runner: Runner, *, folded: bool = False
    ) -> None:
        """Serve the functions whose logical ids are the values of `names`; its keys are their names in the engine.

        `folded` counts the batches without a failure until `settle`, instead of printing a line about each.
        """
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.functions = {**names, **{name: name for name in names.values()}}
        self.runner = runner
        self._batches = 0
        self._ended = time.monotonic()
        self._folded: Counter[str] | None = Counter() if folded else None
        self._changed = threading.Condition()

    def deliver(self, function: str, event: bytes) -> bytes:
        """Call a function with a batch of the engine, and print a line about it; returns the function's result.

        Raises:
            FunctionError: The function failed, or reported failed records of a stream.
        """
        with self._changed:
            self._batches += 1
        records = json.loads(event)["Records"]
        is_stream = records[0]["eventSource"] == _STREAM
        began, ending = time.monotonic(), ""
        try:
            result = self.runner.invoke(function, event)
            if failed := len((json.loads(result) or {}).get("batchItemFailures") or []):
                ending = f", failed {failed}"
        except FunctionError as error:
            reason = "not finished" if isinstance(error, RunEndedError) else f"failed: {error.kind}"
            ending = f", {reason}: {error}"
            raise
        finally:
            unit = "record" if is_stream else "message"
            count = f"{len(records)} {unit}{'s' if len(records) > 1 else ''}"
            with self._changed:
                self._ended = time.monotonic()
                if self._folded is None or ending:
                    _print(f"{function} {count} {(self._ended - began) * 1000:.0f} ms{ending}")
                else:
                    self._folded[function] += 1
                self._batches -= 1
                self._changed.notify_all()
        if failed and is_stream:
            raise FunctionError("BatchItemFailures", "the function reported failed records")
        return result

    def settle(self, quiet: float, seconds: float) -> None:
        """Wait until no batch has been in flight for `quiet` seconds, at most `seconds`; then print the folded ones.

        From then on a line is printed about each batch.
        """
        began = time.monotonic()
        with self._changed:
            while (now := time.monotonic()) < began + seconds and (
                self._batches or now < max(began, self._ended) + quiet
            ):
                self._changed.wait(quiet / 10)
            folded, self._folded = self._folded, None
            if folded:
                batches = ", ".join(f"{function} {count} batches" for function, count in sorted(folded.items()))
                _print(f"done so far: {batches}")

    def drain(self, seconds: float) -> None:
        """Wait up to some seconds for the batches in flight."""
        with self._changed:
            self._changed.wait_for(lambda: not self._batches, seconds)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Handler(BaseHTTPRequestHandler):
    server: Invocations
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        host = self.headers.get("Host")
        # A function believes the principal in its event, so a web page that reaches this could act as any partner.
        if not is_local_program(host, self.headers.get("Origin")):
            self.close_connection = True
            self._answer(421, {"message": refusal(host)}, "AccessDeniedException")
            return
        event = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null"
        match urlsplit(self.path).path.strip("/").split("/"):
            case [version, kind, name, "invocations"] if (version, kind) == _PATH and (found := self._find(name)):
                self._invoke(found, event)
            case ["mappings", name] if found := self._find(name):
                self._deliver(found, event)
            case [_, _, name, "invocations"] | ["mappings", name]:
                self._answer(404, {"message": f"Function not found: {unquote(name)}"}, "ResourceNotFoundException")
            case _:
                self._answer(404, {"message": "the local run supports only Invoke"}, "ResourceNotFoundException")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the caller reports the result."""

    def _find(self, name: str) -> str | None:
        return self.server.functions.get(unquote(name).rpartition(":")[2])

    def _invoke(self, function: str, event: bytes) -> None:
        if self.headers.get("X-Amz-Invocation-Type", "RequestResponse") != "RequestResponse":
            self._answer(
                400, {"message": "the local run supports only RequestResponse"}, "InvalidParameterValueException"
            )
            return
        try:
            self._send(200, self.server.runner.invoke(function, event), {"X-Amz-Executed-Version": "$LATEST"})
        except EventTooLargeError as error:
            self._answer(413, {"message": str(error)}, error.kind)
        except FunctionError as error:
            report = {"errorType": error.kind, "errorMessage": str(error)}
            self._send(200, json.dumps(report).encode(), {"X-Amz-Function-Error": "Unhandled"})

    def _deliver(self, function: str, event: bytes) -> None:
        try:
            self._send(200, self.server.deliver(function, event), {})
        except FunctionError as error:
            self._answer(500, {"message": str(error)}, error.kind)

    def _answer(self, status: int, body: Any, kind: str) -> None:
        self._send(status, json.dumps(body).encode(), {"X-Amzn-ErrorType": kind})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
