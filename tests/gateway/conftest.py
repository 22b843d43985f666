"""A stack with the fixture's template, which one session of tests shares."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ordering_tools.local.stack import LocalStack, running

FIXTURE = Path(__file__).parent / "fixture"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("stack")
    with running(folder / "state", template=FIXTURE / "template.yaml", build=folder / "build") as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=20) as client:
        yield client
