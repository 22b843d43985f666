"""The local run's embedded engine, fresh for each benchmark that uses it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ordering.aws.direct import AwsAccount
from ordering.aws.dynamodb import Send
from ordering_tools.local.engine.aws_account import service_variables
from ordering_tools.local.engine.engine import Engine, create_tables, dynamodb
from ordering_tools.template import TableDefinition, Template

ROOT = Path(__file__).resolve().parents[1]
IDEMPOTENCY = "IdempotencyTable"
IDEMPOTENCY_KEY = "id"
"""The library's own table, with the key that its documentation gives it."""

Connect = Callable[[], Send]
"""Makes a connection; each writer has its own, as each function's process does."""

_PYTHON = ROOT / ".venvs" / "engine" / "bin" / "python"


@contextmanager
def running() -> Iterator[Connect]:
    """Run an engine with the template's tables and the library's for as long as the context lasts."""
    with started() as endpoint:
        yield lambda: connected(endpoint)


@contextmanager
def started() -> Iterator[str]:
    """Run an engine as `running` does; yields its endpoint."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        engine = Engine(_PYTHON, Path(folder))
        try:
            engine.wait()
            create_tables(
                dynamodb(engine.endpoint), [*Template.load(ROOT / "template.yaml").tables, _idempotency_table()]
            )
            yield engine.endpoint
        finally:
            engine.stop()


def connected(endpoint: str) -> Send:
    """Connect to an engine, as functions do."""
    return AwsAccount(service_variables(endpoint, endpoint)).tables()


def _idempotency_table() -> TableDefinition:
    create = {
        "TableName": IDEMPOTENCY,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": IDEMPOTENCY_KEY, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": IDEMPOTENCY_KEY, "KeyType": "HASH"}],
    }
    return TableDefinition(create, None)
