"""The installation that the tools work on: its tables, its signing key, and whom its tokens are for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ordering.table import Send, Table, connect
from ordering.tokens import Signer
from ordering_tools.local.account import CREDENTIALS, REGION
from ordering_tools.signing import SigningKey, development_key
from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = ROOT / ".ordering"

_FILE = "installation.json"


class NoInstallation(Exception):
    """There is nothing to work on; the message says what to do."""


@dataclass(frozen=True)
class Installation:
    """A local installation: the engine's endpoint and the development key."""

    send: Send
    key: SigningKey
    issuer: str
    audience: str

    @property
    def orders(self) -> Table:
        """The orders table."""
        return Table(self.send, "OrdersTable")

    @property
    def catalogue(self) -> Table:
        """The catalogue table."""
        return Table(self.send, "CatalogueTable")

    @property
    def accounts(self) -> Table:
        """The accounts table."""
        return Table(self.send, "AccountsTable")

    @property
    def signer(self) -> Signer:
        """What signs tokens that its authorizer accepts."""
        return Signer(self.key.key_id, self.key.private_key, "ES256", self.issuer, self.audience)


def open_at(endpoint: str, state: Path) -> Installation:
    """Open the installation behind a DynamoDB endpoint, and remember where it is for later commands."""
    parameters = Template.load(ROOT / "template.yaml").parameters
    key = development_key(state)
    (state / _FILE).write_text(json.dumps({"endpoint": endpoint}))
    return Installation(
        send=connect(
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        ),
        key=key,
        issuer=parameters["TokenIssuer"],
        audience=parameters["TokenAudience"],
    )


def reopen(state: Path) -> Installation:
    """Open the installation that was opened last.

    Raises:
        NoInstallation: There was none.
    """
    file = state / _FILE
    if not file.exists():
        raise NoInstallation(f"no local run has used {state}; start one with `make serve`")
    return open_at(json.loads(file.read_text())["endpoint"], state)
