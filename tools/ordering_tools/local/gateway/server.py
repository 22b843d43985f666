"""The gateway's process: HTTP on a socket that `serve` has bound, until a signal ends it.

It is started by `gateway.process`, which sends it commands over a socket.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import IO, Any, cast
from urllib.parse import quote

from ordering_tools.local.gateway.api import declared_api
from ordering_tools.local.gateway.arguments import GatewayArguments
from ordering_tools.local.gateway.chunks import ChunkedBody
from ordering_tools.local.gateway.encodings import DecodedTooLargeError, EncodingError, compress, decode
from ordering_tools.local.gateway.events import GatewayRequest
from ordering_tools.local.gateway.gateway import Gateway
from ordering_tools.local.gateway.invocations import Invocations
from ordering_tools.local.gateway.page import LocalPage
from ordering_tools.local.gateway.responses import Answer
from ordering_tools.local.hosts import is_local, refusal
from ordering_tools.local.runtime.functions import Deployment, SettingsError, declared_functions
from ordering_tools.local.runtime.inprocess import InProcessRunner
from ordering_tools.local.runtime.runtime import ProcessRunner
from ordering_tools.output import make_lenient
from ordering_tools.template import Template, TemplateError

BODY_LIMIT = 10 * 1024 * 1024
"""Bytes; API Gateway's quota, which cannot be raised."""
_LAST_CALLS_SECONDS = 3.0
_QUIET_SECONDS = 1.0
_DRAIN_LIMIT = 10 * BODY_LIMIT
_URL_CHARACTERS = "/%:@!$&'()*+,;=~-._?[]"


class BodyTooLargeError(Exception):
    """A request's body is over API Gateway's quota."""


class Server(ThreadingMixIn, HTTPServer):
    """An HTTP server on a socket that is already listening, with a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, gateway: Gateway, hosts: Collection[str], page: LocalPage) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.gateway = gateway
        self.hosts = hosts
        self.page = page

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an exception, unless the client has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection, with one or more requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    # A response is sent in one packet, and without delay.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def parse_request(self) -> bool:
        """Read the request line and headers, and keep the path as it was sent."""
        parsed = super().parse_request()
        if parsed and len(words := self.requestline.split()) > 1:
            # The base class merges slashes at its start, which would make `//v2/orders` a path of the API.
            self.path = words[1]
        return parsed

    def handle_expect_100(self) -> bool:
        """Send `100 Continue` at once to a client that waits for it."""
        continues = super().handle_expect_100()
        self.wfile.flush()
        return continues

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Respond to malformed HTTP with a gateway response, in the API's own shape."""
        self.close_connection = True
        self.request_version = self.protocol_version
        self.command, self.path = self.command or "-", getattr(self, "path", "/")
        request = self._request([], b"")
        self._send(request, self.server.gateway.refuse("BAD_REQUEST_BODY", request))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: `_send` prints a line for each request."""

    def _respond(self) -> None:
        headers = [(name, value.replace("\r\n", "")) for name, value in self.headers.items()]
        gateway = self.server.gateway
        host = self.headers.get("Host")
        if not is_local(host, self.server.hosts):
            self.close_connection = True
            answer = Answer(421, [("Content-Type", "text/plain; charset=utf-8")], refusal(host).encode())
            self._send(self._request(headers, b""), answer)
            return
        try:
            body = decode(self._body(), self.headers.get("Content-Encoding"), BODY_LIMIT)
        except (BodyTooLargeError, DecodedTooLargeError):
            self._refuse("REQUEST_TOO_LARGE", headers)
        except EncodingError:
            self._refuse("UNSUPPORTED_MEDIA_TYPE", headers)
        except (ValueError, OSError):
            self.send_error(400)
        else:
            request = self._request(headers, body)
            accepted = self.headers.get("Accept-Encoding")
            page = self.server.page.answer(self.command, self.path, {name.lower(): value for name, value in headers})
            answer = page or compress(gateway.answer(request), accepted, gateway.minimum_compression)
            self._send(request, answer)

    def _refuse(self, kind: str, headers: list[tuple[str, str]]) -> None:
        request = self._request(headers, b"")
        self._send(request, self.server.gateway.refuse(kind, request))

    def _request(self, headers: list[tuple[str, str]], body: bytes) -> GatewayRequest:
        path, _, query = quote(self.path, safe=_URL_CHARACTERS, encoding="latin-1").partition("?")
        return GatewayRequest(
            method=self.command,
            path=path,
            query=query,
            headers=headers,
            body=body,
            source_ip=self.client_address[0],
            protocol=self.request_version,
            stage=self.server.gateway.stage,
            port=self.server.server_address[1],
        )

    def _body(self) -> bytes:
        """The whole body of the request.

        Raises:
            BodyTooLargeError: It is over the quota.
            ValueError: Its Content-Length is invalid, or it has chunks as well.
        """
        if "Transfer-Encoding" in self.headers and "Content-Length" in self.headers:
            # Where a proxy reads the length and a server the chunks, one request is two (RFC 9112, 6.3).
            raise ValueError("a body has a length or chunks")
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read(ChunkedBody(cast("IO[bytes]", self.rfile)), _DRAIN_LIMIT)
        length = int(self.headers.get("Content-Length") or 0)
        if length < 0:
            raise ValueError(f"a body cannot have {length} bytes")
        return self._read(self.rfile, length)

    def _read(self, stream: Any, length: int) -> bytes:
        # A client sends its body before it reads the response, so a body that is too large is read and discarded.
        parts, size = [], 0
        while size < min(length, _DRAIN_LIMIT) and (part := stream.read(min(1 << 16, length - size))):
            size += len(part)
            if size <= BODY_LIMIT:
                parts.append(part)
        if length > _DRAIN_LIMIT or size == _DRAIN_LIMIT:
            self.close_connection = True
        if size > BODY_LIMIT:
            raise BodyTooLargeError
        return b"".join(parts)

    def _send(self, request: GatewayRequest, answer: Answer) -> None:
        bodiless = answer.status in (204, 304)
        self.send_response_only(answer.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("x-amzn-RequestId", request.request_id)
        for name, value in answer.headers:
            self.send_header(name, value.encode("utf-8", "replace").decode("latin-1"))
        if not bodiless:
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if not bodiless and self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()
        if request.path.startswith("/_local/"):
            return  # The page asks for news every few seconds.
        milliseconds = (time.time() - request.time) * 1000
        sys.stdout.write(f"{request.method} {request.path} {answer.status} {milliseconds:.0f} ms\n")
        sys.stdout.flush()


def main(arguments: GatewayArguments) -> int:
    """Serve until the control socket closes or a signal arrives; returns the exit code."""
    with socket.socket(fileno=arguments.listener) as listener, socket.socket(fileno=arguments.control) as control:
        try:
            translated = Template(json.loads(Path(arguments.translated).read_text(encoding="utf-8")))
            api = declared_api(translated)
            functions = declared_functions(translated, Template.load(Path(arguments.template)), arguments.variables)
            deployment = Deployment(Path(arguments.release), arguments.endpoint, arguments.services)
            runner: ProcessRunner | InProcessRunner = (
                ProcessRunner(functions, deployment, Path(arguments.runtime), Path(arguments.log))
                if arguments.runtime
                else InProcessRunner(functions, deployment)
            )
            server = Server(
                listener, Gateway(api, runner), arguments.hosts, LocalPage(Path(arguments.state), api.routes)
            )
            invocations = Invocations(
                socket.socket(fileno=arguments.invocations), arguments.names, runner, folded=arguments.folded
            )
        except (SettingsError, TemplateError) as error:
            control.sendall(f"{error}\n".encode())
            return 1
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: _shut_down(server))
        threading.Thread(target=invocations.serve_forever, daemon=True).start()
        commands = (control, runner, invocations, server, arguments)
        threading.Thread(target=_follow_commands, args=commands, daemon=True).start()
        control.sendall(b"ready\n")
        server.serve_forever(poll_interval=0.1)
        # The engine's calls in flight get some time to end: a killed one costs a message one of its attempts.
        invocations.shutdown()
        invocations.drain(_LAST_CALLS_SECONDS)
        runner.stop()
    return 0


def _follow_commands(
    control: socket.socket,
    runner: ProcessRunner | InProcessRunner,
    invocations: Invocations,
    server: Server,
    arguments: GatewayArguments,
) -> None:
    with control.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("settle "):
                bounds = (_QUIET_SECONDS, int(line.removeprefix("settle ")))
                threading.Thread(target=invocations.settle, args=bounds, daemon=True).start()
                control.sendall(b"settling\n")
                continue
            if isinstance(runner, ProcessRunner):
                release = Path(line.removeprefix("switch ").rstrip("\n"))
                runner.switch(Deployment(release, arguments.endpoint, arguments.services))
            control.sendall(b"switched\n")
    _shut_down(server)


def _shut_down(server: Server) -> None:
    # In a thread, because it waits for the loop that a signal handler may have interrupted.
    threading.Thread(target=server.shutdown, daemon=True).start()


if __name__ == "__main__":
    make_lenient()  # paths of requests are printed
    code = main(GatewayArguments.load(sys.argv[1]))
    sys.stdout.flush()
    # A handler may wait at a debugger's prompt in a thread; a normal exit would wait for that thread.
    os._exit(code)
