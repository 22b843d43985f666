"""A stack of the fixture's template, and companies in the real stack, each shared by one session of tests."""

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
    """Creates companies with the given balance and no orders."""
    with ExitStack() as closing:
        yield lambda paid_in: add_company(real, closing, paid_in)


@pytest.fixture
def company(companies: Callable[[int], Company]) -> Company:
    """A company with a balance of 1,000, for one test only."""
    return companies(1_000)
