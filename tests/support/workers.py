"""Which tests run in the same worker of pytest-xdist."""

from __future__ import annotations

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped] # it has no types

REAL = "the real stack"

_GROUPS = {
    "tests/gateway/local/": "the fixture's stack",
    "tests/gateway/test_artefacts.py": "the artefacts",
    "tests/gateway/test_onboarding.py": "an empty stack",
    "tests/gateway/test_operations.py": "a stack that operators change",
    "tests/gateway/": REAL,
    "tests/client/": REAL,
    "tests/browser/": REAL,
    "tests/fuzz/": REAL,
}
"""What the tests below a path share; the first path counts."""


class StackScheduling(LoadFileScheduling):  # type: ignore[misc] # as above
    """Gives a worker the tests of a whole file, and those of all files that share a stack, which then starts once."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for path, name in _GROUPS.items() if nodeid.startswith(path)), nodeid.split("::", 1)[0])
