"""The connections of one process to tables, KMS and queues, by the names in its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from ordering.aws import kms
from ordering.aws.calls import Connect, connect, unavailable
from ordering.aws.dynamodb import Send, Table, Usage
from ordering.aws.kms import Kms
from ordering.aws.sqs import Enqueue, connect_queue
from ordering.clock import Clock, Deadline, system_clock
from ordering.values import Value, field


class Connections(Value):
    """The connections of one process. The rights of its role decide which of them it can use.

    Args:
        settings: The function's environment variables.
        send: DynamoDB.
    """

    settings: Mapping[str, str]
    send: Send
    kms: Kms = unavailable
    open_queue: Callable[[str], Enqueue] = connect_queue
    """Opens a queue by its URL."""
    now: Clock = system_clock
    usage: Usage = field(default_factory=Usage)
    """The capacity that the tables' calls have consumed."""
    connect: Connect = connect
    """Connects to services other than DynamoDB."""
    forget: Callable[[], None] | None = None
    """Closes all connections and drops credentials, which later calls make anew; None if the client cannot."""

    def orders(self, deadline: Deadline) -> Table:
        """Return the orders table, for one request."""
        return self._table("ORDERS_TABLE", deadline)

    def catalogue(self, deadline: Deadline) -> Table:
        """Return the catalogue table, for one request."""
        return self._table("CATALOGUE_TABLE", deadline)

    def accounts(self, deadline: Deadline) -> Table:
        """Return the accounts table, for one request."""
        return self._table("ACCOUNTS_TABLE", deadline)

    def kms_until(self, deadline: Deadline) -> Kms:
        """Return the connection to KMS, for one request."""
        return kms.retried_until(self.kms, deadline)

    def queue(self, setting: str) -> Enqueue:
        """Return the queue whose URL a setting holds."""
        return self.open_queue(self.settings[setting])

    @property
    def grace(self) -> timedelta:
        """The grace time of order books."""
        return timedelta(seconds=float(self.settings["GRACE_SECONDS"]))

    @property
    def local(self) -> bool:
        """Whether this is a local run: `sam local` and `make serve` set the variable, Lambda never does."""
        return self.settings.get("AWS_SAM_LOCAL") == "true"

    def _table(self, setting: str, deadline: Deadline) -> Table:
        # A function need not name a table that it opens with others but does not use.
        return Table(self.send, self.settings.get(setting, ""), self.usage, deadline)
