"""`ordering order`: finds, lists, shows and traces orders, cancels them, and moves e-card orders by hand."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain, islice
from typing import TypeVar, assert_never

import click

from ordering.aws.dynamodb import TransactionRefused
from ordering.book.lifecycle import Actor, Operator
from ordering.clock import system_clock
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import KIND as ECARDS
from ordering.ecards.records import EcardOrder
from ordering.ecards.statuses import ECARDS as LIFECYCLE
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict
from ordering.identifiers import canonical_uuid
from ordering.identity.accounts import Accounts
from ordering.training.orders import KIND as TRAINING
from ordering.training.orders import OrderIds, TrainingOrder, TrainingOrders, find_order
from ordering.training.statuses import TRAINING as TRAINING_LIFECYCLE
from ordering.training.statuses import TrainingStatus
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import (
    Group,
    Run,
    Since,
    partner_of,
    pass_run,
    unit_of,
    with_reason,
    with_required_reason,
)
from ordering_tools.operations.finding import (
    ORDER,
    Order,
    find_orders,
    order_named,
    orders_of,
    unindexed,
)
from ordering_tools.operations.tracing import shown, traced

TARGETS = (
    EcardStatus.READY,
    EcardStatus.PARTIALLY_DELIVERED,
    EcardStatus.DELIVERED,
    EcardStatus.CANCELLED,
)
"""The statuses that an order can be moved to by hand; only a payment makes it Payed."""

HANDING_OVER = LIFECYCLE.sources(EcardStatus.PARTIALLY_DELIVERED)
"""The statuses in which some certificates of an order can be handed over."""

T = TypeVar("T")
R = TypeVar("R")

_STATUSES = sorted({*map(str, TrainingStatus), *map(str, EcardStatus)})


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering order find ann@example.com
  ordering order trace 51
  ordering order cancel granite-rewards/12 --reason "ticket 17"
""",
)
def group() -> None:
    """Find, show and trace orders, and cancel or move them."""


@group.command()
@click.argument("text", help="What is searched for, whole: `ann@example.com`, `PO-4711`.")
@click.option("--partner", metavar="ID", help="Only this partner's; with it, numbers of its own orders are found too.")
@click.option("--since", type=Since(), help="Only orders placed since then: 2h, 3d or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most orders to print.")
@pass_run
def find(run: Run, text: str, partner: str | None, since: datetime | None, limit: int) -> None:
    """Find orders by number, UUID, reference, e-mail address, or a deal's number.

    References and addresses are found whole, in upper or lower case, and names of people are not searched:
    `ordering contact list PARTNER --name NAME` has their addresses. A new order is found a moment after it was placed.
    """
    of = partner_of(run.site, partner) if partner else None
    is_name = "@" not in text and not any(map(str.isdigit, text))
    advice = "; names are not searched, but `ordering contact list PARTNER --name NAME` has addresses to find orders by"
    _print(run, find_orders(run.site, text, of, since), limit, f"no order has '{text}'{advice if is_name else ''}")


@group.command("list")
@click.option("--partner", metavar="ID", help="The orders of a partner, of all its contracts.")
@click.option("--unit", metavar="UUID", help="The training orders of a business unit; with --partner also by its name.")
@click.option(
    "--status",
    metavar="STATUS",
    type=click.Choice(_STATUSES, case_sensitive=False),
    help=f"Only orders with this status: {', '.join(_STATUSES)}.",
)
@click.option("--since", type=Since(), help="Only orders placed since then: 2h, 3d or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most orders to print.")
@pass_run
def list_orders(  # noqa: PLR0913 - the command's options
    run: Run, *, partner: str | None, unit: str | None, status: str | None, since: datetime | None, limit: int
) -> None:
    """List orders, newest first."""
    found = heapq.merge(*_books(run.site, partner, unit, since), key=lambda order: order.created, reverse=True)
    _print(run, (order for order in found if status in (None, order.status)), limit, "no orders")


@group.command()
@click.argument("order", help=ORDER)
@pass_run
def show(run: Run, order: str) -> None:
    """Show an order: what was ordered, its mails, and its history."""
    shown(run.site, order_named(run.site, order)).print(run.output)


@group.command()
@click.argument("order", help=ORDER)
@pass_run
def trace(run: Run, order: str) -> None:
    """Show an order and all that followed from it.

    That is its entry in the book, how many access keys are issued, its events and how far webhooks got with them, its
    idempotency key's digest, and who changed it by commands.
    """
    traced(run.site, order_named(run.site, order)).print(run.output)


@group.command()
@click.argument("order", help=ORDER)
@with_required_reason
@pass_run
def cancel(run: Run, order: str, reason: str) -> None:
    """Cancel a training order or an e-card order."""
    _cancel(run, order_named(run.site, order), reason)


@group.command()
@click.argument("order", help=ORDER)
@click.option("--to", required=True, type=click.Choice(list(map(str, TARGETS))), help="The new status.")
@click.option(
    "--count", type=int, default=1, show_default=True, help="Certificates handed over now, for PartiallyDelivered."
)
@with_required_reason
@pass_run
def move(run: Run, order: str, to: str, count: int, reason: str) -> None:
    """Move an e-card order to another status by hand."""
    named = order_named(run.site, order)
    if named.kind != ECARDS:
        raise NotDone(f"order {named.label} is no e-card order: only those are moved by hand")
    target = EcardStatus(to)
    if target is EcardStatus.CANCELLED:
        _cancel(run, named, reason)
        return

    def change(before: EcardOrder) -> EcardOrder:
        check_move(named, before, target, count)
        handed = {EcardStatus.PARTIALLY_DELIVERED: before.delivered + count, EcardStatus.DELIVERED: before.quantity}
        after = {"status": to, "handedOver": handed.get(target, before.delivered)}
        with run.change(named.subject, reason, before=_state(before), after=after) as site:
            return move_order(site, named, before, target, count=count, operator=Operator(site.caller, reason))

    _report(run, named, _changed(lambda: _ecard_order(run, named), change))


@group.command("index")
@with_reason
@pass_run
def index_orders(run: Run, reason: str) -> None:
    """Let orders of earlier releases be found, and finished. It reads the whole table three times."""
    done = 0
    with run.change("search index", reason) as site, run.output.progress("orders") as advance:
        for writes in unindexed(run.site):
            # The first write notes the change: a note with each would cost more than the index.
            with suppress(TransactionRefused):  # it has changed, and is found since
                (run.site if done else site).orders.transact(writes)
                done += 1
                advance(1)
    run.output.line(f"{done} orders and refused mails added to the indexes")
    if run.json:
        run.output.document({"added": done})


def check_move(named: Order, order: EcardOrder, target: EcardStatus, count: int) -> None:
    """Refuse a move that no order, or not this order, can make.

    Raises:
        NotDone: The status cannot be set by hand, or the count does not fit.
        Conflict: The lifecycle does not have the move.
    """
    left = order.quantity - order.delivered
    match target:
        case EcardStatus.READY | EcardStatus.CANCELLED:
            pass
        case EcardStatus.PARTIALLY_DELIVERED | EcardStatus.DELIVERED:
            if not left:
                raise NotDone(f"order {named.label} is {order.status}: all its certificates are handed over")
            order.moved(target, Actor.DELIVERY, system_clock())
        case EcardStatus.CREATED | EcardStatus.PAYED | EcardStatus.AWAITING:
            raise NotDone(f"an order cannot be moved to {target} by hand")
        case unknown:
            assert_never(unknown)
    if target is EcardStatus.PARTIALLY_DELIVERED and order.status in HANDING_OVER and count >= left:
        raise NotDone(f"order {named.label} has {left} left to hand over; to hand over all use --to Delivered")
    if target is EcardStatus.PARTIALLY_DELIVERED and count < 1:
        raise NotDone(f"--count is {count}; it must be at least 1")


def move_order(  # noqa: PLR0913 - all parts of a move
    site: Installation,
    named: Order,
    order: EcardOrder,
    target: EcardStatus,
    *,
    count: int = 1,
    operator: Operator | None = None,
) -> EcardOrder:
    """Move an e-card order to a status by hand, and return the changed order; see `check_move`.

    Args:
        order: The order as it was read.

    Raises:
        NotDone: The status cannot be set by hand, or the stock is short, so that the order waits.
        OrderingError: Its status does not allow the move.
    """
    check_move(named, order, target, count)
    orders = EcardOrders(site.orders, named.partner)
    if target is EcardStatus.CANCELLED:
        return orders.cancel(order.id, operator, read=order)
    if target is EcardStatus.READY:
        return _ready(orders, named, order)
    left = order.quantity - order.delivered
    return orders.hand_over(order, left if target is EcardStatus.DELIVERED else count, operator)


def _cancel(run: Run, named: Order, reason: str) -> None:
    if named.kind == TRAINING:
        _cancel_training(run, named, reason)
    elif named.kind == ECARDS:
        _cancel_ecards(run, named, reason)
    else:
        raise NotDone(f"order {named.label} is a deal order, which has no status: its partner removes it")


def _cancel_training(run: Run, named: Order, reason: str) -> None:
    def read() -> TrainingOrder:
        found = find_order(run.site.orders, named.number)
        if found is None:
            raise NotDone(f"there is no order {named.label}")
        return found[0]

    def cancel(order: TrainingOrder) -> TrainingOrder:
        TRAINING_LIFECYCLE.move(named.label, order.state, TrainingStatus.CANCELLED, Actor.SUPPORT, system_clock())
        with run.change(
            named.subject,
            reason,
            before={"status": str(order.status)},
            after={"status": str(TrainingStatus.CANCELLED)},
            asks="its access keys are never issued, and it cannot be reopened",
        ) as site:
            return _orders_of_unit(site, order).cancel(order.id, Operator(site.caller, reason), read=order)

    cancelled = _changed(read, cancel)
    run.output.line(f"order {named.label} is {cancelled.status}: no access keys are issued")
    if run.json:
        run.output.document({"order": named.label, "status": str(cancelled.status)})


def _cancel_ecards(run: Run, named: Order, reason: str) -> None:
    def cancel(before: EcardOrder) -> tuple[EcardOrder, int]:
        before.moved(EcardStatus.CANCELLED, Actor.SUPPORT, system_clock())
        back = before.quantity - before.delivered - before.in_transit if before.assigned else 0
        asks = f"{before.debited} is refunded, {back} certificates return to stock, and it cannot be reopened"
        after = {"status": str(EcardStatus.CANCELLED), "refunded": str(before.debited)}
        with run.change(named.subject, reason, before=_state(before), after=after, asks=asks) as site:
            operator = Operator(site.caller, reason)
            return move_order(site, named, before, EcardStatus.CANCELLED, operator=operator), back

    cancelled, back = _changed(lambda: _ecard_order(run, named), cancel)
    _report(run, named, cancelled)
    if cancelled.debited:
        run.output.line(f"{cancelled.debited} refunded to {named.partner}")
    if back:
        when = "return to stock in a moment" if cancelled.returning else "returned to stock"
        run.output.line(f"{back} certificates {when}")
    if cancelled.in_transit:
        run.output.line(f"{cancelled.in_transit} certificates are in transit: they may have arrived, and stay used")


def _changed(read: Callable[[], T], change: Callable[[T], R]) -> R:
    """Change an order as it was read; if it has changed in between, read it again and retry.

    The entry in the audit trail says what the order was before. So the write must refuse all but the version read.

    Raises:
        Conflict: The order does not allow the change.
    """
    while True:
        before = read()
        try:
            return change(before)
        except Conflict:
            if read() == before:
                raise


def _ecard_order(run: Run, named: Order) -> EcardOrder:
    return EcardOrders(run.site.orders, named.partner).order(named.id)


def _orders_of_unit(site: Installation, order: TrainingOrder) -> TrainingOrders:
    return TrainingOrders(site.orders, order.business_unit.id, sequence=OrderIds())


def _ready(orders: EcardOrders, named: Order, order: EcardOrder) -> EcardOrder:
    after = orders.assign(order)
    if after.status is EcardStatus.AWAITING and after.parked:
        raise NotDone(
            f"order {named.label} waits for certificates of {after.parked}; add some with `ordering stock load`"
        )
    if after.status is not EcardStatus.READY or order.status is EcardStatus.READY:
        raise NotDone(f"order {named.label} was not moved: it is {after.status}")
    return after


def _state(order: EcardOrder) -> dict[str, str | int]:
    return {"status": str(order.status), "handedOver": order.delivered}


def _report(run: Run, named: Order, order: EcardOrder) -> None:
    """Print how an e-card order is after a change."""
    run.output.line(
        f"order {named.label} is {order.status}, {order.delivered} of {order.quantity} certificates handed over"
    )
    if run.json:
        run.output.document({"order": named.label, "certificates": order.quantity, **_state(order)})


def _books(
    site: Installation, partner_id: str | None, unit: str | None, since: datetime | None
) -> Iterator[Iterator[Order]]:
    """Yield the orders of each book that is to be listed, newest first."""
    if partner_id is not None:
        partner = partner_of(site, partner_id)
        units = [unit_of(partner, unit)] if unit else [one.id for one in partner.business_units]
        names = [f"{TRAINING}#{one}" for one in units]
        names += [f"{ECARDS}#{partner_id}"] if partner.company is not None and not unit else []
        names += [f"deals#{partner_id}"] if partner.deals and not unit else []
        for name in names:
            yield _newer(orders_of(site, name), since)
    elif unit is not None:
        yield _newer(_orders_of_any_unit(site, unit), since)
    else:
        raise click.UsageError("name a partner with --partner, or a business unit with --unit")


def _orders_of_any_unit(site: Installation, unit: str) -> Iterator[Order]:
    """Yield the orders of a business unit whose partner is not named.

    Raises:
        NotDone: The unit is not named by its UUID, or it has no orders and no partner has it.
    """
    known = canonical_uuid(unit)
    if known is None:
        raise NotDone(f"'{unit}' is no UUID; name a business unit by its name together with --partner")
    orders = orders_of(site, f"{TRAINING}#{known}")
    newest = next(orders, None)
    if newest is not None:
        return chain([newest], orders)
    partners = Accounts(site.accounts).partners()
    if not any(one.id == known for partner in partners for one in partner.business_units):
        raise NotDone(f"no partner has the business unit {known}; `ordering partner show ID` lists a partner's")
    return iter(())


def _newer(orders: Iterator[Order], since: datetime | None) -> Iterator[Order]:
    for order in orders:
        if since and order.created < since:
            return
        yield order


def _print(run: Run, orders: Iterator[Order], limit: int, empty: str) -> None:
    rows = [order.row() for order in islice(orders, limit + 1)]
    columns = ["order", *(["partner"] if any("unit" in row for row in rows) else []), "status", "created"]
    run.output.rows(rows[:limit], empty=empty, columns=columns)
    if len(rows) > limit:
        run.output.line(f"there are more than {limit}; see --limit and --since")
