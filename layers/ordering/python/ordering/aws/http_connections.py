"""Connections to one endpoint over HTTP/1.1, which are kept open between calls and shared by threads.

CallFailed        no complete response: the call may or may not have been executed
└── NotReached    no connection: the call was not executed
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import weakref
import zlib
from collections import deque
from collections.abc import Mapping
from io import BufferedReader
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
        try:
            with self._socket.makefile("rb") as file:
                response, stays = _read_response(file)
        except (OSError, ValueError) as error:
            raise self._failed(error) from error
        checksum = response.headers.get("x-amz-crc32")
        if checksum and checksum != str(zlib.crc32(response.body)):
            raise CallFailed(f"{self.host}: the response does not have its checksum")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise CallFailed(f"{self.host}: the response is encoded, which no request accepts")
        self._unused_since = time.time()
        return response, stays

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _failed(self, error: Exception) -> CallFailed:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error)
        return CallFailed(f"{self.host}: {reason}")


_LINE = 65_536
"""Most bytes of a line."""

_FIELDS = 100
"""Most header fields of a response."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


def _read_response(file: BufferedReader) -> tuple[WholeResponse, bool]:
    """Read a response; returns it, and whether the connection stays open. Source: RFC 9112.

    `http.client` takes a third of a call's time to read header fields, because it reads them as those of a mail.

    Raises:
        ValueError: It is not whole, or no response of HTTP/1. The text quotes nothing of it.
        OSError: The connection broke, or nothing arrived in time.
    """
    version, status, headers = _read_head(file)
    while status < 200:  # there is more to come
        version, status, headers = _read_head(file)
    stays = version == 1 and headers.get("connection", "").lower() != "close"
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if length is not None or headers["transfer-encoding"].lower() != "chunked":
            raise ValueError("the response has an unknown form")
        body = b"".join(iter(lambda: _read_chunk(file), b""))
        _read_fields(file)
    elif length is not None:
        if not (length.isascii() and length.isdigit()):
            raise ValueError("the response has no valid length")
        body = _read_bytes(file, int(length))
    else:
        body, stays = b"" if status in {204, 304} else file.read(), False
    return WholeResponse(status, headers, body), stays


def _read_head(file: BufferedReader) -> tuple[int, int, dict[str, str]]:
    """Return the minor version of HTTP/1, the status and the header fields."""
    line = file.readline(_LINE)
    found = _STATUS_LINE.fullmatch(line)
    if not found:
        raise ValueError("the response is not HTTP" if line else "the connection was closed")
    return int(found[1]), int(found[2]), _read_fields(file)


def _read_fields(file: BufferedReader) -> dict[str, str]:
    """Read lines to the first empty one; returns the fields by their names in lower case."""
    fields: dict[str, str] = {}
    for _ in range(_FIELDS):
        line = file.readline(_LINE)
        if line in {b"\r\n", b"\n"}:
            return fields
        name, colon, value = line.decode("latin-1").partition(":")
        key, text = name.lower(), value.strip()
        if not colon or not line.endswith(b"\n") or name != name.strip():
            raise ValueError("the response's head is not whole")
        if fields.setdefault(key, text) != text:
            if key == "content-length":
                raise ValueError("the response has two lengths")
            fields[key] += f", {text}"
    raise ValueError("the response has too many header fields")


def _read_chunk(file: BufferedReader) -> bytes:
    """Return the next chunk; empty after the last one."""
    size = file.readline(_LINE).partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
        raise ValueError("the response is truncated")
    chunk = _read_bytes(file, int(size, 16))
    if chunk and file.readline(_LINE) not in {b"\r\n", b"\n"}:
        raise ValueError("the response is truncated")
    return chunk


def _read_bytes(file: BufferedReader, count: int) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise ValueError("the response is truncated")
    return found


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
        self._is_wide = bool(bundle)

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
        # As bytes, or Python would load its tables of internationalized names.
        name = self.host.encode()
        opened = socket.create_connection((name, self._port), self._connected_within)  # type: ignore[arg-type] # as `getaddrinfo`
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust:
                opened = self._trust.settings.wrap_socket(opened, server_hostname=name)
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
