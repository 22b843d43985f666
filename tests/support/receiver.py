"""A receiver of webhooks: a real server on a port of this machine, and all the ways in which it can answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BufferedIOBase, BytesIO
from types import TracebackType
from typing import Any, Self

from support.plans import Plan

TLS_HANDSHAKE = b"\x16"
"""The first byte that a client of TLS sends."""

Answer = Callable[[BufferedIOBase, threading.Event], None]
"""Answers a request; the event says that the receiver closes."""


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    head = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {code} Whatever", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return raw("\r\n".join(lines).encode() + body)


def raw(data: bytes) -> Answer:
    """Answer with these bytes, whatever they are, and hang up."""

    def answer(file: BufferedIOBase, _: threading.Event) -> None:
        file.write(data)

    return answer


def silence(_: BufferedIOBase, closing: threading.Event) -> None:
    """Take the request and say nothing."""
    closing.wait(10)


def slowly(data: bytes, pause: float = 0.05) -> Answer:
    """Answer byte by byte."""

    def answer(file: BufferedIOBase, closing: threading.Event) -> None:
        for byte in data:
            if closing.wait(pause):
                return
            file.write(bytes([byte]))

    return answer


def endlessly(head: bytes, part: bytes) -> Answer:
    """Never come to an end."""

    def answer(file: BufferedIOBase, closing: threading.Event) -> None:
        file.write(head)
        while not closing.is_set():
            file.write(part)

    return answer


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    line: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server with a given response for each of its requests in turn, 204 by default; the last one repeats.

    A test that ends before the last of the given responses was sent fails.
    """

    answers: list[Answer] = field(default_factory=list)
    shared: bool = False
    """Whether several tests use it, so that no single one has to get the last response."""
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """The names that were asked for in TLS."""

    def __enter__(self) -> Self:
        receiver = self
        self._closing = threading.Event()
        text = f"the last of {len(self.answers)} responses of the receiver"
        last = Plan(text) if self.answers and not self.shared else None
        answers = self.answers or [status(204)]

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                if receiver.tls:
                    self.request = receiver.tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self) -> None:
                # A handshake that is not expected has no lines: it counts as an empty request.
                unexpected = not receiver.tls and self.connection.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE
                file = BytesIO(b"\r\n") if unexpected else self.rfile
                line = file.readline().decode().strip()
                headers = {name.lower(): value for name, value in parse_headers(file).items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                receiver.received.append(Received(line, headers, body))
                number = min(len(receiver.received), len(answers)) - 1
                if last and number == len(answers) - 1:
                    last.close()
                answers[number](self.wfile, receiver._closing)

            def finish(self) -> None:
                super().finish()
                self.request.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: clients hang up, and some are meant to."""

        if self.tls:
            self.tls.sni_callback = lambda _, name, __: self.names.append(name)
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=ordering"


def verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check a message as a receiver does that has read https://www.standardwebhooks.com and none of our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}"
    wanted = base64.b64encode(hmac.new(key, content.encode(), hashlib.sha256).digest()).decode()
    given = [one.split(",", 1) for one in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(signature, wanted) for version, signature in given)
