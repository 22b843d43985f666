"""The deal orders of the demo data: a CRM account with orders, one with a basic plan, and one that is read-only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ordering.book.sorted_lists import ListRequest
from ordering.deals.orders import DealOrders, DealTaken, NewLine
from ordering.deals.products import DealProduct, DealProducts, NewProduct
from ordering.identity.accounts import Accounts, Partner
from ordering.money import Money
from ordering_tools.demo.data import demo_partners
from ordering_tools.installation import Installation

ACCOUNT = "adventure-works"
BASIC = "basic-bikes"
READ_ONLY = "read-only-rentals"
TOKENS = {"deals": ACCOUNT, "dealsBasicPlan": BASIC, "dealsChangesDisabled": READ_ONLY}
"""The account of each token, by the token's name in `demo.json`."""

ORDERS = 40
FIRST_DEAL = 12

_BEGAN = datetime(2015, 7, 6, 16, 32, 56, tzinfo=UTC)
_PLANS = ("Starter", "Growth", "Professional", "Enterprise")
_EXTRAS = ("Plan", "Onboarding", "Training", "Support", "Storage", "Migration")


def seed(installation: Installation) -> None:
    """Write accounts, products, orders and line items; data of an earlier attempt stay as they are."""
    for partner in demo_partners("deals"):
        Accounts(installation.accounts).save_partner(partner)
        if count := {ACCOUNT: ORDERS, READ_ONLY: 3}.get(partner.id):
            catalogue = DealProducts(installation.catalogue, partner.id, lambda: _BEGAN)
            # Each has its number as its id.
            products = [catalogue.find(id_) or catalogue.add(new) for id_, new in enumerate(_new_products(), 1)]
            for number in range(count):
                _order(installation, partner, number, products)
            DealOrders(installation.orders, partner.id).book.settle()


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


def _order(installation: Installation, partner: Partner, number: int, products: Sequence[DealProduct]) -> None:
    """Place one order with up to four line items; some have the same discount, so that sorting has ties."""
    moment = _BEGAN + timedelta(days=number, hours=number % 7)
    orders = DealOrders(installation.orders, partner.id, lambda: moment)
    deal, (reader, *_), there = FIRST_DEAL + 7 * number, partner.users, 0
    try:
        order = orders.place(deal, Decimal(5 * (number % 5)))
        lines = orders.lines(order.id)
    except DealTaken:
        (order,) = orders.part(ListRequest(0, 1), reader, deal).items
        lines = orders.lines(order.id)
        there = len(lines.part(ListRequest(0, 500), reader).items)
    for step in range(there, number % 5):
        product = products[(number + 5 * step) % (len(products) - len(_PLANS))]
        price = product.price_in("USD") or Decimal(0)
        lines.add(NewLine(product, price, "USD", Decimal(step - 1), 1 + number % 9))
