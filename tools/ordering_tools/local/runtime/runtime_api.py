"""Lambda's Runtime API for one function process: next, response, error, init error.

Each process has its own API on its own port, so that requests need not identify the process.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue
from socketserver import ThreadingTCPServer
from typing import Any

from ordering_tools.local.hosts import is_local_program
from ordering_tools.local.runtime.functions import FunctionError

_PREFIX = "/2018-06-01/runtime/"


@dataclass
class Call:
    """An invocation of a function."""

    request_id: str
    arn: str
    event: bytes
    timeout: float
    """In seconds, from the moment when the process takes the call."""
    result: Future[bytes] = field(default_factory=Future)


class RuntimeApi(ThreadingTCPServer):
    """The Runtime API of one process: gives it calls and receives their results."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.ready: Future[None] = Future()
        """Done once the process has requested its first call, or its init has failed."""
        self.current: Call | None = None
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        threading.Thread(target=self.serve_forever, name=f"runtime-api {self.address}", daemon=True).start()

    def put(self, call: Call) -> None:
        """Give the process a call; it must not have another one."""
        self.current = call
        self._calls.put(call)

    def take(self) -> Call | None:
        """Wait for the next call; None if the API was closed."""
        if not self.ready.done():
            self.ready.set_result(None)
        return self._calls.get()

    def fail(self, error: FunctionError) -> None:
        """Report that the process failed: fails its init if it is not ready yet, and its call."""
        for future in (self.ready, self.current and self.current.result):
            if future:
                with suppress(InvalidStateError):
                    future.set_exception(error)

    def close(self) -> None:
        """Stop listening, and end the request of a process that waits for a call."""
        self._calls.put(None)
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an exception, unless the process was killed, which breaks its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    # Headers and body are sent in one packet, without delay: the client would wait 40 ms for a second packet.
    wbufsize = -1
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Read the request line and headers; refuse a web page, which could take the function's events."""
        parsed = super().parse_request()
        if parsed and not is_local_program(self.headers.get("Host"), self.headers.get("Origin")):
            self.close_connection = True
            self._answer(421)
            return False
        return parsed

    def do_GET(self) -> None:
        if self.path != _PREFIX + "invocation/next":
            self._answer(404)
        elif call := self.server.take():
            headers = {
                "Lambda-Runtime-Aws-Request-Id": call.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + call.timeout) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": call.arn,
            }
            self._answer(200, call.event, headers)
        else:
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = self.server.current
        match self.path.removeprefix(_PREFIX).split("/"):
            case ["invocation", request_id, _] if not call or call.request_id != request_id or call.result.done():
                self._answer(400)
            case ["invocation", _, "response"] if call:
                call.result.set_result(body)
                self._answer(202)
            case ["invocation", _, "error"] | ["init", "error"]:
                self.server.fail(_error(body))
                self._answer(202)
            case _:
                self._answer(404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the caller logs each call."""

    def _answer(self, status: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": len(body)} | (headers or {})
        ).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def _error(body: bytes) -> FunctionError:
    try:
        report = json.loads(body)
        # The runtime client encodes the report of a failed init twice.
        report = json.loads(report) if isinstance(report, str) else report
        return FunctionError(str(report["errorType"]), str(report["errorMessage"]))
    except (ValueError, KeyError, TypeError):
        return FunctionError("Runtime.Unknown", body.decode("utf-8", "replace"))
