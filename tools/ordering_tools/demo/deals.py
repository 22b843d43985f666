"""The deal orders of the demo data: a CRM account with orders, one with a basic plan, and one that is read-only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from ordering.book.sorted_lists import ListRequest
from ordering.deals.orders import DealOrders, DealTaken, NewLine
from ordering.deals.products import DealProduct, DealProducts, NewProduct
from ordering.identity.accounts import Accounts, Partner
from ordering.money import Money
from ordering.principal import DealTerms, OrderSource, User
from ordering_tools.installation import Installation

ACCOUNT = "adventure-works"
BASIC = "basic-bikes"
READ_ONLY = "read-only-rentals"
TOKENS = {"deals": ACCOUNT, "dealsBasicPlan": BASIC, "dealsChangesDisabled": READ_ONLY}
"""The account of each token, by the token's name in `demo.json`."""

ORDERS = 40
FIRST_DEAL = 12

_MAY = User("3d0f2c1e-93a5-4f0b-8f39-7c1d5b8a9e10", "May", "Keller", "may.keller@example.com")
_SOURCE = OrderSource("7be1e2d4-0d53-4d8b-9a38-2c7a4b1f6e55", "CRM", invoiceable=True)
_BEGAN = datetime(2015, 7, 6, 16, 32, 56, tzinfo=UTC)
_PLANS = ("Starter", "Growth", "Professional", "Enterprise")
_EXTRAS = ("Plan", "Onboarding", "Training", "Support", "Storage", "Migration")


def partners() -> list[Partner]:
    """The three accounts, as partners."""
    terms = {
        ACCOUNT: DealTerms("enterprise"),
        BASIC: DealTerms("basic"),
        READ_ONLY: DealTerms("enterprise", changes_disabled=True),
    }
    return [
        Partner(
            id=account,
            active=True,
            payment_terms="invoice",
            grants=frozenset({"deals"}),
            order_source=_SOURCE,
            business_units=(),
            users={_MAY.id: _MAY},
            deals=granted,
        )
        for account, granted in terms.items()
    ]


def seed(installation: Installation) -> None:
    """Write accounts, products, orders and line items; data of an earlier attempt stay as they are."""
    for partner in partners():
        Accounts(installation.accounts).save_partner(partner)
    for account, count in ((ACCOUNT, ORDERS), (READ_ONLY, 3)):
        products = list(_products(installation, account))
        for number in range(count):
            _order(installation, account, number, products)
        DealOrders(installation.orders, account).book.settle()


def _products(installation: Installation, account: str) -> Iterator[DealProduct]:
    """Add the products; each has its number as its id."""
    catalogue = DealProducts(installation.catalogue, account, partial(_same, _BEGAN))
    for number, new in enumerate(_new_products(), 1):
        yield catalogue.find(number) or catalogue.add(new)


def _new_products() -> Iterator[NewProduct]:
    for step, extra in enumerate(_EXTRAS):
        for level, plan in enumerate(_PLANS):
            amount = Decimal("1599.99") if (plan, extra) == ("Enterprise", "Plan") else Decimal(10 * (4 * step + level))
            yield NewProduct(
                name=f"{plan} {extra}",
                description="Includes more storage options" if extra == "Plan" else None,
                sku=f"{plan}-{extra}".lower(),
                active=(plan, extra) != ("Starter", "Migration"),
                max_discount=Decimal(4 * (level + 1)),
                max_markup=Decimal(4),
                cost=Decimal(2 + level),
                cost_currency="USD",
                prices=(Money("PLN", Decimal("3599.99")), Money("USD", amount)),
            )


def _order(installation: Installation, account: str, number: int, products: Sequence[DealProduct]) -> None:
    """Place one order with up to four line items; some have the same discount, so that sorting has ties."""
    moment = _BEGAN + timedelta(days=number, hours=number % 7)
    orders = DealOrders(installation.orders, account, partial(_same, moment))
    deal = FIRST_DEAL + 7 * number
    there = 0
    try:
        order = orders.place(deal, Decimal(5 * (number % 5)))
        lines = orders.lines(order.id)
    except DealTaken:
        (order,) = orders.part(ListRequest(0, 1), _MAY.id, deal).items
        lines = orders.lines(order.id)
        there = len(lines.part(ListRequest(0, 500), _MAY.id).items)
    for step in range(there, number % 5):
        product = products[(number + 5 * step) % (len(products) - len(_PLANS))]
        price = product.price_in("USD") or Decimal(0)
        lines.add(NewLine(product, price, "USD", Decimal(step - 1), 1 + number % 9))


def _same(moment: datetime) -> datetime:
    return moment
