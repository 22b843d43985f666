"""The committed events: current, and what the functions they are for understand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.identity.authorizer import Authorizer, GatewayUnauthorized, make_handler
from ordering.identity.tokens import KeyRing, Verifier
from ordering_tools.demo import training as demo
from ordering_tools.documents import sample_events
from ordering_tools.installation import Installation
from ordering_tools.operations.signing import development_key
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import LambdaContext, load
from support.services import Services

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = sorted(str(path.parent.relative_to(ROOT / "functions")) for path in ROOT.glob("functions/*/*/app.py"))


def committed(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return event


def test_one_for_each_function() -> None:
    """Every function has its event, and there is no other."""
    assert (
        sorted(str(path.relative_to(ROOT / "events").with_suffix("")) for path in ROOT.glob("events/*/*")) == FUNCTIONS
    )


def test_current() -> None:
    """The committed events are what the gateway would make of the same requests today."""
    assert {name: committed(name) for name, _ in sample_events.events()} == dict(sample_events.events())


def test_understood(tmp_path: Path) -> None:
    """With the demo data in the tables and fulfilled, each event gets the answer that its request is for."""
    services = Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable", kms=MemoryKms())
    demo.seed(Installation(services.send, MemoryKms(), development_key(tmp_path), "issuer", "audience"))
    deadline = Deadline.after(60)
    services.training_orders(demo.UK, deadline).issue_keys(2, services.access_keys_sealer(), deadline)
    answers = {}
    for name in FUNCTIONS:
        if name != "identity/authorizer" and "Records" not in committed(name):
            app = load(name)
            app.connections, app.services = services.connections, services.of(app.build)
            answers[name] = app.handle(committed(name), LambdaContext())["statusCode"]  # type: ignore[arg-type] # all that is used of it

    assert answers.pop("training/orders") == 201
    assert set(answers.values()) == {200}


def test_authorizer_refuses_its_own(services: Services) -> None:
    """The authorizer's event carries no real token, so it is refused as any bad one."""
    verifier = Verifier(KeyRing(dict), "issuer", "audience")
    doorkeeper = Authorizer(verifier, services.accounts, services.reference_tokens, own_errors())

    with pytest.raises(GatewayUnauthorized):
        make_handler(doorkeeper)(committed("identity/authorizer"), LambdaContext())
