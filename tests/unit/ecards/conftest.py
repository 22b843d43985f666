"""The tables that tests of certificates and stock use."""

from __future__ import annotations

import pytest

from ordering.aws.dynamodb import Table
from support.aws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """Tables in memory, new for each test."""
    return Memory()


@pytest.fixture
def table(memory: Memory) -> Table:
    """The orders table, whose first retry does not wait."""
    return Table(memory, "OrdersTable", first_pause=0.0)
