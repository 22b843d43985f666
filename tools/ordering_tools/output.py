"""The output of the commands: what a terminal cannot show is replaced, and a reader may stop reading at any time.

A command has done its work when it prints about it. So the output must not make it fail: not on a terminal that has no
`₽`, and not with `| head -1`.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


def make_lenient() -> None:
    """Replace the standard output and the standard error of this process by streams that do not make it fail.

    A character that their encoding does not have is written as `?`. What is written after the reader has closed a pipe
    is dropped.
    """
    sys.stdout, sys.stderr = lenient(sys.stdout), lenient(sys.stderr, line_buffering=True)


def lenient(stream: TextIO, *, line_buffering: bool = False) -> TextIO:
    """Return a lenient stream that writes to the same file; a stream without a file is returned as it is.

    Args:
        line_buffering: Write each line at once even if the file is no terminal.
    """
    try:
        stream.flush()
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):  # it is None, no file, or closed
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(number, "wb", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=line_buffering or os.isatty(number),
    )


class _Pipe(io.FileIO):
    """A file that drops what is written to it once its reader has closed it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
