"""The tests of a module share one set of tables: each test uses orders, keys and units of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ordering.clock import Deadline
from support.aws import on_moto
from support.aws.fake_connections import Recorder
from support.gateway import Client
from support.orders import publish
from support.partners import (
    AZ_300,
    CALLER,
    FOREIGN,
    FOREIGN_ONLY,
    IRELAND,
    LINUX,
    ON_LINUX,
    OTHER_PARTNER,
    PARTNER,
    STANDARD,
    TAILSPIN,
    UK,
)
from support.services import Services


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """The connection to the tables of the template, with catalogues in them."""
    with on_moto.tables() as send:
        recorder = Recorder(send)
        services = Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")
        for unit in (UK, IRELAND):
            publish(services, unit, [(AZ_300, [STANDARD]), (LINUX, [ON_LINUX])])
        publish(services, FOREIGN, [(LINUX, [FOREIGN_ONLY])])
        for partner in (PARTNER, TAILSPIN):
            services.accounts(Deadline.after(60)).save_partner(partner)
        yield recorder


@pytest.fixture(scope="module")
def services(recorder: Recorder) -> Services:
    """The services over those tables."""
    return Services(recorder, "OrdersTable", "CatalogueTable", "AccountsTable")


@pytest.fixture
def client(services: Services) -> Client:
    """A caller whose token covers two units with a catalogue."""
    return Client(services, CALLER)


@pytest.fixture
def stranger(services: Services) -> Client:
    """A caller of another partner."""
    return Client(services, OTHER_PARTNER)


@pytest.fixture
def watched(recorder: Recorder) -> Recorder:
    """The connection, without the calls made before the test."""
    recorder.calls.clear()
    return recorder
