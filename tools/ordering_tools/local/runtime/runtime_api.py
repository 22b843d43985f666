"""Lambda's Runtime API for one function process: next, response, error, init error.

Each process has its own API on its own port, so that requests need not identify the process.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

from ordering_tools.local.hosts import is_local_program
from ordering_tools.local.http import Answer, HttpRequest, HttpServer
from ordering_tools.local.runtime.functions import FunctionError

_PREFIX = "/2018-06-01/runtime/"
_JSON = ("Content-Type", "application/json")


@dataclass
class Call:
    """An invocation of a function."""

    request_id: str
    arn: str
    event: bytes
    timeout: float
    """In seconds, from the moment when the process takes the call."""
    result: Future[bytes] = field(default_factory=Future)


class RuntimeApi(HttpServer):
    """The Runtime API of one process: gives it calls and receives their results."""

    def __init__(self) -> None:
        super().__init__(socket.create_server(("127.0.0.1", 0)))
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.ready: Future[None] = Future()
        """Done once the process has requested its first call, or its init has failed."""
        self._current: Call | None = None
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        threading.Thread(target=self.serve_forever, name=f"runtime-api {self.address}", daemon=True).start()

    def put(self, call: Call) -> None:
        """Give the process a call; it must not have another one."""
        self._current = call
        self._calls.put(call)

    def fail(self, error: FunctionError) -> None:
        """Report that the process failed: fails its init if it is not ready yet, and its call."""
        for future in (self.ready, self._current and self._current.result):
            if future:
                with suppress(InvalidStateError):
                    future.set_exception(error)

    def close(self) -> None:
        """Stop listening, and end the request of a process that waits for a call."""
        self._calls.put(None)
        self.shutdown()
        self.server_close()

    def answer(self, request: HttpRequest) -> Answer:
        """Respond to a request of the process.

        Raises:
            ConnectionAbortedError: It waits for a call, and the API was closed.
        """
        # A web page could take the function's events.
        if not is_local_program(request.header("Host"), request.header("Origin")):
            return Answer(421)
        call = self._current
        match request.method, request.path.removeprefix(_PREFIX).split("/"):
            case "GET", ["invocation", "next"]:
                return self._next()
            case "POST", ["invocation", request_id, _] if (
                not call or call.request_id != request_id or call.result.done()
            ):
                return Answer(400, [_JSON], b"{}")
            case "POST", ["invocation", _, "response"] if call:
                call.result.set_result(request.body)
            case "POST", ["invocation", _, "error"] | ["init", "error"]:
                self.fail(_error(request.body))
            case _:
                return Answer(404)
        return Answer(202, [_JSON], b"{}")

    def _next(self) -> Answer:
        if not self.ready.done():
            self.ready.set_result(None)
        call = self._calls.get()
        if not call:
            raise ConnectionAbortedError
        headers = {
            "Lambda-Runtime-Aws-Request-Id": call.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + call.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": call.arn,
        }
        return Answer(200, [_JSON, *headers.items()], call.event)


def _error(body: bytes) -> FunctionError:
    try:
        report = json.loads(body)
        # The runtime client encodes the report of a failed init twice.
        report = json.loads(report) if isinstance(report, str) else report
        return FunctionError(str(report["errorType"]), str(report["errorMessage"]))
    except (ValueError, KeyError, TypeError):
        return FunctionError("Runtime.Unknown", body.decode("utf-8", "replace"))
