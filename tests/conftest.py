"""Fixtures for all kinds of tests."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Generator, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.loaders import create_loader
from hypothesis import HealthCheck, settings

from ordering.clock import Deadline
from support import plans
from support.aws import on_moto
from support.gateway import Client
from support.local_stack import running
from support.partners import AZ_300, CALLER, FOREIGN, FOREIGN_ONLY, IRELAND, LINUX, ON_LINUX, PARTNER, STANDARD, UK
from support.real_stack import RealStack
from support.services import Services
from support.workers import StackScheduling

pytest_plugins = ["support.skips"]

# Whatever the machine is logged in to, a test must not reach it.
for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Each session of botocore reads the services' definitions anew, which would take most of the time of the tests on moto.
botocore.session.create_loader = cache(create_loader)

# An example takes long when other processes run; only tests marked `timing` measure time.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

# Nearly all that imports and collection create stays, so that searching it for garbage again and again finds none.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but only of what tests create, and less often than at every 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> StackScheduling | None:
    """Let `--dist loadfile` keep the files together that share a stack."""
    return StackScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Begin a test without the plans of the tests before."""
    plans.begin()
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Fail a test that passed without what it planned."""
    yield
    plans.check()


@pytest.fixture
def retries_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the pauses between retries take time, and let them pass at once."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))


@pytest.fixture
def services() -> Iterator[Services]:
    """The services over the template's tables on moto, for one thread only."""
    with on_moto.tables() as send:
        yield Services(send, "OrdersTable", "CatalogueTable", "AccountsTable")


@pytest.fixture
def client(services: Services) -> Client:
    """A caller whose token covers two units with a catalogue."""
    deadline = Deadline.after(60)
    for unit in (UK, IRELAND):
        services.catalogue(unit, deadline).publish([(AZ_300, [STANDARD]), (LINUX, [ON_LINUX])])
    services.catalogue(FOREIGN, deadline).publish([(LINUX, [FOREIGN_ONLY])])
    services.accounts(deadline).save_partner(PARTNER)
    return Client(services, CALLER)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """The real stack with the demo data, shared by all tests that call it: each changes only its own data."""
    with running(tmp_path_factory.mktemp("real") / "state", build=None, demo=True) as stack:
        yield RealStack(stack)
