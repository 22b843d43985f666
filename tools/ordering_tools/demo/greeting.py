"""The demo's calls to paste, for the terminal, for `ordering demo` and for the local run's page.

`demo` is everywhere the content of `demo.json`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FILE = "demo.json"
SHELL_FILE = "demo.env"
"""The variables of the calls, as a shell script."""

POSTMAN_FILE = "demo.postman.json"
"""The same variables as an environment for docs/collection.json."""

RECEIVER = "http://127.0.0.1:8787/"
"""Where `ordering webhook listen` receives events by default."""


class Prepared(NamedTuple):
    """The result of writing the demo data."""

    text: str
    """To print when the local run is ready."""
    seeded: bool
    """Whether orders were written, which the functions now fulfil."""


@dataclass(frozen=True)
class Calls:
    """Calls of one contract."""

    contract: str
    variables: Mapping[str, str]
    lines: Mapping[str, str]
    """By their purpose; for a shell that has the variables of all contracts before this one, too."""


def calls(demo: Mapping[str, Any]) -> list[Calls]:
    """The calls of each contract, with their variables."""
    product, order = demo["productId"], shlex.quote(json.dumps(demo["order"]))
    get, deal = 'curl -s -H "Authorization: Bearer $TOKEN"', 'curl -s -H "Authorization: Bearer $DEALS_TOKEN"'
    hook = f"""{get} -H 'Content-Type: application/json' -d '{{"url": "{RECEIVER}"}}' "$URL/webhooks\""""
    place = (
        'curl -si -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: $(date +%s)" \\\n'
        f"  -H 'Content-Type: application/json' -d {order} \\\n"
        '  "$URL/api/v2/orders?businessUnitId=$UNIT"'
    )
    client = demo["clients"]["ecards"]
    request = (
        'curl -s -d grant_type=client_credentials -d client_id="$CLIENT_ID" -d client_secret="$CLIENT_SECRET" '
        '"$URL/connect/token"'
    )
    return [
        Calls(
            "Training orders",
            {"URL": demo["baseUrl"], "UNIT": demo["businessUnitId"], "TOKEN": demo["tokens"]["training"]},
            {
                "The products that a business unit can order": f'{get} "$URL/api/v2/products?businessUnitId=$UNIT"',
                "The feature sets of one, with their prices": (
                    f'{get} "$URL/api/v2/products/{product}/feature_sets?businessUnitId=$UNIT"'
                ),
                "Order three seats": place,
                "The newest orders, on the last page": f'{get} "$URL/api/v2/orders?businessUnitId=$UNIT&_page=4"',
                "The access keys of an order": f'{get} "$URL/api/v2/orders/2/keys?businessUnitId=$UNIT"',
                "Send the events of your orders to a receiver on this machine": hook,
            },
        ),
        Calls(
            "Deal orders",
            {"DEALS_TOKEN": demo["tokens"]["deals"]},
            {
                "The orders with the largest discounts": (
                    f'{deal} "$URL/v2/orders?sort_by=discount:desc,created_at&per_page=5"'
                ),
            },
        ),
        Calls(
            "E-card orders",
            {"CLIENT_ID": client["clientId"], "CLIENT_SECRET": client["clientSecret"]},
            {"A token, for an hour": request},
        ),
    ]


def shell(demo: Mapping[str, Any]) -> str:
    """The content of `demo.env`."""
    return "".join(f"{name}={shlex.quote(value)}\n" for call in calls(demo) for name, value in call.variables.items())


def postman_environment(demo: Mapping[str, Any]) -> str:
    """The content of `demo.postman.json`."""
    variables = {name: value for call in calls(demo) for name, value in call.variables.items()}
    values = [{"key": name, "value": value, "enabled": True} for name, value in variables.items()]
    return json.dumps({"name": "Order API, local run", "values": values}, indent=2) + "\n"


def source_line(state: Path) -> str:
    """The line that sets the variables in a shell."""
    return f". {shlex.quote(str(state / SHELL_FILE))}"


def text(demo: Mapping[str, Any], state: Path) -> str:
    """The variables and calls of all contracts; `state` is the folder with `demo.json` and `demo.env`."""
    here = demo["baseUrl"]
    blocks = [f"In a browser: {here}/ tries every call; {here}/local has these calls, mails and events."]
    for call in calls(demo):
        variables = "\n".join(f"{name}={shlex.quote(value)}" for name, value in call.variables.items())
        blocks.append(f"{variables}\n\n" + "\n".join(call.lines.values()))
    blocks.append(
        f"All tokens and ids are in {shlex.quote(str(state / FILE))}. In another shell, this sets the variables:\n"
        f"{source_line(state)}\n"
        "`.venv/bin/ordering demo` prints this again, and `.venv/bin/ordering mail show` the newest mail."
    )
    return "\n\n".join(blocks)
