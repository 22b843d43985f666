"""Run the client's own tests of deal orders, unmodified, against the API at BASECRM_BASE_URL.

Two things are added from outside: ids of new deals, which the tests create first but which belong to the CRM and not to
this API; and a pause that keeps requests within the API's rate.

Prints a JSON object: the failure of each test that ran, by the test's name, or null if it passed.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import unittest
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import munch
from basecrm.test import testutils

from client.environment.pacing import pace

MODULES = [f"basecrm.test.test_{name}_service" for name in ("orders", "line_items", "products")]


class Outcomes(unittest.TestResult):
    """The failure of each test that ran, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: dict[str, str | None] = {}

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        super().startTest(test)
        self.wrong[test.id()] = None

    def as_json(self) -> dict[str, str | None]:
        for test, what in [*self.failures, *self.errors, *self.skipped]:
            self.wrong[test.id()] = what
        return self.wrong


def hand_out_deals() -> None:
    """Let each deal that a test creates be a new one."""
    ids = itertools.count(random.randrange(10**9, 10**12))

    def create_deal(_: object, **attributes: Any) -> Any:
        return munch.Munch(attributes, id=next(ids))

    testutils.BaseTestCase.create_deal = create_deal


def main() -> None:
    hand_out_deals()
    pace()
    outcomes = Outcomes()
    # The tests have the client print everything that it sends, token and all.
    with redirect_stdout(StringIO()):
        unittest.TestLoader().loadTestsFromNames(MODULES).run(outcomes)
    json.dump(outcomes.as_json(), sys.stdout)


if __name__ == "__main__":
    main()
