"""The committed sample events are up to date, can be sent any number of times, and use no id of a document."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.identity.accounts import Accounts
from ordering.identity.authorizer import Authorizer, make_handler
from ordering.identity.verifier import KeyRing, Verifier
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import training as demo
from ordering_tools.demo.data import demo_partners
from ordering_tools.documents import sample_events
from ordering_tools.installation import Installation
from ordering_tools.operations.signing import development_key
from ordering_tools.operations.tokens import issue
from ordering_tools.template import Template
from support.authorizer import SHARED_KEY
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import LambdaContext, load
from support.services import Services

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ROOT / "events"
WITHOUT = {"releases/smoke"}
"""Functions without an event: it calls CodeDeploy, which the local run does not have."""

FUNCTIONS = sorted(
    {str(path.parent.relative_to(ROOT / "functions")) for path in ROOT.glob("functions/*/*/app.py")} - WITHOUT
)


def committed(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


REQUESTS = [name for name in FUNCTIONS if name != "identity/authorizer" and "Records" not in committed(name)]


def test_one_for_each_function() -> None:
    """Each function but the hook of releases has exactly one event, and the list of the events names its function."""
    listed = (EVENTS / "README.md").read_text()
    functions = {
        str(folder.relative_to("functions")): name
        for name, folder in Template.load(ROOT / "template.yaml").functions.items()
    }

    assert sorted(functions.keys() - WITHOUT) == FUNCTIONS
    assert sorted(str(path.relative_to(EVENTS).with_suffix("")) for path in EVENTS.glob("*/*")) == FUNCTIONS
    for name in FUNCTIONS:
        assert f"| [{name}]({name}.json) | `{functions[name]}` |" in listed


def test_current() -> None:
    """The committed events are those that the gateway creates for the same requests, and so is their list."""
    assert {name: committed(name) for name, _ in sample_events.events()} == dict(sample_events.events())
    assert (EVENTS / "README.md").read_text() == sample_events.listing()


def test_accepted(tmp_path: Path) -> None:
    """With the demo data fulfilled, each request succeeds, and so does its repetition, which creates nothing."""
    kms = MemoryKms()
    services = Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable", kms=kms)
    demo.seed(Installation(services.send, kms, partial(development_key, tmp_path), "issuer", "audience"))
    deadline = Deadline.after(60)
    services.training_orders(demo.UK, deadline).issue_keys(2, services.access_keys_sealer(), deadline)
    ecards = services.ecard_orders(demo_ecards.COMPANY, deadline)
    ecards.hand_over(ecards.advance(demo_ecards.FIRST_ORDER), 1)

    def send() -> tuple[dict[str, int], dict[str, str]]:
        statuses, bodies = {}, {}
        for name in REQUESTS:
            if name == "reference/pages":
                continue  # only a build has its pages
            app = load(name)
            app.connections, app.services = services.connections, services.of(app.build)
            answer = app.handle(committed(name), LambdaContext())  # type: ignore[arg-type] # all that is used of it
            statuses[name], bodies[name] = answer["statusCode"], answer["body"]
        return statuses, bodies

    (statuses, bodies), (again, repeated) = send(), send()

    expected = {**dict.fromkeys(REQUESTS, 200), "training/orders": 201}
    del expected["reference/pages"]
    assert statuses == again == expected
    for create in ("training/orders", "deals/line_items", "ecards/orders"):
        assert repeated[create] == bodies[create]


def test_no_collision() -> None:
    """What events create has ids that no document and no printed call has."""
    ids = {"sample-event", *re.findall("PO-[A-Z]+", str(committed("training/orders")["body"]))}
    ids.add(json.loads(committed("ecards/orders")["body"])["orderId"])
    texts = [path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))]
    texts += [path.read_text() for path in (ROOT / "tools" / "ordering_tools" / "demo").glob("*.*")]

    assert len(ids) == 3
    assert len(texts) > 20
    assert not [name for name in ids for text in texts if name.lower() in text.lower()]


def test_token_of_the_authorizer(services: Services, tmp_path: Path) -> None:
    """The local run writes the authorizer's event with a token that it accepts; the committed one has none."""
    installation = Installation(services.send, MemoryKms(), partial(development_key, tmp_path), "issuer", "audience")
    accounts = Accounts(installation.accounts)
    accounts.save_signing_key(installation.key.key_id, installation.key.public_jwk)
    for partner in demo_partners("training"):
        accounts.save_partner(partner)
    demo.write_live_event(tmp_path, issue(installation, "northwind", None, None, timedelta(days=1))[0])
    verifier = Verifier(KeyRing(accounts.signing_keys), "issuer", "audience")
    authorizer = Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), SHARED_KEY)
    decide = make_handler(authorizer)
    written = tmp_path / "events" / "identity" / "authorizer.json"

    assert decide(json.loads(written.read_text()), LambdaContext())["principalId"] == "northwind"
    assert written.stat().st_mode & 0o077 == 0
    assert decide(committed("identity/authorizer"), LambdaContext())["context"] == {"refusal": "unauthorized"}
