"""Run the client's own tests of deal orders, as they ship, against the API that BASECRM_BASE_URL names.

Two things are added from outside, none is changed: deals, which the tests make first and which live in the CRM and not
behind this API, are handed out here; and requests keep to the API's rate.

Prints a JSON object: what went wrong by the name of each test that ran, null where nothing did.
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
    """What went wrong, by the name of each test that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: dict[str, str | None] = {}

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        super().startTest(test)
        self.wrong[test.id()] = None

    def told(self) -> dict[str, str | None]:
        for test, what in [*self.failures, *self.errors, *self.skipped]:
            self.wrong[test.id()] = what
        return self.wrong


def hand_out_deals() -> None:
    """Let each deal that a test makes be one that nobody has had."""
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
    json.dump(outcomes.told(), sys.stdout)


if __name__ == "__main__":
    main()
