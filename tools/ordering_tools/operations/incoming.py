"""`ordering dev event`: sends events to the local run, as the systems for payments, stock and support do, and as SES.

A stack in AWS gets its events from these systems alone.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from botocore.exceptions import BotoCoreError, ClientError

from ordering import clock
from ordering.aws.eventbridge import BYTES_AT_MOST, Entry
from ordering.ecards.certificates import Stock, read_stock_levels
from ordering.ecards.incoming import PAYMENT, STOCK, sealing_context
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import KIND as ECARDS
from ordering.ecards.statuses import EcardStatus
from ordering.ecards.stock.codes import canonical_batch, check_codes
from ordering.ecards.stock.upkeep import is_loaded
from ordering.events.incoming import CANCELLATION, VERSION, misfits
from ordering.fulfilment.incoming import envelopes
from ordering.mail import incoming as ses
from ordering.mail.outbox import MailEventType, Outbox
from ordering.training.orders import KIND as TRAINING
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.balance import check_company
from ordering_tools.operations.commands import Group, Run, pass_run
from ordering_tools.operations.finding import ORDER, order_named
from ordering_tools.operations.stock import read_codes, refusals, sealer_of, with_kms, with_stock

BUS = "OrderEvents"
SOURCES = {PAYMENT: "payments", STOCK: "stock", CANCELLATION: "support"}
"""The source of each type of event: the one that the template's rules accept unless a parameter names others."""

_POLL_SECONDS = 0.2

F = TypeVar("F", bound=Callable[..., Any])


def _with_wait(function: F) -> F:
    return click.option(
        "--wait", type=click.FloatRange(0, 600), default=10, show_default=True, help="Seconds to wait for its effect."
    )(function)


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering dev event payment granite-rewards 250.50
    --operation wire-4711
  ordering dev event cancel 51
""",
)
def group() -> None:
    """Send events to the local run, as other systems do."""


@group.command()
@click.argument("company", help="The id of the company's partner, for instance granite-rewards in the demo data.")
@click.argument("amount", help="For instance 250.50.")
@click.option("--operation", required=True, help="The payment's id; the same id again does not book it twice.")
@_with_wait
@pass_run
def payment(run: Run, company: str, amount: str, operation: str, wait: float) -> None:
    """Send an event: a company has paid."""
    data = {"company": company, "operation": operation, "amount": amount}
    event, site = _event(PAYMENT, data), _local(run)
    check_company(site, company)
    balance = EcardOrders(site.orders, company).balance

    def booked() -> str:
        return f"the payment is booked, the balance is {balance.amount():.2f}" if balance.has_top_up(operation) else ""

    _send(run, event, wait, booked, f"the payment '{operation}' is not booked yet")


@group.command()
@click.argument("codes", type=click.Path(path_type=Path), help="A file with a code on each line, in UTF-8.")
@with_stock
@click.option("--batch", required=True, help="The batch's id; the same id again does not add them twice.")
@click.option("--force", is_flag=True, help="Ask to load codes of another card, and a face value of no catalogue.")
@with_kms
@_with_wait
@pass_run
def stock(  # noqa: PLR0913 - the command's options
    run: Run, *, codes: Path, card: int, face_value: str, batch: str, kms: str | None, wait: float, force: bool
) -> None:
    """Send an event: certificates have arrived.

    Their codes are encrypted.
    """
    site, (numbers, texts) = _local(run), read_codes(codes)
    with refusals(numbers):
        check_codes(texts)
    sealed = sealer_of(site, kms).seal(json.dumps(texts).encode(), sealing_context(card, face_value, batch))
    data = {"cardId": card, "faceValue": face_value, "batch": batch, **({"force": True} if force else {})}
    event = _event(STOCK, {**data, "codes": base64.b64encode(sealed).decode()})
    named = Stock(card, face_value)

    def loaded() -> str:
        if not is_loaded(site.orders, named, canonical_batch(batch)):
            return ""
        return f"the batch is loaded, {read_stock_levels(site.orders, [named])[named].count} free"

    _send(run, event, wait, loaded, f"the batch '{batch}' is not loaded yet")


@group.command()
@click.argument("order", help=ORDER)
@_with_wait
@pass_run
def cancel(run: Run, order: str, wait: float) -> None:
    """Send an event: an order is to be cancelled."""
    site = _local(run)
    named = order_named(site, order)
    asked = {
        TRAINING: {"kind": TRAINING, "id": named.number},
        ECARDS: {"kind": ECARDS, "company": named.partner, "id": named.id},
    }.get(named.kind)
    if asked is None:
        raise NotDone(f"order {named.label} is a deal order, which no event cancels")

    def cancelled() -> str:
        status = order_named(site, named.name).status
        return f"order {named.label} is {status}" if status == EcardStatus.CANCELLED else ""

    _send(run, _event(CANCELLATION, {"order": asked}), wait, cancelled, f"order {named.label} is {named.status} still")


@group.command()
@click.argument("order", help=ORDER)
@_with_wait
@pass_run
def bounce(run: Run, order: str, wait: float) -> None:
    """Send an event: an order's last mail bounced."""
    site = _local(run)
    named = order_named(site, order)
    outbox = Outbox(site.orders)
    sent = [mail for mail in outbox.mails(named.name) if mail.attempts]
    if not sent:
        raise NotDone(f"no mail of order {named.label} was sent")
    now = clock.system_clock()
    mail = {"messageId": sent[-1].message_id, "tags": {tag: [value] for tag, value in sent[-1].tags().items()}}
    bounced = {"bounceType": "Permanent", "bounceSubType": "General", "timestamp": clock.to_text(now)}
    event = {
        "source": ses.SOURCE,
        "detail-type": "Email Bounced",
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "detail": {"eventType": "Bounce", "mail": mail, "bounce": bounced},
    }
    # On the queue: an event bus accepts events with a source of AWS only from AWS.
    site.incoming_queue(json.dumps(event), 0)

    def noted() -> str:
        events = outbox.mail(named.name, sent[-1].number).events
        bounces = [one for one in events if one.type is MailEventType.BOUNCED and one.attempt == sent[-1].attempts[-1]]
        return f"mail {sent[-1].number} of order {named.label} bounced" if bounces else ""

    _report(run, event, wait, noted, f"mail {sent[-1].number} of order {named.label} has not bounced yet")


def _event(event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Make an event.

    Raises:
        NotDone: It does not match its schema.
    """
    now = clock.system_clock()
    event = {"id": str(uuid.uuid4()), "type": event_type, "version": VERSION, "time": clock.to_text(now), "data": data}
    if places := misfits(envelopes()[event_type], event):
        raise NotDone(f"the event does not match its schema: {', '.join(places)}")
    return event


def _send(run: Run, event: dict[str, Any], wait: float, look: Callable[[], str], otherwise: str) -> None:
    """Put an event on the bus, and print it with its outcome; see `_report`.

    Raises:
        NotDone: The event is too large, or the bus refused it.
    """
    site, event_type = run.site, event["type"]
    detail = json.dumps(event, ensure_ascii=False)
    source = SOURCES[event_type]
    size = Entry(event_type, source, event_type, clock.from_text(event["time"]), detail).size
    if size > BYTES_AT_MOST:
        raise NotDone(f"the event has {size:,} bytes, the limit is {BYTES_AT_MOST:,}; send fewer codes at once")
    entry = {"EventBusName": site.stack.outputs.get(BUS, BUS), "Source": source, "DetailType": event_type}
    try:
        (result,) = site.connect("events").put_events(Entries=[{**entry, "Detail": detail}])["Entries"]
    except (BotoCoreError, ClientError) as error:
        raise NotDone(f"the event bus could not be reached: {error}") from error
    if "EventId" not in result:
        raise NotDone(f"the event bus refused it: {result.get('ErrorCode')} {result.get('ErrorMessage', '')}".rstrip())
    _report(run, {**entry, "Detail": event}, wait, look, otherwise)


def _report(run: Run, event: Mapping[str, Any], wait: float, look: Callable[[], str], otherwise: str) -> None:
    """Print an event that was sent, and its outcome.

    Args:
        wait: Seconds to wait for it.
        look: Returns what the event has done; nothing if it has no effect yet.
        otherwise: The outcome if there is none.
    """
    until = time.monotonic() + wait
    while not (outcome := look()) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    outcome = outcome or f"{otherwise}; if it stays so see `ordering dead list` and .ordering/functions.log"
    run.output.result(f"{json.dumps(event, indent=2, ensure_ascii=False)}\n{outcome}", {**event, "outcome": outcome})


def _local(run: Run) -> Installation:
    """Return the local run's installation.

    Raises:
        NotDone: It is a stack in AWS.
    """
    if not run.site.local:
        raise NotDone("events are sent to the local run only: a stack's come from the systems that its parameters name")
    return run.site
