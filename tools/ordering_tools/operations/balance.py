"""`ordering balance`: shows, tops up and corrects the balances of companies that order e-cards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from ordering.book.names import key_of
from ordering.ecards.balance import LedgerEntry
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import KIND
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import (
    Command,
    Group,
    Run,
    partner_of,
    pass_run,
    short_caller,
    with_required_reason,
)

LARGEST_PAYMENT = Decimal(10) ** 12
"""The largest amount of one change."""

_LONGEST_OPERATION = 200
_CENT = Decimal("0.01")
_NEGATIVE = re.compile(r"-[0-9.]\S*")

_TITLES = {"debit": "order", "refund": "refund of order", "topup": "top-up", "correction": "correction"}


class _Signed(Command):
    """A command whose last argument is an amount that may begin with a minus sign, as options do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move a negative amount behind the options."""
        if "--" not in args and (negative := list(filter(_NEGATIVE.fullmatch, args))):
            args = [*(one for one in args if one not in negative), "--", *negative]
        return super().parse_args(ctx, args)


class _Amount(click.ParamType[Decimal]):
    """An amount of money; see `LARGEST_PAYMENT`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read the argument, and refuse what is no amount, is too large, or has more than two decimals."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is not a valid amount", param, ctx)
        if not amount.is_finite() or abs(amount) > LARGEST_PAYMENT:
            self.fail(f"{value} cannot be booked: the limit is {LARGEST_PAYMENT:,}", param, ctx)
        if amount != amount.quantize(_CENT):
            self.fail(f"{value} has more than two decimals", param, ctx)
        return amount


class _Operation(click.ParamType[str]):
    """The operator's name for a change of a balance."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an option's value that is empty or too long."""
        if not 0 < len(value) <= _LONGEST_OPERATION:
            self.fail(f"the id has {len(value)} characters: 1 to {_LONGEST_OPERATION} are allowed", param, ctx)
        return str(value)


_operation = click.option(
    "--operation",
    type=_Operation(),
    required=True,
    help="Your id for the change, for instance an invoice's number; the same id again does not book it twice.",
)


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering balance show granite-rewards
  ordering balance top-up granite-rewards 250.50
    --operation wire-4711 --reason "paid by wire"
  ordering balance correct granite-rewards -50
    --operation fix-12 --reason "ticket 17"
""",
)
def group() -> None:
    """Show, top up and correct companies' balances."""


@group.command("top-up", cls=_Signed)
@click.argument("company", help="The id of the company's partner.")
@click.argument("amount", type=_Amount(), help="For instance 250.50.")
@_operation
@with_required_reason
@pass_run
def top_up(run: Run, company: str, amount: Decimal, operation: str, reason: str) -> None:
    """Book a payment. Orders that wait for it are paid, oldest first."""
    if amount <= 0:
        raise NotDone(f"a top-up is more than 0; to lower a balance use `ordering balance correct {company} {amount}`")
    check_company(run.site, company)
    with run.change(f"balance {company}", reason, after=_noted(operation, amount)) as site:
        orders = EcardOrders(site.orders, company)
        booked = orders.top_up(operation, amount, by=site.caller, reason=reason)
    _print_outcome(run, company, operation, amount if booked else Decimal(0), orders)


@group.command(cls=_Signed)
@click.argument("company", help="The id of the company's partner.")
@click.argument("amount", type=_Amount(), help="For instance 250.50.")
@_operation
@with_required_reason
@pass_run
def correct(run: Run, company: str, amount: Decimal, operation: str, reason: str) -> None:
    """Raise or lower a balance by hand.

    A negative amount lowers it. A balance is never lowered below 0. Orders that wait for money are paid, oldest first.
    """
    if not amount:
        raise NotDone("a correction by 0 changes nothing; give the amount to add, negative to lower the balance")
    check_company(run.site, company)
    with run.change(f"balance {company}", reason, after=_noted(operation, amount)) as site:
        orders = EcardOrders(site.orders, company)
        booked = orders.correct_balance(operation, amount, by=site.caller, reason=reason)
    _print_outcome(run, company, operation, amount if booked else Decimal(0), orders)


@group.command()
@click.argument("company", help="The id of the company's partner.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="The latest entries.")
@pass_run
def show(run: Run, company: str, limit: int) -> None:
    """Show a balance and its latest changes.

    They are listed by time, each with the balance after it.
    """
    check_company(run.site, company)
    entries = sorted(EcardOrders(run.site.orders, company).balance.entries(), key=lambda entry: entry.at)
    rows, balance = [], Decimal(0)
    numbers = _order_numbers(run.site, company, entries[-limit:])
    for index, entry in enumerate(entries):
        balance += entry.amount
        if index >= len(entries) - limit:
            rows.append(_row(entry, balance, numbers))
    if run.json:
        run.output.document({"company": company, "balance": balance.quantize(_CENT), "entries": rows})
        return
    if len(entries) > limit:
        run.output.line(f"the latest {limit:,} of {len(entries):,} entries; see --limit")
    run.output.rows(rows, empty="no changes yet", columns=("at", "amount", "balance", "change"))
    run.output.line(f"balance {balance:.2f}")


def check_company(site: Installation, company: str) -> None:
    """Refuse a partner that has no balance.

    Raises:
        NotDone: There is no such partner, or it orders no e-cards.
    """
    if partner_of(site, company).company is None:
        raise NotDone(
            f"partner '{company}' has no balance: it orders no e-cards; see `ordering partner show {company}`"
        )


def _noted(operation: str, amount: Decimal) -> Mapping[str, str]:
    return {"operation": operation, "amount": f"{amount:.2f}"}


def _print_outcome(run: Run, company: str, operation: str, booked: Decimal, orders: EcardOrders) -> None:
    if not booked:
        run.output.line(f"'{operation}' was booked before: nothing was changed")
    values = {"booked": booked.quantize(_CENT), "balance": orders.balance.amount().quantize(_CENT)}
    run.output.fields({"company": company, "operation": operation, **values})


def _order_numbers(site: Installation, company: str, entries: Sequence[LedgerEntry]) -> Mapping[str, int]:
    """Read the numbers of the orders that ledger entries name, by the orders' ids."""
    kinds = {"debit", "refund"}
    named = {purpose[2] for entry in entries if (purpose := entry.purpose.partition("#"))[0] in kinds}
    keys = {key_of(f"{KIND}#{company}#{order_id}"): order_id for order_id in named}
    found = site.orders.batch_get([*keys]) if keys else {}
    return {keys[key]: item["number"] for key, item in found.items()}


def _row(entry: LedgerEntry, balance: Decimal, numbers: Mapping[str, int]) -> dict[str, Any]:
    kind, _, name = entry.purpose.partition("#")
    by = f" by {short_caller(entry.by)}" if entry.by else ""
    return {
        "at": entry.at,
        "amount": entry.amount.quantize(_CENT),
        "balance": balance.quantize(_CENT),
        "change": f"{_TITLES[kind]} {numbers.get(name, name)}{by}",
        "purpose": entry.purpose,
        "by": entry.by,
        "reason": entry.reason,
    }
