"""Amounts of money: always `Decimal`, from request to response, with the decimals that they were given."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext

from ordering.values import Value

_CENT = Decimal("0.01")


def parse_amount(text: str) -> Decimal:
    """Parse an amount, keeping its trailing zeros: `48.0000` stays `48.0000`.

    Amounts are stored as text because a DynamoDB number drops trailing zeros, and the contracts return them.

    Raises:
        ValueError: The text is not a finite decimal number.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not an amount")
    return amount


def format_amount(amount: Decimal) -> str:
    """Convert an amount to its stored form: plain digits, never an exponent."""
    return f"{amount:f}"


def from_stored(text: str | None) -> Decimal | None:
    """Parse a stored amount; None if it is missing."""
    return None if text is None else parse_amount(text)


def varied(price: Decimal, percent: Decimal) -> Decimal:
    """Return a price raised by a percentage, or lowered by a negative one, to 2 decimals with halves away from zero.

    3599.99 at +2 % is 3671.99, at -2 % 3527.99 (the figures of the deal orders' reference).
    """
    with localcontext(prec=60):
        return (price * (100 + percent) / 100).quantize(_CENT, ROUND_HALF_UP)


class Money(Value):
    """An amount in a currency (ISO 4217)."""

    currency: str
    value: Decimal
