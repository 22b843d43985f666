"""The interface that seals and opens secrets: authenticated encryption for a context (AEAD, RFC 5116)."""

from __future__ import annotations

from typing import Protocol


class BrokenSeal(Exception):
    """A sealed secret was changed, or was sealed for another context."""


class Sealer(Protocol):
    """Seals and opens secrets."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt a secret. Opening it takes the same context."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt a sealed secret; raises if it was not sealed for this context, or was changed."""
