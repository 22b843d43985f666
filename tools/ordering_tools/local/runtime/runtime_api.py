"""Lambda's Runtime API for one function process: next, response, error, init error.

Each process has its own API on its own port, so that requests need not identify the process.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from ordering_tools.local.hosts import is_local_program
from ordering_tools.local.runtime.functions import FunctionError

_PREFIX = "/2018-06-01/runtime/"
_ACCEPTED = b'{"status":"OK"}'


@dataclass
class Call:
    """An invocation of a function."""

    request_id: str
    arn: str
    event: bytes
    timeout: float
    """In seconds, from the moment when the process takes the call."""
    result: bytes = b""
    error: FunctionError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def fail(self, error: FunctionError) -> None:
        """Complete the call with an error, unless it is completed already."""
        if not self.done.is_set():
            self.error = error
            self.done.set()


class RuntimeApi:
    """The Runtime API of one process: gives it calls and receives their results."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        """Set once the process has requested its first call, or its init has failed."""
        self.init_error: FunctionError | None = None
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._current: Call | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name=f"runtime-api {self.address}", daemon=True).start()

    def put(self, call: Call) -> None:
        """Give the process a call; it must not have another one."""
        self._current = call
        self._calls.put(call)

    def take(self) -> Call | None:
        """Wait for the next call; None if the API was closed."""
        self.ready.set()
        return self._calls.get()

    def settle(self, request_id: str, result: bytes, error: FunctionError | None) -> bool:
        """Complete the current call; False if the process names another call."""
        call = self._current
        if call is None or call.request_id != request_id:
            return False
        call.result, call.error = result, error
        call.done.set()
        return True

    def fail(self, error: FunctionError) -> None:
        """Report that the process failed: fails its init if it is not ready yet, and its call."""
        if not self.ready.is_set():
            self.init_error = error
            self.ready.set()
        if self._current is not None:
            self._current.fail(error)

    def close(self) -> None:
        """Stop listening, and end the request of a process that waits for a call."""
        self._calls.put(None)
        with suppress(OSError):
            # Wakes the thread that accepts; closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        with connection, suppress(ConnectionError):
            _Handler(connection, address, self)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are sent in one packet, without delay: the client would wait 40 ms for a second packet.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, address: Any, api: RuntimeApi) -> None:
        self._api = api
        super().__init__(connection, address, api)  # type: ignore[arg-type] # only handed back as self.server

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
            return
        call = self._api.take()
        if call is None:
            self.close_connection = True
            return
        deadline = int((time.time() + call.timeout) * 1000)
        self._answer(
            200,
            call.event,
            {
                "Lambda-Runtime-Aws-Request-Id": call.request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": call.arn,
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.path.removeprefix(_PREFIX).split("/"):
            case ["invocation", request_id, "response"]:
                self._answer(202 if self._api.settle(request_id, body, None) else 400, _ACCEPTED)
            case ["invocation", request_id, "error"]:
                self._answer(202 if self._api.settle(request_id, b"", _error(body)) else 400, _ACCEPTED)
            case ["init", "error"]:
                self._api.fail(_error(body))
                self._answer(202, _ACCEPTED)
            case _:
                self._answer(404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the caller logs each call."""

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
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
