"""The local installation that commands act on: its tables, queues, keys, and the issuer and audience of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ordering.aws import kms
from ordering.aws import sqs as queues
from ordering.aws.dynamodb import Send, Table, connect_tables
from ordering.aws.kms import Kms
from ordering.aws.sqs import Enqueue
from ordering.identity.tokens import PrivateKey, Signer
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION, queue_url
from ordering_tools.local.engine.deployment import DeploymentError, Stack
from ordering_tools.local.engine.state import Running, find
from ordering_tools.operations.signing import SigningKey, development_key
from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = ROOT / ".ordering"


class NotDone(Exception):
    """A command failed; the message gives the reason, and what to do."""


class NoInstallation(NotDone):
    """The local run is not running."""


@dataclass(frozen=True)
class Installation:
    """A local installation: its tables, its queues, its KMS, and the development key."""

    send: Send
    kms: Kms
    key: SigningKey
    issuer: str
    audience: str
    incoming_queue: Enqueue = queues.no_queue
    mail_queue: Enqueue = queues.no_queue
    webhook_queue: Enqueue = queues.no_queue
    names: Mapping[str, str] = field(default_factory=dict)
    """The outputs of the stack. A resource that they lack has its logical id as its name."""

    @property
    def orders(self) -> Table:
        """The orders table."""
        return self._table("OrdersTable")

    @property
    def catalogue(self) -> Table:
        """The catalogue table."""
        return self._table("CatalogueTable")

    @property
    def accounts(self) -> Table:
        """The accounts table."""
        return self._table("AccountsTable")

    def _table(self, name: str) -> Table:
        return Table(self.send, self.names.get(name, name))

    @property
    def signer(self) -> Signer:
        """Signs tokens that the installation's authorizer accepts."""
        return Signer(PrivateKey(self.key.key_id, self.key.private_key, "ES256"), self.issuer, self.audience)


def open_at(endpoint: str, services: str, state: Path, stack: Stack | None = None) -> Installation:
    """The installation at an endpoint of DynamoDB and one of all other services, with the key in the folder `state`."""
    names = stack.outputs if stack else {}
    parameters = Template.load(ROOT / "template.yaml").parameters
    account = {
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }

    def queue(name: str) -> Enqueue:
        return queues.connect_queue(
            queue_url(services, names.get(name, name).rpartition("/")[2]), endpoint_url=services, **account
        )

    return Installation(
        send=connect_tables(endpoint_url=endpoint, **account),
        kms=kms.connect_kms(endpoint_url=services, **account),
        key=development_key(state),
        issuer=parameters["TokenIssuer"],
        audience=parameters["TokenAudience"],
        incoming_queue=queue("IncomingQueue"),
        mail_queue=queue("MailQueue"),
        webhook_queue=queue("WebhookQueue"),
        names=names,
    )


def running_at(state: Path, command: str = "make serve") -> Running:
    """The endpoints of the local run that uses the folder `state`.

    Args:
        command: What the error proposes to start one.

    Raises:
        NoInstallation: No local run uses it.
    """
    running = find(state)
    if running is None:
        raise NoInstallation(f"the local run is not running; start it with `{command}`")
    return running


def reopen(state: Path) -> Installation:
    """The installation of the local run that uses the folder `state`.

    Raises:
        NoInstallation: No local run uses it.
    """
    running = running_at(state)
    try:
        stack = Stack.read(running.services)
    except DeploymentError as error:
        raise NoInstallation(str(error)) from error
    return open_at(running.endpoint, running.services, state, stack)
