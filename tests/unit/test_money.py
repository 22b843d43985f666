"""Amounts of money: exact, with their decimals as given."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordering import money


@pytest.mark.parametrize("text", ["48.0000", "0", "0.10", "1599.90", "-2.50", "9999999999999999.999999"])
def test_text_comes_back(text: str) -> None:
    """An amount is written as it was read, trailing zeros included."""
    assert money.format_amount(money.parse_amount(text)) == text


@pytest.mark.parametrize(("amount", "text"), [("1E+3", "1000"), ("1.5E-7", "0.00000015"), ("0E+2", "0")])
def test_never_an_exponent(amount: str, text: str) -> None:
    """An amount is written in plain digits, without an exponent."""
    assert money.format_amount(Decimal(amount)) == text


@pytest.mark.parametrize("text", ["", "x", "1,5", "NaN", "sNaN", "Infinity", "-inf"])
def test_invalid_amounts(text: str) -> None:
    """A text that is not a finite number raises ValueError."""
    with pytest.raises(ValueError, match="is not an amount"):
        money.parse_amount(text)


def test_missing_amounts() -> None:
    """A missing stored amount is read as None."""
    assert (None, Decimal("1.50")) == (money.from_stored(None), money.from_stored("1.50"))


@pytest.mark.parametrize(
    ("price", "percent", "value"),
    [
        ("3599.99", "2", "3671.99"),
        ("3599.99", "-2", "3527.99"),
        ("3599.99", "0", "3599.99"),
        ("1599.9", "0", "1599.90"),
        ("0.005", "0", "0.01"),
        ("0.015", "0", "0.02"),
        ("0.025", "0", "0.03"),
        ("0.0049999", "0", "0.00"),
        ("10", "-100", "0.00"),
        ("10", "-99.95", "0.01"),
        ("1", "0.5", "1.01"),
        ("1", "0.499999", "1.00"),
        ("0", "50", "0.00"),
        ("9999999999999999.999999", "1000000", "100009999999999999999.99"),
    ],
)
def test_varied(price: str, percent: str, value: str) -> None:
    """A varied price is rounded to two decimals, halves away from zero, as the published examples are."""
    assert str(money.varied(Decimal(price), Decimal(percent))) == value


AMOUNTS = st.decimals(0, Decimal("9999999999999999.999999"), places=6)
PERCENTS = st.decimals(-100, 1_000_000, places=6)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(price=AMOUNTS, percent=PERCENTS)
def test_varied_is_exact(price: Decimal, percent: Decimal) -> None:
    """A varied price is calculated exactly, however many digits it has."""
    exact = Fraction(price) * (100 + Fraction(percent)) / 100
    cents = int(exact * 100 + Fraction(1, 2))

    value = money.varied(price, percent)

    assert (Fraction(cents, 100), -2) == (Fraction(value), value.as_tuple().exponent)


def test_varied_leaves_the_context_alone() -> None:
    """The global decimal precision is unchanged afterwards."""
    before = getcontext().prec

    money.varied(Decimal("1.23"), Decimal(5))

    assert getcontext().prec == before
