"""What each function imports: its own context, and the third-party packages it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WATCHED = {"aws_lambda_powertools", "cryptography", "email_validator", "jwt", "msgspec", "pydantic"}
"""Third-party packages that cost time to import. Of botocore only its first module is loaded, by Powertools."""

CONTEXTS = {"training", "deals", "ecards"}
SMALL = {
    "addresses",
    "cache",
    "clock",
    "errors",
    "identifiers",
    "logs",
    "metrics",
    "money",
    "principal",
    "sealing",
    "sizes",
    "stored",
    "values",
}
"""Modules of plain values, which any function may import."""

WEB = {"aws_lambda_powertools", "msgspec", "pydantic"}
TRAINING = {"aws", "book", "entry", "events", "identity", "training", "web"}
DEALS = {"aws", "book", "deals", "entry", "web"}
ECARDS = {"aws", "book", "ecards", "entry", "events", "web"}
EVERY_ORDER = {"aws", "book", "ecards", "entry", "events", "identity", "mail", "training"}

LOADS = {
    "deals/line_items": (DEALS, WEB),
    "deals/orders": (DEALS, WEB),
    "deals/products": (DEALS, WEB),
    "ecards/balance": (ECARDS, WEB),
    "ecards/catalogue": (ECARDS, WEB),
    "ecards/certificates": (ECARDS, WEB),
    "ecards/orders": (ECARDS, WEB),
    "fulfilment/incoming": (
        EVERY_ORDER | {"contexts", "fulfilment"},
        {"cryptography", "msgspec", "pydantic"},
    ),
    "fulfilment/mails": (EVERY_ORDER | {"contexts"}, {"cryptography", "msgspec"}),
    "fulfilment/stream": (
        EVERY_ORDER | {"contexts", "deals", "fulfilment", "identity", "webhooks"},
        {"cryptography", "msgspec"},
    ),
    "identity/authorizer": ({"aws", "contexts", "entry", "identity"}, {"cryptography", "jwt", "msgspec"}),
    "identity/token": ({"aws", "entry", "identity", "web"}, {*WEB, "cryptography"}),
    "reference/pages": ({"aws", "entry", "reference", "web"}, WEB),
    "releases/smoke": ({"aws", "entry"}, {"msgspec"}),
    "training/feature_sets": (TRAINING, WEB),
    "training/order_items": (TRAINING, WEB),
    "training/order_keys": (TRAINING, WEB),
    "training/orders": (TRAINING, WEB),
    "training/products": (TRAINING, WEB),
    "webhooks/delivery": (
        EVERY_ORDER | {"contexts", "identity", "webhooks"},
        {"cryptography", "msgspec"},
    ),
    "webhooks/registrations": (
        {"aws", "book", "contexts", "ecards", "entry", "events", "identity", "training", "web", "webhooks"},
        {*WEB, "cryptography"},
    ),
}
"""By function, our packages and the third-party packages that it imports before its first call."""

IMPORT = """
import json, logging, sys
sys.path[:0] = sys.argv[1:]
import app

def below(kind):
    return [one for child in kind.__subclasses__() for one in (child, *below(child))]

web = sys.modules.get("ordering.web.http")
bodies = below(web.Body) if web else []
# A model with parameters reads no body itself.
built = [
    one.__name__ for one in bodies
    if one.__pydantic_complete__ and not one.__pydantic_generic_metadata__["parameters"]
]
print(json.dumps([sorted(sys.modules), logging.getLogger("ordering").isEnabledFor(logging.INFO), built]))
"""


@cache
def imported(function: str, **more: str) -> tuple[frozenset[str], bool, list[str]]:
    """Import a function's module as Lambda does, once.

    Returns all loaded modules, whether it logs at INFO, and the models of bodies whose validators have been built.

    Args:
        more: Further environment variables.
    """
    paths = [str(ROOT / "functions" / function), str(ROOT / "layers" / "ordering" / "python")]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *paths],
        env={**environment(), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules, logs, built = json.loads(done.stdout)
    return frozenset(modules), logs, built


@cache
def environment() -> dict[str, str]:
    """Every environment variable that any function declares."""
    names = {
        "ACCOUNTS_TABLE",
        "CATALOGUE_TABLE",
        "CERTIFICATES_KEY",
        "EVENT_BUS",
        "LARGE_ORDERS_QUEUE",
        "LATER_QUEUE",
        "MAIL_CONFIGURATION_SET",
        "MAIL_QUEUE",
        "MAIL_SENDER",
        "ORDERS_TABLE",
        "SHARED_USAGE",
        "TOKEN_AUDIENCE",
        "TOKEN_ISSUER",
        "WEBHOOK_QUEUE",
    }
    return {**dict.fromkeys(names, "x"), "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


def test_every_function_is_listed() -> None:
    """The table lists exactly the functions that exist."""
    folder = ROOT / "functions"

    assert sorted(str(path.parent.relative_to(folder)) for path in folder.glob("*/*/app.py")) == sorted(LOADS)


@pytest.mark.parametrize("function", LOADS)
def test_loads(function: str) -> None:
    """A function imports exactly the packages that the table lists for it."""
    modules, _, built = imported(function)
    ours = {name.split(".")[1] for name in modules if name.startswith("ordering.")} - SMALL

    assert (ours, {name.split(".")[0] for name in modules} & WATCHED) == LOADS[function]
    assert "botocore.session" not in modules
    assert built == []
    assert ("ordering.webhooks.post" in modules) == (function == "webhooks/delivery")


@pytest.mark.parametrize("function", ["ecards/certificates", "training/order_keys"])
def test_imports_during_initialisation(function: str) -> None:
    """During Lambda's initialisation, functions that show secrets also import their sealer, and no botocore."""
    credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    modules, *_ = imported(function, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", **credentials)

    assert {"ordering.aws.direct", "ordering.aws.sealer"} <= modules
    assert "botocore.session" not in modules
    assert "encodings.idna" not in modules, "the connection was given a host as text"


@pytest.mark.parametrize("function", ["identity/authorizer", "training/orders"])
def test_botocore_on_request(function: str) -> None:
    """With SERVICE_CLIENT=botocore a function calls services by botocore."""
    modules, *_ = imported(function, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", SERVICE_CLIENT="botocore")

    assert "botocore.client" in modules
    assert "ordering.aws.direct" not in modules


def test_contexts_apart() -> None:
    """A function imports no context but its own."""
    for function, (ours, _) in LOADS.items():
        context = function.split("/")[0]
        if context in CONTEXTS:
            assert ours & CONTEXTS == {context}


@pytest.mark.parametrize("function", LOADS)
def test_functions_log_at_info(function: str) -> None:
    """Every function logs at INFO."""
    _, logs, _ = imported(function)

    assert logs
