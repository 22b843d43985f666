"""Amounts of money: `Decimal` from byte to byte, with the decimals they were given."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext

_CENT = Decimal("0.01")


def parse_amount(text: str) -> Decimal:
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


def format_amount(amount: Decimal) -> str:
    """Write an amount as it is stored: plain digits, never an exponent."""
    return f"{amount:f}"


def from_stored(text: str | None) -> Decimal | None:
    """Read an amount that may be missing."""
    return None if text is None else parse_amount(text)


def varied(price: Decimal, percent: Decimal) -> Decimal:
    """Return a price with so many percent added, negative ones taken off: to 2 places, halves away from zero.

    3599.99 at +2 % is 3671.99, at -2 % 3527.99 (the figures of the deal orders' reference).
    """
    with localcontext(prec=60):
        return (price * (100 + percent) / 100).quantize(_CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Money:
    """What one seat costs in a currency (ISO 4217)."""

    currency: str
    value: Decimal
