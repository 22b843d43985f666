"""A company's balance for e-cards, and the ledger that explains it.

Every change of the balance is one transaction with a ledger entry. The entry's key names the change's purpose and must
be absent, so that no change is applied twice and the balance is always the sum of its entries. A debit requires that
the balance covers it, so the balance is never negative.

Keys of the table: `BALANCE#<company>` the balance in hundredths; `LEDGER#<company>` one item for each change of it, by
purpose: `debit#<order>`, `refund#<order>`, `topup#<operation>`, `correction#<operation>`. An operation is a name that a
payer or an operator chose.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from ordering import clock
from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused, Update, Write
from ordering.errors import Conflict, KeyReused
from ordering.values import Value, replace

_BALANCES = "BALANCE#"
_ONLY = "-"
_LAST = "\U0010ffff"
_LONGEST_ID = 200
_TOP_UP = "topup"
_CORRECTION = "correction"


class LedgerEntry(Value):
    """One change of a balance: its purpose, and its amount, negative for a debit."""

    purpose: str
    amount: Decimal
    at: datetime
    by: str = ""
    """The operator who made it by a command; empty for changes that follow from orders and payments."""
    reason: str = ""
    """Why the operator made it."""


class NotCovered(Conflict):
    """A correction would make a balance negative."""


def to_hundredths(amount: Decimal) -> int:
    """Convert an amount to hundredths, the unit in which balances are stored.

    Raises:
        ValueError: The amount has more than two decimals.
    """
    hundredths = amount * 100
    if hundredths != int(hundredths):
        raise ValueError(f"{amount} has more than two decimals")
    return int(hundredths)


def from_hundredths(hundredths: int) -> Decimal:
    """Convert hundredths to an amount without trailing zeros: 10050 to `100.5`."""
    return Decimal(hundredths) / 100


class Balance:
    """The balance of one company."""

    def __init__(self, table: Table, company: str) -> None:
        self._table = table
        self._company = company
        self.key: Key = (f"{_BALANCES}{company}", _ONLY)

    def amount(self) -> Decimal:
        """Read the balance, as an amount."""
        return from_hundredths(self.hundredths())

    def hundredths(self) -> int:
        """Read the balance in hundredths."""
        return hundredths_of(self._table.get(self.key))

    def entries(self) -> Iterator[LedgerEntry]:
        """Read the ledger, in the order of its entries' purposes."""
        for item in self._table.query(f"LEDGER#{self._company}", " ", _LAST):
            yield LedgerEntry(
                item["sk"],
                from_hundredths(item["amount"]),
                clock.from_text(item["at"]),
                item.get("by", ""),
                item.get("reason", ""),
            )

    def top_up(self, operation: str, amount: Decimal, at: datetime, *, by: str = "", reason: str = "") -> bool:
        """Raise the balance, once per operation however often the call is repeated.

        Args:
            operation: The payer's or operator's name for this top-up, 1 to 200 characters.
            by: The operator who makes it; empty for a payment.
            reason: Why the operator makes it.

        Returns:
            Whether this call raised it, and no earlier one.

        Raises:
            ValueError: The amount is not positive or has more than two decimals, or the name is empty or too long.
            KeyReused: The operation was a top-up of another amount.
            Unavailable: The deadline passed. The same call again is safe.
        """
        if to_hundredths(amount) <= 0 or not 0 < len(operation) <= _LONGEST_ID:
            raise ValueError(f"a top-up of {amount} named {operation!r}")
        return self._once(LedgerEntry(f"{_TOP_UP}#{operation}", amount, at, by, reason))

    def correct(self, operation: str, amount: Decimal, at: datetime, *, by: str, reason: str) -> bool:
        """Raise or lower the balance by hand, once per operation however often the call is repeated.

        Args:
            operation: The operator's name for this correction, 1 to 200 characters.
            amount: What is added; negative to lower the balance.

        Returns:
            Whether this call changed it, and no earlier one.

        Raises:
            ValueError: The amount is zero or has more than two decimals, or the name is empty or too long.
            KeyReused: The operation was a correction by another amount.
            NotCovered: The balance would become negative.
            Unavailable: The deadline passed. The same call again is safe.
        """
        if not to_hundredths(amount) or not 0 < len(operation) <= _LONGEST_ID:
            raise ValueError(f"a correction by {amount} named {operation!r}")
        return self._once(LedgerEntry(f"{_CORRECTION}#{operation}", amount, at, by, reason))

    def has_top_up(self, operation: str) -> bool:
        """Return whether an operation has raised the balance."""
        return self._table.get((f"LEDGER#{self._company}", f"{_TOP_UP}#{operation}")) is not None

    def _once(self, entry: LedgerEntry) -> bool:
        """Write an operation's entry, and return whether it is new."""
        hundredths = to_hundredths(entry.amount)
        told = {name: text for name, text in (("by", entry.by), ("reason", entry.reason)) if text}
        try:
            self._table.transact(self._change(entry.purpose, hundredths, entry.at, told))
        except TransactionRefused as refusal:
            earlier, uncovered = refusal.reasons
            if earlier is None and uncovered:
                raise NotCovered(
                    f"The balance is {from_hundredths(hundredths_of(uncovered.item)):.2f}: it cannot be lowered by "
                    f"{-entry.amount:.2f}."
                ) from refusal
            if earlier is None or earlier.item is None or earlier.item["amount"] != hundredths:
                kind, _, operation = entry.purpose.partition("#")
                title = "top-up" if kind == _TOP_UP else kind
                raise KeyReused(f"The {title} {operation!r} was made with another amount.") from refusal
            return False
        return True

    def debit(self, order: str, amount: Decimal, at: datetime) -> list[Write]:
        """Return the writes that debit an amount for an order. They are refused if the balance does not cover it."""
        hundredths = to_hundredths(amount)
        return self._change(f"debit#{order}", -hundredths, at) if hundredths else []

    def refund(self, order: str, amount: Decimal, at: datetime) -> list[Write]:
        """Return the writes that refund an amount that was debited for an order."""
        hundredths = to_hundredths(amount)
        return self._change(f"refund#{order}", hundredths, at) if hundredths else []

    def insufficient(self, amount: Decimal) -> Check:
        """Return a check that holds only while the balance does not cover an amount."""
        condition = "attribute_not_exists(amount) OR amount < :wanted"
        return Check(self.key, condition, values={":wanted": to_hundredths(amount)})

    def _change(self, purpose: str, by: int, at: datetime, told: Item | None = None) -> list[Write]:
        entry = {"pk": f"LEDGER#{self._company}", "sk": purpose, "amount": by, "at": clock.to_text(at), **(told or {})}
        change = Update(self.key, "ADD amount :by", values={":by": by})
        if by < 0:
            change = replace(change, condition="amount >= :least", values={":by": by, ":least": -by})
        return [Put(entry, ABSENT), change]


def hundredths_of(item: Item | None) -> int:
    """Return the hundredths in a balance's item; 0 if a company has none."""
    amount: int = item["amount"] if item else 0
    return amount


def company_of(partition: str) -> str | None:
    """Return the company whose balance a partition holds, None if it holds something else."""
    return partition.removeprefix(_BALANCES) if partition.startswith(_BALANCES) else None
