"""Amounts of money: `Decimal` from byte to byte, with the decimals they were given."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation


def from_text(text: str) -> Decimal:
    """Read an amount as written, keeping its trailing zeros: `48.0000` stays `48.0000`.

    Amounts are stored as text because a DynamoDB number drops trailing zeros, and the contracts return them.

    Raises:
        ValueError: It is no finite decimal number.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no amount") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is no amount")
    return amount


def to_text(amount: Decimal) -> str:
    """Write an amount as it is stored: plain digits, never an exponent."""
    return f"{amount:f}"
