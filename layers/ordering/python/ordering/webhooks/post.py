"""Posts to the URLs that partners registered. No other module sends HTTP requests to addresses from outside.

The host is looked up once. All of its addresses must be public, and the connection is made to one of the checked
addresses, so that a later change of the DNS entry cannot lead it elsewhere. Only the status and `Retry-After` of the
response are used, and a failure is described in fixed words, without any text from outside.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any

from ordering.clock import Clock, Deadline, system_clock
from ordering.values import Value, field
from ordering.webhooks.addresses import WebAddress, is_public, read_address
from ordering.webhooks.transport import WITHIN, NotPosted, Response

ANSWER_AT_MOST = 64 * 1024
"""Most bytes that are read of a response, its head included."""

Resolve = Callable[[str, int], Sequence[str]]
"""Looks up the IP addresses of a host.

Raises:
    OSError: The host has no address, or the lookup failed.
"""


def resolve(host: str, port: int) -> list[str]:
    """Look up a host with the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Poster(Value):
    """Posts to URLs.

    Args:
        anywhere: Whether any address and port are allowed, also without TLS: for a local run.
        trust: The certificate authorities that TLS trusts; by default those of the system.
        within: Seconds that a post may take, from looking up the host to the end of the response.
    """

    anywhere: bool = False
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = resolve
    within: float = WITHIN
    now: Clock = system_clock

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Post a body and return the final response: interim ones (1xx) are skipped. Redirects are not followed.

        Raises:
            NotPosted: The URL is not allowed, no response arrived in time, or it is not valid HTTP.
        """
        deadline = Deadline.after(self.within)
        try:
            address = read_address(url, anywhere=self.anywhere)
        except ValueError as error:
            raise NotPosted("the URL is not allowed") from error
        try:
            connection = self._connect(address, self._addresses(address, deadline), deadline)
            with connection:
                answer = _exchange(_Bounded(connection, deadline), _request(address, headers, body))
                return Response(answer.status, _retry_after(answer.getheader("Retry-After"), self.now()))
        except TimeoutError as error:
            raise NotPosted("it took too long") from error
        except ssl.SSLError as error:
            raise NotPosted("TLS failed") from error
        except OSError as error:
            raise NotPosted("the connection failed") from error
        except (HTTPException, ValueError, _Enough) as error:
            raise NotPosted("the response is not valid HTTP") from error

    def _addresses(self, address: WebAddress, deadline: Deadline) -> Sequence[str]:
        found = list(dict.fromkeys(self._look_up(address, deadline)))
        if not self.anywhere and not all(is_public(one) for one in found):
            raise NotPosted("the host has an address that is not public")
        if not found:
            raise NotPosted("the host has no address")
        return found

    def _look_up(self, address: WebAddress, deadline: Deadline) -> Sequence[str]:
        """Look up a host in a thread of its own: the system's resolver has no timeout that a caller can set."""
        found: list[Sequence[str]] = []

        def look_up() -> None:
            with suppress(OSError, UnicodeError):
                found.append(self.resolve(address.host, address.port))

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(max(deadline.remaining(), 0))
        if thread.is_alive():
            raise NotPosted("it took too long to look up the host")
        if not found:
            raise NotPosted("the host could not be looked up")
        return found[0]

    def _connect(self, address: WebAddress, addresses: Sequence[str], deadline: Deadline) -> socket.socket:
        raw = _first_of(addresses, address.port, deadline)
        if not address.secure:
            return raw
        try:
            raw.settimeout(_remaining(deadline))
            return self.trust.wrap_socket(raw, server_hostname=address.host)
        except BaseException:
            raw.close()
            raise


class _Enough(Exception):
    """The response is longer than is read."""


class _Bounded(io.RawIOBase):
    """A connection that is used until a deadline, and from which at most `ANSWER_AT_MOST` bytes are read."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._left = ANSWER_AT_MOST
        self._reader = _Reader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise _Enough
        # Set again for each read: otherwise a response that arrives byte by byte could take for ever.
        self._connection.settimeout(_remaining(self._deadline))
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._connection.settimeout(_remaining(self._deadline))
            left = left[self._connection.send(left) :]

    def makefile(self, *_: Any) -> io.BufferedReader:
        return self._reader


class _Reader(io.BufferedReader):
    """Reads one response after another: it stays open when a response that was read from it is closed."""

    def close(self) -> None:
        pass


def _first_of(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address that accepts a connection; the remaining time is shared among the addresses."""
    *earlier, last = addresses
    for count, address in enumerate(earlier):
        with suppress(OSError):
            return socket.create_connection((address, port), _remaining(deadline) / (len(addresses) - count))
    return socket.create_connection((last, port), _remaining(deadline))


def _remaining(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _request(address: WebAddress, headers: Mapping[str, str], body: bytes) -> bytes:
    head = {"Host": address.host_header, "Connection": "close", **headers, "Content-Length": str(len(body))}
    lines = [f"POST {address.target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _exchange(connection: _Bounded, request: bytes) -> HTTPResponse:
    connection.send(request)
    response = _next_response(connection)
    # Any number of interim responses may come first (RFC 9110, 15.2); the deadline and the bound on bytes end them.
    while response.status < 200 and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        response = _next_response(connection)
    # The status has arrived, so errors in the rest of the response do not matter, unless it takes too long.
    with suppress(_Enough, HTTPException, ValueError, ConnectionError):
        while response.read(8192):
            pass
    return response


def _next_response(connection: _Bounded) -> HTTPResponse:
    response = HTTPResponse(connection, method="POST")  # type: ignore[arg-type] # all that is used of a socket
    response.begin()
    return response


def _retry_after(text: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, from a number or from a date of HTTP (RFC 9110, 10.2.3).

    It may not be negative; None if there is none, or if it is malformed, also because the response has several.
    """
    text = (text or "").strip(" \t")
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    if not re.fullmatch("[A-Z][a-z]{2}.{20,40}", text, re.ASCII):
        return None
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    # The oldest of the three forms of a date names no zone: all of them are in GMT.
    until = until.replace(tzinfo=until.tzinfo or UTC)
    return max((until - now).total_seconds(), 0.0)
