"""Inbound events of e-card orders: payments, stock and cancellations."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic reads the standard library's only from Python 3.12 on
)

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Clock, Deadline, system_clock
from ordering.ecards.certificates import Duplicates, LoadResult, Stock
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import KIND
from ordering.ecards.services import EcardServices
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.ecards.stock.codes import InvalidCodes, KnownElsewhere
from ordering.ecards.stock.loading import StockLoader, UnknownStock
from ordering.errors import KeyReused, NotFound
from ordering.events.incoming import (
    EVENTS_REFUSED,
    EventRefused,
    Label,
    MalformedEvent,
    Number,
    Receiver,
    Uuid,
    cancel_once,
    read_json,
    validate,
)
from ordering.identity.accounts import Accounts
from ordering.money import parse_amount
from ordering.sealing import BrokenSeal, Sealer
from ordering.values import Value

PAYMENT = "ordering.payment.received"
STOCK = "ordering.stock.loaded"

# Shapes

# pydantic's patterns have no lookahead, so the three ranges above zero stand side by side.
_AMOUNT = r"^(0\.(0[1-9]|[1-9][0-9]?)|[1-9][0-9]{0,11}(\.[0-9]{1,2})?|1000000000000(\.0{1,2})?)$"

_Company = Annotated[str, Field(pattern="^[0-9A-Za-z._-]{1,64}$", description="The company's id as a partner.")]
_Amount = Annotated[
    str, Field(pattern=_AMOUNT, description="More than 0, at most 1000000000000, with up to two decimals.")
]


class PaymentReceived(TypedDict):
    """A payment into a company's balance. A repeated operation has no effect, and with another amount it is refused."""

    company: _Company
    operation: Annotated[Label, Field(description="The payer's own name for this payment.")]
    amount: _Amount


class StockLoaded(TypedDict):
    """Certificates for stock. A repeated batch has no effect, and with other codes it is refused.

    A code that the card has already is not loaded again, whatever its batch and face value.
    """

    cardId: Number
    faceValue: Annotated[Label, Field(description="The name of the face value, for instance 100 ₽.")]
    batch: Annotated[Label, Field(description="The producer's own name for these certificates.")]
    codes: Annotated[
        str,
        Field(
            pattern="^[A-Za-z0-9+/]+={0,2}$",
            description="A JSON list of distinct strings, encrypted as docs/events.md describes.",
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]
    force: NotRequired[
        Annotated[
            bool,
            Field(description="Whether to load codes that another card has, and a face value that no catalogue has."),
        ]
    ]


class EcardOrderNamed(TypedDict):
    """A company's e-card order."""

    kind: Literal["ecards"]
    company: _Company
    id: Uuid


SHAPES = {PAYMENT: PaymentReceived, STOCK: StockLoaded}
"""The shapes of the data in the types of events that only e-card orders have."""

_CODES = TypeAdapter(Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)])


def sealing_context(card_id: int, face_value: str, batch: str) -> bytes:
    """Return the encryption context of a batch's codes, so that codes of another card or batch do not decrypt."""
    # No name has a line break, so no two batches have the same context.
    return "\n".join((STOCK, str(card_id), face_value, batch)).encode()


# Handlers


class EcardEvents(Value):
    """Carries out inbound events of e-card orders, for one invocation.

    Args:
        table: The orders table.
        sealer: Decrypts the codes of producers, and encrypts them for the table.
        open_orders: Opens the orders of a company.
        catalogue: The catalogue table.
    """

    table: Table
    accounts: Accounts
    sealer: Sealer
    open_orders: Callable[[str], EcardOrders]
    catalogue: Table
    now: Clock = system_clock

    def receiver(self) -> Receiver:
        """Return the handlers of all types."""
        return Receiver(KIND, self.cancel, {PAYMENT: self.receive_payment, STOCK: self.load_stock})

    def receive_payment(self, data: PaymentReceived) -> None:
        """Add a payment to a company's balance, and pay for its orders that wait for money.

        Raises:
            EventRefused: The operation was made with another amount.
            NotFound: The company does not exist, or orders no e-cards.
            Unavailable: The deadline passed. A retry is safe.
        """
        orders = self._orders_of(data["company"])
        try:
            orders.top_up(data["operation"], parse_amount(data["amount"]))
        except KeyReused as reused:
            raise EventRefused(EVENTS_REFUSED, reused) from reused

    def load_stock(self, data: StockLoaded) -> None:
        """Load a batch of certificates, and assign certificates to orders that wait for them.

        Raises:
            MalformedEvent: The codes were sealed for another card or batch, or are not a list of strings.
            EventRefused: Nothing was loaded: the batch was loaded with other codes, its name is blank, no catalogue
                has the card and face value, or a code is repeated, invalid, or known under another card. Or all codes
                were loaded but those that the card has already.
            NotIndexed: The register of codes is not complete. A retry is safe.
            Unavailable: The deadline passed. A retry is safe.
        """
        stock, batch = Stock(data["cardId"], data["faceValue"]), data["batch"]
        codes = self._unsealed(data["codes"], sealing_context(stock.card_id, stock.face_value, batch))
        loader = StockLoader(self.table, self.catalogue, self.sealer, self.now)
        try:
            result = loader.load(stock, batch, codes, force=data.get("force", False))
        except (KeyReused, Duplicates, InvalidCodes, KnownElsewhere, UnknownStock, ValueError) as refusal:
            raise EventRefused(EVENTS_REFUSED, refusal) from refusal
        if result.known or result.elsewhere:
            raise EventRefused(EVENTS_REFUSED, _not_loaded(result, len(codes)))

    def cancel(self, order: EcardOrderNamed) -> None:
        """Cancel an order and refund it.

        Raises:
            EventRefused: It can no longer be cancelled.
            NotFound: The company or the order does not exist, or not yet.
            Conflict: It changed concurrently. A retry is safe.
            Unavailable: The deadline passed. A retry is safe.
        """
        order_id = order["id"].lower()
        orders = self._orders_of(order["company"])
        cancel_once(
            lambda: orders.cancel(order_id), lambda: orders.order(order_id).status, ECARDS, EcardStatus.CANCELLED
        )

    def _orders_of(self, company: str) -> EcardOrders:
        partner = self.accounts.partner(company)
        if partner is None or partner.company is None:
            raise NotFound("company", company)
        return self.open_orders(company)

    def _unsealed(self, sealed: str, context: bytes) -> list[str]:
        try:
            plain = self.sealer.open(base64.b64decode(sealed), context)
        except (ValueError, BrokenSeal):
            raise MalformedEvent(f"{STOCK}: its codes were not sealed for its card and batch") from None
        codes: Any = read_json(plain)
        return validate(_CODES, codes, f"{STOCK}: the list of codes")


def _not_loaded(result: LoadResult, count: int) -> str:
    """Return which codes of a batch were not loaded, by index."""
    known = sorted([*result.known, *result.elsewhere])
    return f"{len(known)} of {count} codes were in stock before and are not loaded again, by index: {known}"


def receiver(connections: Connections, deadline: Deadline) -> Receiver:
    """Return the handlers of inbound events of e-card orders, for one invocation."""
    services = EcardServices(connections)
    return EcardEvents(
        connections.orders(deadline),
        Accounts(connections.accounts(deadline)),
        EnvelopeSealer(connections.kms_until(deadline), connections.settings["CERTIFICATES_KEY"]),
        lambda company: services.orders(company, deadline),
        connections.catalogue(deadline),
        connections.now,
    ).receiver()
