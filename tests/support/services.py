"""The services of all functions over one connection, as tests use them."""

from ordering.entry.wiring import Services

__all__ = ["Services"]
