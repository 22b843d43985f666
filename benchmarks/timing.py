"""What measurements share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Let no garbage be collected meanwhile: it is mostly the model's, whose items are many, and stops all threads."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
