"""Balances and their ledger, on a table in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import Put, Table, TransactionRefused, Write
from ordering.ecards.balance import Balance, LedgerEntry, company_of, from_hundredths, to_hundredths
from ordering.errors import KeyReused
from support.aws.faults import Faulty, answer_lost
from support.aws.memory import Memory

AT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def table() -> Table:
    return Table(Memory(), "OrdersTable", first_pause=0.0)


@pytest.fixture
def balance(table: Table) -> Balance:
    return Balance(table, "acme")


def test_an_empty_balance(balance: Balance) -> None:
    """A company without a top-up has a balance of 0 and an empty ledger."""
    assert (balance.amount(), [*balance.entries()]) == (Decimal(0), [])


def test_top_up(balance: Balance) -> None:
    """A top-up raises the balance and is entered in the ledger."""
    balance.top_up("t1", Decimal("100500.50"), AT)
    balance.top_up("t2", Decimal(1), LATER)

    assert balance.amount() == Decimal("100501.50")
    assert [*balance.entries()] == [
        LedgerEntry("topup#t1", Decimal("100500.5"), AT),
        LedgerEntry("topup#t2", Decimal(1), LATER),
    ]


def test_a_top_up_is_applied_once(balance: Balance) -> None:
    """A duplicate of a top-up changes nothing."""
    for _ in range(3):
        balance.top_up("t1", Decimal(100), AT)

    assert (balance.amount(), len([*balance.entries()])) == (Decimal(100), 1)


def test_a_top_up_whose_answer_is_lost(table: Table) -> None:
    """A top-up that took effect although its answer was lost is applied once."""
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", answer_lost)
    balance = Balance(Table(faulty, "OrdersTable", first_pause=0.0), "acme")
    balance.top_up("t1", Decimal(100), AT)

    assert (balance.amount(), faulty.calls.count("TransactWriteItems")) == (Decimal(100), 2)


def test_a_top_up_repeated_with_another_amount(balance: Balance) -> None:
    """A top-up repeated with another amount raises KeyReused and changes nothing."""
    balance.top_up("t1", Decimal(100), AT)

    with pytest.raises(KeyReused):
        balance.top_up("t1", Decimal(101), AT)
    assert balance.amount() == Decimal(100)


@pytest.mark.parametrize(
    ("operation", "amount"), [("", "1"), ("x" * 201, "1"), ("t", "0"), ("t", "-1"), ("t", "0.001")]
)
def test_invalid_top_ups(balance: Balance, operation: str, amount: str) -> None:
    """A top-up needs a name and a positive amount with at most two decimals."""
    with pytest.raises(ValueError, match=r"top-up|decimals"):
        balance.top_up(operation, Decimal(amount), AT)


def test_a_debit_and_its_refund(table: Table, balance: Balance) -> None:
    """A debit and its refund are entered in the ledger under the order's id."""
    balance.top_up("t1", Decimal(100), AT)
    table.transact(balance.debit("a", Decimal("99.99"), AT))
    left = balance.amount()
    table.transact(balance.refund("a", Decimal("99.99"), LATER))

    assert (left, balance.amount()) == (Decimal("0.01"), Decimal(100))
    assert [(entry.purpose, entry.amount) for entry in balance.entries()] == [
        ("debit#a", Decimal("-99.99")),
        ("refund#a", Decimal("99.99")),
        ("topup#t1", Decimal(100)),
    ]


@pytest.mark.parametrize("operation", ["debit", "refund"])
def test_an_order_is_debited_and_refunded_once(table: Table, balance: Balance, operation: str) -> None:
    """A second debit or refund for one order is refused."""
    balance.top_up("t1", Decimal(100), AT)
    change = getattr(balance, operation)
    table.transact(change("a", Decimal(10), AT))
    before = balance.amount()

    with pytest.raises(TransactionRefused):
        table.transact(change("a", Decimal(10), AT))
    assert balance.amount() == before


@pytest.mark.parametrize(("topped_up", "covered"), [("9.99", False), ("10.00", True), ("10.01", True)])
def test_the_balance_is_never_negative(table: Table, balance: Balance, topped_up: str, covered: bool) -> None:  # noqa: FBT001 - a parameter
    """A debit succeeds exactly if the balance covers it, and the opposite check `insufficient` exactly if not."""
    balance.top_up("t1", Decimal(topped_up), AT)
    debit = balance.debit("a", Decimal(10), AT)
    marked: list[Write] = [Put({"pk": "MARK", "sk": "-"}), balance.insufficient(Decimal(10))]
    granted, refused = (debit, marked) if covered else (marked, debit)

    with pytest.raises(TransactionRefused):
        table.transact(refused)
    assert balance.amount() == Decimal(topped_up)
    table.transact(granted)


def test_debit_without_a_balance(table: Table, balance: Balance) -> None:
    """Without a balance item a debit is refused, and `insufficient` holds."""
    with pytest.raises(TransactionRefused):
        table.transact(balance.debit("a", Decimal("0.01"), AT))

    table.transact([Put({"pk": "MARK", "sk": "-"}), balance.insufficient(Decimal("0.01"))])


def test_amounts_of_zero(balance: Balance) -> None:
    """A debit or refund of 0 makes no writes."""
    assert (balance.debit("a", Decimal(0), AT), balance.refund("a", Decimal("0.00"), AT)) == ([], [])


def test_companies_have_their_own(table: Table, balance: Balance) -> None:
    """A company's top-up does not change another's balance."""
    balance.top_up("t1", Decimal(100), AT)
    other = Balance(table, "other")

    assert (other.amount(), [*other.entries()]) == (Decimal(0), [])


@pytest.mark.parametrize(
    ("amount", "hundredths", "text"),
    [("100500", 10_050_000, "100500"), ("0.01", 1, "0.01"), ("10.50", 1050, "10.5"), ("1E+2", 10_000, "100")],
)
def test_units(amount: str, hundredths: int, text: str) -> None:
    """Amounts are stored exactly as hundredths and read without trailing zeros."""
    assert to_hundredths(Decimal(amount)) == hundredths
    assert str(from_hundredths(hundredths)) == text


def test_company_of_a_partition(balance: Balance) -> None:
    """The company is read from the partition of a balance; other partitions give None."""
    assert (company_of(balance.key[0]), company_of("LEDGER#acme")) == ("acme", None)
