"""Which order, partner, request or message a log line is about: the same keys on the lines of every function.

    with about(order="training#51", partner="northwind"):
        _log.info("mail sent", extra={"mail": 1})

Keys: `order` is an order's name (`book.names`), `partner` a partner's id, `request` the id of an API request,
`message_id` that of a queue's message, `event` that of an event, `correlation` the id of the request that created the
order (on the lines of workers). A request's line has more (`entry.api`). What the line itself has in `extra` wins.
A key ends with the block that set it, so that no line has the key of another order in the same batch. An exception
takes the keys of its block along: whichever block logs it, its line has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_block: ContextVar[dict[str, Any] | None] = ContextVar("block", default=None)
_KEYS = "keys_of_log_lines"


@contextmanager
def about(**keys: Any) -> Iterator[None]:
    """Add keys to all lines that are logged within the block, besides those of the blocks around it."""
    around = {**noted()}
    if keys.get("order", around.get("order")) != around.get("order"):
        around.pop("correlation", None)  # it is that of the other order
    keys = {**around, **keys}
    token = _block.set(keys)
    try:
        yield
    except Exception as error:
        vars(error).setdefault(_KEYS, keys)  # set already, if it comes from a block within
        raise
    finally:
        _block.reset(token)


def note(**keys: Any) -> None:
    """Add keys to the lines of the innermost block from here on. Without a block it does nothing."""
    if (block := _block.get()) is not None:
        block.update(keys)


def correlate(request: str | None) -> None:
    """Note the id of the request that created the order of the innermost block; None if it is not known.

    Requests' own lines do not have it. Otherwise each later read of an order would be among what its create caused.
    """
    if request and "request" not in noted():
        note(correlation=request)


def noted() -> Mapping[str, Any]:
    """Return the keys of the innermost block."""
    return _block.get() or {}


def keys_on(error: BaseException | None) -> Mapping[str, Any]:
    """Return the keys of the innermost block that an exception passed through."""
    keys: Mapping[str, Any] = getattr(error, _KEYS, {})
    return keys


def _add_keys(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    for name, value in {**(_block.get() or {}), **keys_on(error)}.items():
        vars(record).setdefault(name, value)
    return True


logging.getLogger("ordering").addFilter(_add_keys)
