"""HTTP/1.1 for servers of the local run, on sockets that are listening already. h11 reads and writes the protocol."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import responses
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    import socket

LARGEST_BODY = 64 * 1024 * 1024
"""A longer body is read, because a client sends it before it reads the response, but only its start is kept: more bytes
than any quota allows."""
_PART = 16 * 1024
_LONGEST_HEAD = 48 * 1024
"""A head that has more bytes and is not at its end is refused, after any part."""
_CLOSE = ("Connection", "close")


@dataclass(frozen=True)
class HttpRequest:
    """A request with its whole body."""

    method: str
    path: str
    """Percent-encoded, as it was sent."""
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str

    def header(self, name: str) -> str | None:
        """The last value of a header; None if the request does not have it."""
        return next((value for each, value in reversed(self.headers) if each.lower() == name.lower()), None)


@dataclass(frozen=True)
class Answer:
    """A response to a client."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def encoded(self) -> h11.Response:
        """The head of the response.

        Raises:
            h11.LocalProtocolError: A header cannot be sent.
        """
        fields = [(name.encode(), value.encode("utf-8", "replace").strip()) for name, value in self.headers]
        if self.status not in (204, 304):
            fields.append((b"Content-Length", str(len(self.body)).encode()))
        return h11.Response(status_code=self.status, headers=fields, reason=responses.get(self.status, "").encode())


class HttpServer(ThreadingTCPServer):
    """A server with a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), _Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def answer(self, request: HttpRequest) -> Answer:
        """Respond to a request."""
        raise NotImplementedError

    def malformed(self, source_ip: str) -> Answer:  # noqa: ARG002 - for those that override it
        """Respond to what is not HTTP."""
        return Answer(400)


class _Connection(StreamRequestHandler):
    server: HttpServer
    # Without delay: a client would wait 40 ms for a second packet.
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self._http = h11.Connection(h11.SERVER, _LONGEST_HEAD)
        with suppress(ConnectionError):  # The client has gone.
            try:
                self._serve()
            except h11.RemoteProtocolError:
                refused = self.server.malformed(self.client_address[0])
                self._send(replace(refused, headers=[*refused.headers, _CLOSE]))

    def _serve(self) -> None:
        while request := self._receive():
            self._send(self.server.answer(request), with_body=request.method != "HEAD")
            if self._http.our_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    def _receive(self) -> HttpRequest | None:
        """The next request; None if the client has closed the connection.

        Raises:
            h11.RemoteProtocolError: It is malformed.
        """
        head = self._next()
        if not isinstance(head, h11.Request):
            return None
        if {b"content-length", b"transfer-encoding"} <= dict(head.headers).keys():
            # Where a proxy reads the length and a server the chunks, one request is two (RFC 9112, 6.3).
            raise h11.RemoteProtocolError("a body has a length or chunks")
        body = bytearray()
        while isinstance(part := self._next(), h11.Data):
            if len(body) <= LARGEST_BODY:
                body += part.data
        path, _, query = head.target.decode().partition("?")
        return HttpRequest(
            method=head.method.decode(),
            path=path,
            query=query,
            headers=[(name.decode(), value.decode("latin-1")) for name, value in head.headers.raw_items()],
            body=bytes(body),
            source_ip=self.client_address[0],
            protocol=f"HTTP/{head.http_version.decode()}",
        )

    def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            self._http.receive_data(self.connection.recv(_PART))
        return event

    def _send(self, answer: Answer, *, with_body: bool = True) -> None:
        body = [h11.Data(data=answer.body)] if with_body and answer.status not in (204, 304) else []
        self._write(answer.encoded(), *body, h11.EndOfMessage())

    def _write(self, *events: h11.Event) -> None:
        # In one packet, if it fits.
        self.connection.sendall(b"".join(self._http.send(event) or b"" for event in events))
