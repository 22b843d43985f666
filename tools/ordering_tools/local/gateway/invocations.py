"""Lambda's Invoke for the functions of the local run, for other programs: `aws lambda invoke --endpoint-url …`.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import json
import socket
from collections.abc import Container
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ordering_tools.local.hosts import is_local_program, refusal
from ordering_tools.local.runtime.functions import EventTooLargeError, FunctionError

if TYPE_CHECKING:
    from ordering_tools.local.runtime.functions import Runner

_PATH = ("2015-03-31", "functions")


class Invocations(ThreadingMixIn, HTTPServer):
    """An HTTP server on a socket that is already listening, with a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, functions: Container[str], runner: Runner) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.functions = functions
        self.runner = runner


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
            case [version, kind, function, "invocations"] if (version, kind) == _PATH:
                self._invoke(unquote(function).rpartition(":")[2], event)
            case _:
                self._answer(404, {"message": "the local run supports only Invoke"}, "ResourceNotFoundException")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the caller reports the result."""

    def _invoke(self, function: str, event: bytes) -> None:
        if function not in self.server.functions:
            self._answer(404, {"message": f"Function not found: {function}"}, "ResourceNotFoundException")
            return
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
