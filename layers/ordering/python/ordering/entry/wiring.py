"""Where a function's environment becomes the things that its handlers use."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from ordering.aws import kms
from ordering.aws import sqs as queues
from ordering.aws.dynamodb import Send, Table, Usage, connect
from ordering.aws.kms import EnvelopeSealer, Kms
from ordering.aws.sqs import Send as Enqueue
from ordering.book.orderbook import GRACE, OrderBook
from ordering.clock import Clock, Deadline, system_clock
from ordering.contexts import OWN_ERRORS
from ordering.deals.orders import DealOrders
from ordering.deals.products import DealProducts
from ordering.ecards.catalogue import EcardCatalogue, RecentEcards
from ordering.ecards.orders import EcardOrders
from ordering.identity import authorizer
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Clients
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.token_endpoint import RecentKeys, TokenEndpoint
from ordering.identity.tokens import KeyRing, Verifier
from ordering.principal import BusinessUnit
from ordering.training.catalogue import Catalogue, Recent
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.webhooks.registrations import Webhooks

if TYPE_CHECKING:
    from ordering.webhooks.delivery import Deliverer
    from ordering.webhooks.post import Post

KEYS_WITHIN = 3.0
"""Seconds within which the signing keys must have been read."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything below the contracts, over one connection; a function's role decides what of it works there."""

    send: Send
    orders_table: str
    catalogue_table: str
    accounts_table: str
    now: Clock = system_clock
    grace: timedelta = GRACE
    usage: Usage = field(default_factory=Usage)
    recent: Recent = field(default_factory=Recent)
    recent_ecards: RecentEcards = field(default_factory=RecentEcards)
    sequence: OrderIds = field(default_factory=OrderIds)
    kms: Kms = kms.nowhere
    issuer: str = ""
    audience: str = ""
    recent_keys: RecentKeys = field(default_factory=RecentKeys)
    access_keys_key: str = ""
    """The key in KMS that seals access keys; not needed to open them."""
    webhook_secrets_key: str = ""
    """The key in KMS that seals the secrets of webhooks; not needed to open them."""
    webhook_queue: Enqueue = queues.nowhere
    local: bool = False
    """Whether this is a local run, where webhooks may lead to any address."""

    def training_orders(self, unit: BusinessUnit, deadline: Deadline) -> TrainingOrders:
        """Return the training orders of a business unit, for one request."""
        table = self.orders(deadline)
        return TrainingOrders(table, unit, sequence=self.sequence, now=self.now, grace=self.grace)

    def deal_orders(self, account: str, deadline: Deadline) -> DealOrders:
        """Return the deal orders of a CRM account, for one request."""
        return DealOrders(self.orders(deadline), account, self.now, self.grace)

    def ecard_orders(self, company: str, deadline: Deadline) -> EcardOrders:
        """Return the e-card orders of a company, for one request."""
        return EcardOrders(self.orders(deadline), company, now=self.now, grace=self.grace)

    def ecard_catalogue(self, company: str, deadline: Deadline) -> EcardCatalogue:
        """Return what a company can order of e-cards, for one request."""
        return EcardCatalogue(self._table(self.catalogue_table, deadline), company, self.recent_ecards)

    def deal_products(self, account: str, deadline: Deadline) -> DealProducts:
        """Return what a CRM account can put on its deal orders, for one request."""
        return DealProducts(self._table(self.catalogue_table, deadline), account, self.now, self.grace)

    def book(self, name: str, deadline: Deadline) -> OrderBook:
        """Return an order book by its name, for one request."""
        return OrderBook(self.orders(deadline), name, now=self.now, grace=self.grace)

    def catalogue(self, unit: BusinessUnit, deadline: Deadline) -> Catalogue:
        """Return the catalogue of a business unit, for one request."""
        return Catalogue(self._table(self.catalogue_table, deadline), unit.id, self.recent)

    def accounts(self, deadline: Deadline) -> Accounts:
        """Return the accounts, for one request."""
        return Accounts(self._table(self.accounts_table, deadline))

    def token_desk(self, deadline: Deadline) -> TokenEndpoint:
        """Return where clients get their tokens, for one request."""
        clients = Clients(self._table(self.accounts_table, deadline), self.now)
        return TokenEndpoint(
            self.accounts(deadline), clients, self.kms, self.issuer, self.audience, self.recent_keys, self.now
        )

    def access_keys_sealer(self) -> EnvelopeSealer:
        """Return what seals and opens access keys, for one request."""
        return EnvelopeSealer(self.kms, self.access_keys_key)

    def webhooks(self, deadline: Deadline) -> Webhooks:
        """Return the addresses that events are sent to, for one request."""
        sealer = EnvelopeSealer(self.kms, self.webhook_secrets_key)
        return Webhooks(self._table(self.accounts_table, deadline), sealer, anywhere=self.local, now=self.now)

    def deliverer(self, deadline: Deadline, post: Post | None = None) -> Deliverer:
        """Return what sends events to webhooks, for one request; without `post` all but sending them."""
        # Imported here, since most functions neither send nor receive anything of the kind.
        from ordering.webhooks.delivery import Deliverer  # noqa: PLC0415
        from ordering.webhooks.post import nowhere  # noqa: PLC0415

        return Deliverer(
            self.orders(deadline),
            self._table(self.accounts_table, deadline),
            self.webhooks(deadline),
            post or nowhere,
            self.webhook_queue,
            deadline,
            self.now,
        )

    def reference_tokens(self, deadline: Deadline) -> ReferenceTokens:
        """Return the reference tokens, for one request."""
        return ReferenceTokens(self._table(self.accounts_table, deadline))

    def orders(self, deadline: Deadline) -> Table:
        """Return the orders table, for one request."""
        return self._table(self.orders_table, deadline)

    def _table(self, name: str, deadline: Deadline) -> Table:
        return Table(self.send, name, self.usage, deadline)


def from_environment() -> Services:
    """Connect to the tables that the function's environment names; those that it does not use may be missing."""
    return Services(
        connect(),
        orders_table=os.environ.get("ORDERS_TABLE", ""),
        catalogue_table=os.environ.get("CATALOGUE_TABLE", ""),
        accounts_table=os.environ.get("ACCOUNTS_TABLE", ""),
        grace=timedelta(seconds=float(os.environ.get("GRACE_SECONDS", GRACE.total_seconds()))),
        kms=kms.connect_when_called(),
        issuer=os.environ.get("TOKEN_ISSUER", ""),
        audience=os.environ.get("TOKEN_AUDIENCE", ""),
        access_keys_key=os.environ.get("ACCESS_KEYS_KEY", ""),
        webhook_secrets_key=os.environ.get("WEBHOOK_SECRETS_KEY", ""),
        webhook_queue=queues.connect_when_called(os.environ.get("WEBHOOK_QUEUE", "")),
        # Set by `sam local` and by the local run, and by nobody else.
        local=os.environ.get("AWS_SAM_LOCAL") == "true",
    )


def authorizer_from_environment() -> authorizer.Handler:
    """Make the authorizer for the accounts table, issuer and audience that the function's environment names."""
    services = from_environment()
    keys = KeyRing(lambda: services.accounts(Deadline.after(KEYS_WITHIN)).signing_keys())
    verifier = Verifier(keys, issuer=services.issuer, audience=services.audience)
    return authorizer.make_handler(
        authorizer.Authorizer(verifier, services.accounts, services.reference_tokens, OWN_ERRORS)
    )
