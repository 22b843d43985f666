"""What measurements share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage inside the context: it is mostly the model's, whose items are many, and stops all threads."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
