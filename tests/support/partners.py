"""Whom and what the tests are about: two partners, their units, and a small catalogue."""

from __future__ import annotations

from ordering import money
from ordering.identity.accounts import Accounts, Partner
from ordering.money import Money
from ordering.principal import BusinessUnit, DealTerms, OrderSource, Principal, User
from ordering.training.catalogue import TrainingFeatureSet, TrainingProduct
from ordering.values import replace

UK = BusinessUnit("0bb7a818-cecb-4c5a-9822-22e62f85589a", "UK")
IRELAND = BusinessUnit("11111111-0000-4000-8000-000000000001", "Ireland")
FOREIGN = BusinessUnit("22222222-0000-4000-8000-000000000002", "Nordics")

JOHN = User("8ed28eef-a8a6-4f29-8723-6d759746b141", "John", "Smith", "johnsmith@example.com")
SOURCE = OrderSource("41ff59ab-a364-4c01-a92f-2271d709a1f1", "go deploy", invoiceable=True)

CALLER = Principal("northwind", JOHN, (UK.id, IRELAND.id), SOURCE, "invoice", ("training",))
SINGLE_UNIT = replace(CALLER, business_units=(UK.id,))
OTHER_PARTNER = replace(CALLER, partner="tailspin", business_units=(FOREIGN.id,))

PARTNER = Partner(
    id="northwind",
    active=True,
    payment_terms="invoice",
    grants=frozenset({"training"}),
    order_source=SOURCE,
    business_units=(UK, IRELAND),
    users={JOHN.id: JOHN},
)

TAILSPIN = replace(PARTNER, id="tailspin", business_units=(FOREIGN,))

AZ_300 = TrainingProduct("6b126cae-c10c-466a-b867-f23fe48bf5cf", "AZ-300", "AZ-300 (Packaged Set) - (Azure Pass)")
LINUX = TrainingProduct(
    "7c237dbf-c10c-466a-b867-f23fe48bf5cf", "M10999A", "M10999A - SQL Server on Linux", ("c-1", "c-2")
)


def feature_set(product: TrainingProduct, number: int, name: str = "Standard - 180 days") -> TrainingFeatureSet:
    return TrainingFeatureSet(
        id=f"{number:08x}-43b3-4969-a8a0-48e4915e6df0",
        product_id=product.id,
        product_name=product.name,
        name=name,
        course_access_period_days=180,
        module_save_period_days=1,
        prices=(Money("GBP", money.parse_amount("48.0000")),),
    )


STANDARD = replace(feature_set(AZ_300, 1), id="a6c1cb36-43b3-4969-a8a0-48e4915e6df0")
ON_LINUX = feature_set(LINUX, 2)
FOREIGN_ONLY = feature_set(LINUX, 3)


def set_deal_terms(accounts: Accounts, partner: str, terms: DealTerms) -> None:
    """Change the terms of a partner for deal orders."""
    before = accounts.partner(partner)
    assert before
    accounts.change_partner(before, replace(before, deals=terms))
