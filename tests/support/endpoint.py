"""A webhook without a network: an endpoint, orders of its partner, and the queue of its messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.identity.accounts import Accounts
from ordering.webhooks.delivery import Deliverer, Message
from ordering.webhooks.registrations import Webhook, Webhooks
from ordering.webhooks.transport import Response
from support.aws.faults import Faulty
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.partners import PARTNER
from support.training import School

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Endpoint:
    """Webhooks of a partner that has an order, and the queue of their messages. Time passes while messages wait."""

    status: int = 500
    retry_after: float | None = None
    spread: float = 0.5
    now: datetime = START
    posted: list[datetime] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    """The orders of the events that were accepted."""
    queue: list[Message] = field(default_factory=list)
    handled: int = 0

    def __post_init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.school = School(self.faulty, now=lambda: self.now)
        self.order = self.place()
        self.accounts = Table(self.faulty, "AccountsTable", first_pause=0.0)
        self.partners = Accounts(self.accounts)
        self.partners.save_partner(PARTNER)
        self.webhooks = Webhooks(self.accounts, EnvelopeSealer(MemoryKms(), "alias/Key"), now=lambda: self.now)
        self.deliverer = Deliverer(
            Table(self.faulty, "OrdersTable", first_pause=0.0),
            self.accounts,
            self.webhooks,
            self._post,
            lambda body, _: self.queue.append(Message.from_text(body)),
            now=lambda: self.now,
            spread=lambda: self.spread,
        )

    def _post(self, _: str, __: Mapping[str, str], body: bytes) -> Response:
        self.posted.append(self.now)
        if self.status < 300:
            self.received.append(f"training#{json.loads(body)['data']['order']['id']}")
        return Response(self.status, self.retry_after)

    def place(self) -> str:
        """Place an order; returns its name."""
        return f"training#{self.school.place(1)}"

    def register(self, *types: str) -> Webhook:
        return self.webhooks.register(PARTNER.id, "https://example.com/hook", types)[0]

    def signal(self, webhook: Webhook, *orders: str) -> None:
        for order in orders or (self.order,):
            self.deliverer.signal(PARTNER.id, webhook.id, order)

    def handle(self, message: Message) -> None:
        self.handled += 1
        self.deliverer.handle(message.to_text())

    def run(self, until: timedelta = timedelta(days=2)) -> None:
        """Let time pass, and handle each message when it is due."""
        end = self.now + until
        while self.queue:
            message = min(self.queue, key=lambda one: one.due)
            # A microsecond later, because Unix time as a float may have been rounded down.
            due = max(self.now, datetime.fromtimestamp(message.due, UTC) + timedelta(microseconds=1))
            if due > end:
                self.now = end
                return
            self.queue.remove(message)
            self.now = due
            self.handle(message)

    def park(self, webhook: Webhook) -> str:
        """Fail the order's event until it is parked; returns its id."""
        self.signal(webhook)
        self.run()
        self.posted.clear()
        (parked,) = self.deliverer.parked(PARTNER.id, webhook.id, 10)
        return parked.event
