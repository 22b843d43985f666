"""Connects a function to the services that its environment names."""

from __future__ import annotations

import gc
import logging
import os
from typing import TypeVar

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import connect_tables
from ordering.aws.kms import connect_kms

H = TypeVar("H")

# By default, only warnings are logged in Lambda.
logging.getLogger("ordering").setLevel(logging.INFO)


def _name_function(record: logging.LogRecord) -> bool:
    record.function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    return True


if os.environ.get("AWS_SAM_LOCAL"):
    # In Lambda each function has a log group of its own; locally all of them write to one file.
    logging.getLogger("ordering").addFilter(_name_function)


def allowed_origins() -> frozenset[str]:
    """Return the origins of web pages that may call the API; the environment separates them by commas."""
    settings = os.environ
    return frozenset(settings.get("ALLOWED_ORIGINS", "").split(",")) - {""}


def open_connections() -> Connections:
    """Return the connections that the environment names. Only the tables are connected before their first use."""
    return Connections(os.environ, connect_tables(), connect_kms())


def initialised(handler: H) -> H:
    """Return a function's handler, at the end of its initialisation.

    In Lambda the garbage collector is off while a function initialises. Here it is switched on, with Python's own
    thresholds, and leaves out what exists by now, all of which stays.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return handler
