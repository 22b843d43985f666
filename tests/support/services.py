"""The services of all functions over one connection, as tests use them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from ordering.aws.calls import unavailable
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Send, Table, Usage
from ordering.aws.kms import Kms
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.sqs import Enqueue, no_queue
from ordering.book.orderbook import GRACE, OrderBook
from ordering.clock import Clock, Deadline, system_clock
from ordering.deals.orders import DealOrders
from ordering.deals.products import DealProducts
from ordering.deals.services import DealServices
from ordering.ecards.catalogue import EcardCatalogue
from ordering.ecards.orders import EcardOrders
from ordering.ecards.services import EcardServices
from ordering.identity.accounts import Accounts
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.services import IdentityServices
from ordering.identity.token_endpoint import TokenEndpoint
from ordering.principal import BusinessUnit
from ordering.training.catalogue import Catalogue
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.services import TrainingServices
from ordering.webhooks.delivery import Deliverer
from ordering.webhooks.registrations import Webhooks
from ordering.webhooks.services import WebhookServices
from ordering.webhooks.transport import Post, not_posted
from support.rights import Limited


class Settings(dict[str, str]):
    """The environment variables of a function: while one is called, those that the template declares for it."""

    declared: Collection[str] | None = None
    """The names that are visible; all of them if None."""

    def __getitem__(self, name: str) -> str:
        if self.declared is not None and name not in self.declared:
            raise KeyError(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self and (self.declared is None or name in self.declared) else default

    @contextmanager
    def seen_by(self, declared: Collection[str]) -> Iterator[None]:
        """Show only the settings that a function declares, and those of `sam local`."""
        self.declared = {*declared, "AWS_SAM_LOCAL"}
        try:
            yield
        finally:
            self.declared = None


@dataclass(frozen=True)
class Services:
    """What functions use, by the names that tests know it by."""

    send: Send
    orders_table: str
    catalogue_table: str
    accounts_table: str
    now: Clock = system_clock
    grace: timedelta = GRACE
    usage: Usage = field(default_factory=Usage)
    sequence: OrderIds = field(default_factory=OrderIds)
    kms: Kms = unavailable
    issuer: str = ""
    audience: str = ""
    access_keys_key: str = ""
    certificates_key: str = ""
    webhook_secrets_key: str = ""
    webhook_queue: Enqueue = no_queue
    local: bool = False

    @cached_property
    def connections(self) -> Connections:
        """The connections of a process whose environment names the tables so."""
        return Connections(self.settings, self.limited, self.kms, lambda _: self.webhook_queue, self.now, self.usage)

    @cached_property
    def limited(self) -> Limited:
        """The connection to tables, which has the rights of a function while that is called."""
        return Limited(self.send)

    @cached_property
    def settings(self) -> Settings:
        """The settings of all functions."""
        settings = {
            "ORDERS_TABLE": self.orders_table,
            "CATALOGUE_TABLE": self.catalogue_table,
            "ACCOUNTS_TABLE": self.accounts_table,
            "GRACE_SECONDS": str(self.grace.total_seconds()),
            "TOKEN_ISSUER": self.issuer,
            "TOKEN_AUDIENCE": self.audience,
            "SHARED_USAGE": "calls-without-own-key",
            "ACCESS_KEYS_KEY": self.access_keys_key,
            "CERTIFICATES_KEY": self.certificates_key,
            "WEBHOOK_SECRETS_KEY": self.webhook_secrets_key,
            "WEBHOOK_QUEUE": "WebhookQueue",
            **({"AWS_SAM_LOCAL": "true"} if self.local else {}),
        }
        return Settings(settings)

    def of(self, build: Callable[[Connections], Any]) -> Any:
        """Return the services that an app is built with."""
        return self._built.setdefault(build, build(self.connections))

    @cached_property
    def _built(self) -> dict[Callable[[Connections], Any], Any]:
        return {
            TrainingServices: self.training,
            DealServices: DealServices(self.connections),
            EcardServices: self.ecards,
            IdentityServices: self.identity,
            WebhookServices: WebhookServices(self.connections),
        }

    @cached_property
    def training(self) -> TrainingServices:
        return TrainingServices(self.connections, ids=self.sequence)

    @cached_property
    def ecards(self) -> EcardServices:
        return EcardServices(self.connections)

    @cached_property
    def identity(self) -> IdentityServices:
        return IdentityServices(self.connections)

    def training_orders(self, unit: BusinessUnit, deadline: Deadline) -> TrainingOrders:
        return self.training.orders(unit.id, deadline)

    def deal_orders(self, account: str, deadline: Deadline) -> DealOrders:
        return DealServices(self.connections).orders(account, deadline)

    def ecard_orders(self, company: str, deadline: Deadline) -> EcardOrders:
        return self.ecards.orders(company, deadline)

    def ecard_catalogue(self, company: str, deadline: Deadline) -> EcardCatalogue:
        return self.ecards.catalogue(company, deadline)

    def deal_products(self, account: str, deadline: Deadline) -> DealProducts:
        return DealServices(self.connections).products(account, deadline)

    def book(self, name: str, deadline: Deadline) -> OrderBook:
        return OrderBook(self.orders(deadline), name, now=self.now, grace=self.grace)

    def catalogue(self, unit: BusinessUnit, deadline: Deadline) -> Catalogue:
        return self.training.catalogue(unit.id, deadline)

    def accounts(self, deadline: Deadline) -> Accounts:
        return self.identity.accounts(deadline)

    def token_endpoint(self, deadline: Deadline) -> TokenEndpoint:
        return self.identity.token_endpoint(deadline)

    def access_keys_sealer(self) -> EnvelopeSealer:
        return EnvelopeSealer(self.kms, self.access_keys_key)

    def webhooks(self, deadline: Deadline) -> Webhooks:
        return WebhookServices(self.connections).registrations(deadline)

    def deliverer(self, deadline: Deadline, post: Post = not_posted) -> Deliverer:
        return WebhookServices(self.connections).deliverer(deadline, post)

    def reference_tokens(self, deadline: Deadline) -> ReferenceTokens:
        return self.identity.reference_tokens(deadline)

    def orders(self, deadline: Deadline) -> Table:
        return self.connections.orders(deadline)
