"""The official client and its environment, calling the real stack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from client.deals import Deals
from client.official_client import PYTHON, TESTS, OfficialClient, command
from ordering_tools.demo import deals as demo_deals
from support.real_stack import RealStack


@pytest.fixture(scope="session")
def deals(real: RealStack) -> Deals:
    return Deals(real.stack)


@pytest.fixture(scope="session")
def environment(deals: Deals) -> dict[str, str]:
    """Environment variables of the client's processes, as its own tests require."""
    assert PYTHON.exists(), "run `make test` once: it makes the client's environment"
    own = {"BASECRM_BASE_URL": deals.demo_file["baseUrl"], "BASECRM_ACCESS_TOKEN": deals.token(deals.account())}
    return {**os.environ, **own, "NO_PROXY": "*"}


@pytest.fixture(scope="session")
def process(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command("conversation"), cwd=TESTS, env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield process


@pytest.fixture
def crm(process: subprocess.Popen[str], deals: Deals) -> OfficialClient:
    """The client of a new account without data."""
    return OfficialClient(process, deals.token(deals.account()))


@pytest.fixture
def demo_crm(process: subprocess.Popen[str], deals: Deals) -> OfficialClient:
    """The client of the demo account."""
    return OfficialClient(process, deals.token(demo_deals.ACCOUNT))
