"""Which tests run in the same worker of pytest-xdist."""

from __future__ import annotations

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped] # it has no types

REAL, FIXTURE = "the real stack", "the fixture's stack"

_STACKS = {
    "tests/client/": REAL,
    "tests/gateway/test_deal_orders.py": REAL,
    "tests/gateway/test_deployed_stack.py": REAL,
    "tests/gateway/test_ecard_orders.py": REAL,
    "tests/gateway/test_fulfilment.py": REAL,
    "tests/gateway/test_refusals.py": REAL,
    "tests/gateway/test_training_orders.py": REAL,
    "tests/gateway/local/": FIXTURE,
}
"""The stack that the tests below a path share."""


class StackScheduling(LoadFileScheduling):  # type: ignore[misc] # as above
    """Gives a worker the tests of a whole file, and those of all files that share a stack, which then starts once."""

    def _split_scope(self, nodeid: str) -> str:
        return next((stack for path, stack in _STACKS.items() if nodeid.startswith(path)), nodeid.split("::", 1)[0])
