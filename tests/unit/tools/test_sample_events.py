"""The committed sample events are up to date, and their functions accept them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.identity.authorizer import Authorizer, make_handler
from ordering.identity.tokens import KeyRing, Verifier
from ordering_tools.demo import ecards as demo_ecards
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
    """Each function has exactly one event."""
    assert (
        sorted(str(path.relative_to(ROOT / "events").with_suffix("")) for path in ROOT.glob("events/*/*")) == FUNCTIONS
    )


def test_current() -> None:
    """The committed events are those that the gateway creates for the same requests."""
    assert {name: committed(name) for name, _ in sample_events.events()} == dict(sample_events.events())


def test_accepted(tmp_path: Path) -> None:
    """With the demo data in the tables and fulfilled, the function of each request responds with success."""
    kms = MemoryKms()
    services = Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable", kms=kms)
    demo.seed(Installation(services.send, kms, development_key(tmp_path), "issuer", "audience"))
    deadline = Deadline.after(60)
    services.training_orders(demo.UK, deadline).issue_keys(2, services.access_keys_sealer(), deadline)
    ecards = services.ecard_orders(demo_ecards.COMPANY, deadline)
    ecards.hand_over(ecards.advance(demo_ecards.FIRST_ORDER), 1)
    answers = {}
    for name in FUNCTIONS:
        if name != "identity/authorizer" and "Records" not in committed(name):
            app = load(name)
            app.connections, app.services = services.connections, services.of(app.build)
            answers[name] = app.handle(committed(name), LambdaContext())["statusCode"]  # type: ignore[arg-type] # all that is used of it

    assert answers.pop("training/orders") == 201
    assert set(answers.values()) == {200}


def test_authorizer_refuses_its_own(services: Services) -> None:
    """The event of the authorizer has no real token, so the authorizer refuses it."""
    verifier = Verifier(KeyRing(dict), "issuer", "audience")
    authorizer = Authorizer(verifier, services.accounts, services.reference_tokens, own_errors())

    decision = make_handler(authorizer)(committed("identity/authorizer"), LambdaContext())

    assert decision["context"] == {"refusal": "unauthorized"}
