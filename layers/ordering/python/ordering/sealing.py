"""Secrets in the tables are sealed: encrypted with authentication, for a context (as an AEAD does, RFC 5116)."""

from __future__ import annotations

from typing import Protocol


class BrokenSeal(Exception):
    """A sealed text was changed, or was sealed for another context."""


class Sealer(Protocol):
    """Seals and opens secrets."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Return a secret sealed for a context."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return the secret that was sealed for this context; any other input raises."""
