"""Where a function's environment becomes its connections."""

from __future__ import annotations

import logging
import os

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import connect_tables
from ordering.aws.kms import connect_kms

# Lambda logs warnings only, unless a logger says otherwise.
logging.getLogger("ordering").setLevel(logging.INFO)


def connect() -> Connections:
    """Connect to the tables, and prepare connections to the other services, as the environment names them."""
    return Connections(os.environ, connect_tables(), connect_kms())
