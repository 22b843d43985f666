"""The official client's own tests, unmodified: each is one test here."""

from __future__ import annotations

import json
import subprocess

import pytest

from client.official_client import TESTS, command

pytestmark = pytest.mark.gateway

METHODS = {
    "orders": ("OrdersServiceTests", ["list", "create", "retrieve", "update", "destroy"]),
    "line_items": ("LineItemsServiceTests", ["list", "create", "retrieve", "destroy"]),
    "products": ("ProductsServiceTests", ["list", "create", "retrieve", "update", "destroy"]),
}
KNOWN = [
    f"basecrm.test.test_{service}_service.{case}.test_{test}"
    for service, (case, methods) in METHODS.items()
    for test in ["service_property_exists", *(f"method_{method}_exists" for method in methods), *methods]
]


@pytest.fixture(scope="module")
def outcomes(environment: dict[str, str]) -> dict[str, str | None]:
    """The failure of each of the client's tests, None if it passed."""
    done = subprocess.run(
        command("official"), cwd=TESTS, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def test_they_are_the_known_ones(outcomes: dict[str, str | None]) -> None:
    """The client's tests that ran are exactly the known ones for orders, line items and products."""
    assert sorted(outcomes) == sorted(KNOWN)


@pytest.mark.parametrize("name", KNOWN, ids=[name.removeprefix("basecrm.test.") for name in KNOWN])
def test_official(outcomes: dict[str, str | None], name: str) -> None:
    """Every test of the client passes against this API."""
    assert outcomes[name] is None, outcomes[name]
