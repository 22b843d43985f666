"""Posts to addresses that strangers gave us, and the only module that does.

The host is looked up once. All of its addresses must be public, and the connection is made to one of those that were
checked, so that a name that is looked up differently a moment later leads nowhere else. Nothing is believed of the
answer but its status; all that fails is told by a few words of our own.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any

from ordering.clock import Deadline
from ordering.webhooks.addresses import WebAddress, is_public, read_address
from ordering.webhooks.transport import WITHIN, NotPosted

ANSWER_AT_MOST = 64 * 1024
"""Bytes that are read of an answer, its head included."""

Resolve = Callable[[str, int], Sequence[str]]
"""Looks up the IP addresses of a host.

Raises:
    OSError: It has none, or nobody knows.
"""


def resolve(host: str, port: int) -> list[str]:
    """Look up a host with the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts to web addresses.

    Args:
        anywhere: Whether any address and port will do, and no TLS: for a local run.
        trust: Whom TLS trusts; the system's authorities unless told otherwise.
    """

    anywhere: bool = False
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    resolve: Resolve = field(default=resolve, repr=False)
    within: float = WITHIN

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post a body and return the answer's status; redirects are not followed.

        Raises:
            NotPosted: The address is refused, nobody answers in time, or what they answer is no HTTP.
        """
        deadline = Deadline.after(self.within)
        try:
            address = read_address(url, anywhere=self.anywhere)
        except ValueError as error:
            raise NotPosted("the URL is refused") from error
        try:
            connection = self._connect(address, self._addresses(address, deadline), deadline)
            with connection:
                return _exchange(_Bounded(connection, deadline), _request(address, headers, body))
        except TimeoutError as error:
            raise NotPosted("it took too long") from error
        except ssl.SSLError as error:
            raise NotPosted("TLS failed") from error
        except OSError as error:
            raise NotPosted("the connection failed") from error
        except (HTTPException, ValueError, _Enough) as error:
            raise NotPosted("the answer is no HTTP") from error

    def _addresses(self, address: WebAddress, deadline: Deadline) -> Sequence[str]:
        found = list(dict.fromkeys(self._look_up(address, deadline)))
        if not self.anywhere and not all(is_public(one) for one in found):
            raise NotPosted("the host has an address that is not public")
        if not found:
            raise NotPosted("the host has no address")
        return found

    def _look_up(self, address: WebAddress, deadline: Deadline) -> Sequence[str]:
        """Look up a host in a thread of its own: the system's resolver cannot be told how long it may take."""
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
            raise NotPosted("the host is not known")
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
    """More has come than is read."""


class _Bounded(io.RawIOBase):
    """A connection that is read and written until a deadline, and no more than so many bytes of it."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._left = ANSWER_AT_MOST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise _Enough
        # Anew for each read: otherwise an answer that comes byte by byte could take for ever.
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
        return io.BufferedReader(self)


def _first_of(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first of some addresses that takes the connection; the time is shared among them."""
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


def _exchange(connection: _Bounded, request: bytes) -> int:
    connection.send(request)
    response = HTTPResponse(connection, method="POST")  # type: ignore[arg-type] # all that is used of a socket
    response.begin()
    # It has answered; what is wrong with the rest of it is nothing to us, unless it takes too long.
    with suppress(_Enough, HTTPException, ValueError, ConnectionError):
        while response.read(8192):
            pass
    return response.status
