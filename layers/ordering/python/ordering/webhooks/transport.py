"""The one call that delivery makes over HTTP: `post` carries it out, in the delivery function alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

WITHIN = 5.0
"""Seconds that a post may take, from looking up the host to the end of the answer."""


class NotPosted(Exception):
    """There was no answer; the message says why and holds nothing from outside."""


class Post(Protocol):
    """Posts a body to a URL."""

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes, /) -> int:
        """Return the status of the answer, or raise `NotPosted`."""


def not_posted(url: str, headers: Mapping[str, str], body: bytes, /) -> int:  # noqa: ARG001 - as every `Post`
    """Stand in for a `Post` in a process that delivers nothing.

    Raises:
        NotPosted: Always.
    """
    raise NotPosted("nothing is posted from here")
