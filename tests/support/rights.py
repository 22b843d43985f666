"""The rights of functions at tables, which calls in tests have as well: IAM refuses there what no statement allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ordering.aws.dynamodb import Send
from ordering_tools.template import Template
from support.policies import Access, Statement, allows, statements, table_accesses

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


class MissingRightError(BaseException):
    """A function called what its policy does not allow. As no Exception, it is handled by no code under test."""


def check(function: str, operation: str, request: Mapping[str, Any]) -> None:
    """Check a call of DynamoDB that the function in a folder, such as `training/orders`, makes.

    Raises:
        MissingRightError: Its policy does not allow the call.
    """
    for access in table_accesses(operation, request):
        if not _allowed(function, access):
            raise MissingRightError(f"the policy of functions/{function} does not allow {access}")


@cache
def _allowed(function: str, access: Access) -> bool:
    return any(allows(statement, access) for statement in _statements()[function])


@cache
def _statements() -> dict[str, list[Statement]]:
    functions = Template.load(TEMPLATE).with_own_tables().document["Resources"].values()
    return {
        one["Properties"]["CodeUri"].removeprefix("functions/"): [*statements(one["Properties"]["Policies"])]
        for one in functions
        if one["Type"] == "AWS::Serverless::Function"
    }


@dataclass
class Limited:
    """A connection to tables that is limited while a function uses it."""

    send: Send
    function: str | None = None

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if self.function:
            check(self.function, operation, request)
        return self.send(operation, request)

    @contextmanager
    def used_by(self, function: str) -> Iterator[None]:
        """Give the connection the rights of a function."""
        self.function = function
        try:
            yield
        finally:
            self.function = None
