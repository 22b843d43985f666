"""Deal orders over tables in memory, new for each test, so that ids begin at 1."""

from __future__ import annotations

import pytest

from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.deals import ACCOUNT, OTHER_ACCOUNT, Crm, Watch, services_over
from support.services import Services


@pytest.fixture
def watch() -> Watch:
    """The clock of the functions."""
    return Watch()


@pytest.fixture
def recorder() -> Recorder:
    """The connection to the tables."""
    return Recorder(Memory())


@pytest.fixture
def services(recorder: Recorder, watch: Watch) -> Services:
    """The services over those tables."""
    return services_over(recorder, watch)


@pytest.fixture
def crm(services: Services) -> Crm:
    """An account on the Enterprise plan."""
    return Crm(services, ACCOUNT)


@pytest.fixture
def stranger(services: Services) -> Crm:
    """Another account on the Enterprise plan."""
    return Crm(services, OTHER_ACCOUNT)
