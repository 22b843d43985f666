"""Connections to one endpoint over HTTP/1.1, which are kept open between calls and shared by threads.

CallFailed        no complete response: the call may or may not have been executed
└── NotReached    no connection: the call was not executed
"""

from __future__ import annotations

import socket
import ssl
import time
import weakref
import zlib
from collections import deque
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from select import POLLIN, poll

_AMAZON = Path(__file__).with_name("amazon-trust-services.pem")

KEPT_FOR = 60.0
"""Seconds after which a connection that was not used is not used again, as in AWS's SDK for Java.

The other side may have closed it while the process was frozen, and the message about it may be lost.
"""


class CallFailed(Exception):
    """No complete response arrived. Its text has the host and the system's reason, and nothing of the request."""


class NotReached(CallFailed):
    """There was no connection, so nothing was executed."""


class WholeResponse:
    """A whole response: its status, its header fields by their names in lower case, and its body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the parts."""
        self.status = status
        self.headers = headers
        self.body = body


class KeptConnection:
    """One connection. A request is written, then its response is read."""

    def __init__(self, host: str, opened: socket.socket) -> None:
        """Take a connected socket to a host."""
        self.host = host
        self._socket = opened
        self._unused_since = time.time()

    @property
    def is_usable(self) -> bool:
        """Whether it can be expected to work: it was used lately, and the other side has not closed it."""
        # The clock of the wall: the monotonic one can stand still while a process is frozen.
        if not 0 <= time.time() - self._unused_since < KEPT_FOR:
            return False
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        return not waiting.poll(0)  # what is to be read now can only be the end

    def write(self, request: bytes) -> None:
        """Write a whole request.

        Raises:
            CallFailed: The connection broke.
        """
        try:
            self._socket.sendall(request)
        except OSError as error:
            raise self._failed(error) from error

    def read(self) -> tuple[WholeResponse, bool]:
        """Read a whole response; returns it, and whether the connection stays open.

        Raises:
            CallFailed: The connection broke, no response arrived in time, or it is not whole.
        """
        found = HTTPResponse(self._socket, method="POST")
        try:
            found.begin()
            body = found.read()
        except (OSError, HTTPException) as error:
            raise self._failed(error) from error
        finally:
            stays = not found.will_close
            found.close()
        headers = {name.lower(): value for name, value in found.getheaders()}
        checksum = headers.get("x-amz-crc32")
        if checksum and checksum != str(zlib.crc32(body)):
            raise CallFailed(f"{self.host}: the response does not have its checksum")
        if headers.get("content-encoding", "identity") != "identity":
            raise CallFailed(f"{self.host}: the response is encoded, which no request accepts")
        self._unused_since = time.time()
        return WholeResponse(found.status, headers, body), stays

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _failed(self, error: Exception) -> CallFailed:
        # An error of the protocol can quote the response; the system's error has nothing of it.
        reason = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
        return CallFailed(f"{self.host}: {reason}")


class Trust:
    """Settings of TLS 1.2 and later, and the authorities that are trusted.

    At first these are only Amazon's own, which sign the certificates of AWS's services: all authorities of an operating
    system take 20 ms of CPU time to read. Source: https://www.amazontrust.com/repository/
    """

    def __init__(self, bundle: str | None = None) -> None:
        """Trust the authorities in a file instead, if there is one.

        Raises:
            OSError: There is no such file, or it has no certificates.
        """
        self.settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.settings.minimum_version = ssl.TLSVersion.TLSv1_2
        self.settings.load_verify_locations(bundle or _AMAZON)
        self._is_wide = bundle is not None

    def widen(self) -> bool:
        """Trust the operating system's authorities too; returns whether they were not trusted before."""
        if self._is_wide:
            return False
        self.settings.load_default_certs()
        self._is_wide = True
        return True


class ConnectionPool:
    """The connections to one endpoint.

    Args:
        host: Its name or address.
        port: Its port.
        trust: The authorities that are trusted; None for HTTP without TLS.
        connected_within: Seconds until a connection must be made.
        answered_within: Seconds until the next part of a response must arrive.
    """

    def __init__(
        self, host: str, port: int, trust: Trust | None, connected_within: float, answered_within: float
    ) -> None:
        """See the class."""
        self.host = host
        self._port = port
        self._trust = trust
        self._connected_within = connected_within
        self._answered_within = answered_within
        self._unused: deque[KeptConnection] = deque()
        weakref.finalize(self, _close_all, self._unused)

    def take(self) -> KeptConnection:
        """Return a connection that no other thread uses: the one that was used last, or a new one.

        Raises:
            NotReached: No connection could be made.
        """
        while True:
            try:
                kept = self._unused.pop()
            except IndexError:
                return self._open()
            if kept.is_usable:
                return kept
            kept.close()

    def give_back(self, connection: KeptConnection) -> None:
        """Keep a connection whose response has been read, for another request."""
        self._unused.append(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        _close_all(self._unused)

    def _open(self) -> KeptConnection:
        try:
            return self._connect()
        except ssl.SSLCertVerificationError as error:
            if self._trust is None or not self._trust.widen():
                raise self._not_reached(error) from error
        except OSError as error:
            raise self._not_reached(error) from error
        try:
            return self._connect()
        except OSError as error:
            raise self._not_reached(error) from error

    def _connect(self) -> KeptConnection:
        opened = socket.create_connection((self.host, self._port), self._connected_within)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust:
                opened = self._trust.settings.wrap_socket(opened, server_hostname=self.host)
            opened.settimeout(self._answered_within)
        except OSError:
            opened.close()
            raise
        return KeptConnection(self.host, opened)

    def _not_reached(self, error: OSError) -> NotReached:
        return NotReached(f"{self.host}:{self._port}: {type(error).__name__}: {error}")


def _close_all(connections: deque[KeptConnection]) -> None:
    while connections:
        connections.pop().close()
