"""What seals secrets for the tables."""

from __future__ import annotations

from typing import Protocol


class Sealer(Protocol):
    """Seals codes for the table. What is sealed under one context must not open under another."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Seal a code."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Open what was sealed under the same context; raise whatever it likes for anything else."""
