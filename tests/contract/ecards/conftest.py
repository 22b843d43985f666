"""E-card orders over tables in memory, new for each test, so that numbers begin at 1."""

from __future__ import annotations

import pytest

from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.deals import Watch
from support.ecards import COMPANY, OTHER_COMPANY, Rewards, services_over
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
def company(services: Services) -> Rewards:
    """A company with a catalogue and no money."""
    company = Rewards(services, COMPANY)
    company.publish()
    return company


@pytest.fixture
def stranger(services: Services) -> Rewards:
    """Another company with a catalogue and no money."""
    stranger = Rewards(services, OTHER_COMPANY)
    stranger.publish()
    return stranger
