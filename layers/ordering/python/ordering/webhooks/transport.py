"""The interface of the HTTP call that delivery makes; `post` implements it, and only the delivery function loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ordering.values import Value

WITHIN = 5.0
"""Seconds that a post may take, from looking up the host to the end of the response."""


class Response(Value):
    """What counts of an endpoint's final response."""

    status: int
    retry_after: float | None = None
    """Seconds that its `Retry-After` asks for; None if it has none that is valid. Any size: its user bounds it."""


class NotPosted(Exception):
    """There was no response. The message gives the reason, without any text from outside."""


class Post(Protocol):
    """Posts a body to a URL."""

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Response:
        """Return the final response, or raise `NotPosted`."""


def not_posted(url: str, headers: Mapping[str, str], body: bytes, /) -> Response:  # noqa: ARG001 - the signature of `Post`
    """Stand in for a `Post` in a process that does not deliver events.

    Raises:
        NotPosted: Always.
    """
    raise NotPosted("this process does not post")
