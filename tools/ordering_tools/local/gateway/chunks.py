"""Bodies in chunks (RFC 9112, 7.1), with extensions and trailers, which are read and dropped."""

from __future__ import annotations

import re
from typing import IO

_LONGEST_LINE = 8 * 1024
_MOST_TRAILERS = 100


class ChunkedBody:
    """A stream of the content of a chunked body."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            ValueError: The chunks are malformed, or the stream ends before they do.
        """
        if not self._left and not self._ended:
            self._begin()
        if self._ended:
            return b""
        part = self._stream.read(min(size, self._left))
        if not part:
            raise ValueError("the body ends within a chunk")
        self._left -= len(part)
        if not self._left and self._line():
            raise ValueError("a chunk is longer than its size")
        return part

    def _begin(self) -> None:
        size, _, _ = self._line().partition(b";")
        if not (found := re.fullmatch(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*", size)):
            raise ValueError("a chunk has no size")
        self._left = int(found[1], 16)
        if not self._left:
            self._ended = True
            if not any(not self._line() for _ in range(_MOST_TRAILERS)):
                raise ValueError("the body has too many trailers")

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("a line of the chunks has no end")
        return line.removesuffix(b"\n").removesuffix(b"\r")
