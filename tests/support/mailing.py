"""What the tests of a context's mailer start from: a table, a KMS and an SES, and a clock that is set by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline
from ordering.mail.mailing import Mailer, Mailing, to_message
from ordering.mail.outbox import Mail, Outbox
from support.aws.faults import Faulty
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.ses import MemorySes

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Mailroom:
    """The mails of one table; subclasses have the orders and the mailer of a context."""

    now: datetime = START
    kms: MemoryKms = field(default_factory=MemoryKms)
    ses: MemorySes = field(default_factory=MemorySes)
    counted: list[str] = field(default_factory=list)
    deadline: Deadline = field(default_factory=lambda: Deadline.after(600))

    kind = ""
    """The kind of the context's orders."""

    def __post_init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.table = Table(self.faulty, "OrdersTable", first_pause=0.0)
        self.outbox = Outbox(self.table, self.ses.ses.send, self.counted.append, self.clock)

    def clock(self) -> datetime:
        return self.now

    def sealer(self) -> EnvelopeSealer:
        """A sealer without a key's id: it opens, and cannot seal."""
        return EnvelopeSealer(self.kms)

    def mailer(self) -> Mailer:
        raise NotImplementedError

    def deliver(self, order: str) -> None:
        """Process the message about an order, as the function does."""
        Mailing({self.kind: self.mailer()}).handle(to_message(order))

    def later(self, time: timedelta) -> None:
        self.now += time

    def mail(self, order: str, number: int = 1) -> Mail:
        return self.outbox.mail(order, number)

    def refuse(self, code: str = "MessageRejected") -> None:
        self.ses.meet(CallRefused("SendEmail", code))
