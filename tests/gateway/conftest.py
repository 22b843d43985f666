"""A stack with the fixture's template, and companies in the real one, which one session of tests shares."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.ecard_helpers import Company, add_company
from support.local_stack import LocalStack, running
from support.real_stack import RealStack

FIXTURE = Path(__file__).parent / "local" / "fixture"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("stack")
    with running(folder / "state", template=FIXTURE / "template.yaml", build=folder / "build") as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def companies(real: RealStack) -> Iterator[Callable[[int], Company]]:
    """Make companies that have nothing yet but so much money."""
    with ExitStack() as closing:
        yield lambda paid_in: add_company(real, closing, paid_in)


@pytest.fixture
def company(companies: Callable[[int], Company]) -> Company:
    """A company with 1,000 in its balance that only one test uses."""
    return companies(1_000)
