"""The installation that commands act on: a stack in AWS or the local run's, its tables, queues and keys."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ordering.aws import kms
from ordering.aws import sqs as queues
from ordering.aws.calls import new_session
from ordering.aws.dynamodb import Send, Table, connect_tables
from ordering.aws.kms import Kms
from ordering.aws.sqs import Enqueue
from ordering.identity.accounts import Accounts
from ordering_tools.audit import AuditedTable, AuditEntry, audited
from ordering_tools.local.engine import engine
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION, queue_url
from ordering_tools.local.engine.state import Running, find
from ordering_tools.stacks import DeploymentError, Stack, read_stack

if TYPE_CHECKING:
    from ordering.identity.kms_key import KmsKey
    from ordering.identity.tokens import PrivateKey, Signer
    from ordering_tools.operations.signing import SigningKey

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = ROOT / ".ordering"

Connect = Callable[..., Any]
"""Returns a client for a service of AWS, by botocore's name; takes `config` for other settings than its own."""


class NotDone(Exception):
    """A command failed; the message gives the reason, and what to do."""


class NoInstallation(NotDone):
    """The installation cannot be reached."""


def _no_services(service: str, **_: Any) -> Any:
    raise NoInstallation(f"this installation has no {service}")


@dataclass(frozen=True)
class Installation:
    """An installation: its tables, its queues, its KMS, and what its tokens say."""

    send: Send
    kms: Kms
    development_key: Callable[[], SigningKey] | None
    """Returns the key that signs the local run's tokens; None if they are signed in KMS."""
    issuer: str
    audience: str
    incoming_queue: Enqueue = queues.no_queue
    mail_queue: Enqueue = queues.no_queue
    webhook_queue: Enqueue = queues.no_queue
    stack: Stack = field(default_factory=Stack)
    """A resource that is not in its outputs has its logical id as its name."""
    connect: Connect = _no_services
    running: Running | None = None
    """The local run; None for a stack in AWS."""
    caller: str = "local"
    """Who acts: an ARN in AWS, `local/<user>` on the local run."""
    account: str | None = None
    """The number of the AWS account; None for the local run."""
    region: str = REGION
    entry: AuditEntry | None = None
    """What is noted in the audit trail with each write."""

    @property
    def local(self) -> bool:
        """Whether it is a local run's, and not a stack in AWS."""
        return self.account is None

    @property
    def title(self) -> str:
        """What an operator must know before a change: the stack, the account, and who acts."""
        if self.local:
            return "the local run"
        return f"stack {self.stack.name} in {self.region}, account {self.account}, as {self.caller}"

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

    @property
    def key(self) -> SigningKey:
        """The development key.

        Raises:
            NotDone: This is a stack in AWS, whose tokens are signed in KMS.
        """
        if self.development_key is None:
            raise NotDone(f"the development key is the local run's, and not {self.title}'s")
        return self.development_key()

    @property
    def signer(self) -> Signer:
        """Signs tokens that the installation's authorizer accepts.

        Raises:
            NotDone: No key signs yet, or the stack is another program's.
        """
        if not self.issuer:
            raise NotDone(f"the stack {self.stack.name} has no parameter TokenIssuer: name another with --stack")
        # Imported here, as in `_signing_key`: most commands sign nothing, and start faster without cryptography.
        from ordering.identity.tokens import Signer  # noqa: PLC0415 - as above

        return Signer(self._signing_key(), self.issuer, self.audience)

    def with_entry(self, entry: AuditEntry) -> Installation:
        """The same installation, with this entry of the audit trail in each write of its tables."""
        return replace(self, entry=entry)

    def note(self) -> None:
        """Write the entry of the audit trail alone, for a change that no table has."""
        if self.entry:
            AuditedTable.over(self.accounts, self.entry).note()

    def _table(self, name: str) -> Table:
        return audited(Table(self.send, self.stack.outputs.get(name, name)), self.entry)

    def _signing_key(self) -> PrivateKey | KmsKey:
        from ordering.identity.kms_key import KmsKey  # noqa: PLC0415 - see `signer`
        from ordering.identity.tokens import PrivateKey  # noqa: PLC0415 - see `signer`

        if self.development_key:
            return PrivateKey(self.key.key_id, self.key.private_key, "ES256")
        signer = Accounts(self.accounts).signer()
        if signer is None:
            raise NotDone("no key signs tokens yet; see `ordering key add` and `ordering key use`")
        return KmsKey(self.kms, *signer)


def open_at(endpoint: str, services: str, state: Path, stack: Stack | None = None) -> Installation:
    """The installation at an endpoint of DynamoDB and one of all other services, with the key in the folder `state`."""
    stack = stack or Stack()
    account: dict[str, Any] = {
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }

    def key() -> SigningKey:
        from ordering_tools.operations.signing import development_key  # noqa: PLC0415 - see `Installation.signer`

        return development_key(state)

    def queue(name: str) -> Enqueue:
        url = queue_url(services, stack.outputs.get(name, name).rpartition("/")[2])
        return queues.connect_queue(url, endpoint_url=services, **account)

    def client(service: str) -> Any:
        return engine.connect(service, endpoint if service.startswith("dynamodb") else services)

    return Installation(
        send=connect_tables(endpoint_url=endpoint, **account),
        kms=kms.connect_kms(endpoint_url=services, **account),
        development_key=key,
        issuer=stack.parameters.get("TokenIssuer", ""),
        audience=stack.parameters.get("TokenAudience", ""),
        incoming_queue=queue("IncomingQueue"),
        mail_queue=queue("MailQueue"),
        webhook_queue=queue("WebhookQueue"),
        stack=stack,
        connect=client,
        caller=f"local/{_user()}",
    )


def running_at(state: Path, advice: str = "start it with `make serve`") -> Running:
    """The endpoints of the local run that uses the folder `state`.

    Args:
        advice: What the error says to do.

    Raises:
        NoInstallation: No local run uses it.
    """
    running = find(state)
    if running is None:
        raise NoInstallation(f"the local run is not running; {advice}")
    return running


def reopen(state: Path) -> Installation:
    """The installation of the local run that uses the folder `state`.

    Raises:
        NoInstallation: No local run uses it.
    """
    running = running_at(state, "start it with `make serve`, or name a stack with --stack")
    try:
        stack = read_stack(running.services)
    except DeploymentError as error:
        raise NoInstallation(str(error)) from error
    return replace(open_at(running.endpoint, running.services, state, stack), running=running)


def open_stack(name: str, profile: str | None = None, region: str | None = None) -> Installation:
    """The installation of a stack in AWS, with the credentials and the region that the AWS CLI would use.

    Args:
        name: The stack's name.
        profile: A profile of the AWS CLI's configuration.
        region: The stack's region.

    Raises:
        NoInstallation: There are no credentials, or no such stack.
    """
    # The connections of `ordering.aws` are botocore's own, which read these variables.
    chosen = {"AWS_PROFILE": profile, "AWS_DEFAULT_REGION": region, "AWS_REGION": region}
    os.environ.update({variable: value for variable, value in chosen.items() if value})
    # Imported here, because a command on the local run needs less of botocore.
    from botocore.config import Config  # noqa: PLC0415 - as above
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        session = new_session()
        client: Connect = partial(session.create_client, config=Config(retries={"mode": "standard"}, connect_timeout=5))
        identity = client("sts").get_caller_identity()
        stack = Stack.read(client("cloudformation"), name)
    except (BotoCoreError, ClientError) as error:
        raise NoInstallation(f"AWS cannot be called: {error}") from error
    except DeploymentError as error:
        raise NoInstallation(str(error)) from error

    def queue(logical_id: str) -> Enqueue:
        return queues.connect_queue(stack.outputs[logical_id]) if logical_id in stack.outputs else queues.no_queue

    return Installation(
        send=connect_tables(),
        kms=kms.connect_kms(),
        development_key=None,
        issuer=stack.parameters.get("TokenIssuer", ""),
        audience=stack.parameters.get("TokenAudience", ""),
        incoming_queue=queue("IncomingQueue"),
        mail_queue=queue("MailQueue"),
        webhook_queue=queue("WebhookQueue"),
        stack=stack,
        connect=client,
        caller=identity["Arn"],
        account=identity["Account"],
        region=session.get_config_variable("region") or REGION,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # this user has no name
        return str(os.getuid())
