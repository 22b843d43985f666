"""`ordering event`: puts events on the local run's event bus, as the systems for payments, stock and support do."""

from __future__ import annotations

import argparse
import base64
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ordering import clock
from ordering.aws.eventbridge import BYTES_AT_MOST, Entry
from ordering.ecards.incoming import PAYMENT, STOCK, sealing_context
from ordering.ecards.stock.codes import check_codes
from ordering.events.incoming import CANCELLATION, VERSION, misfits
from ordering.fulfilment.incoming import envelopes
from ordering.mail import incoming as ses
from ordering.mail.outbox import Outbox
from ordering_tools.installation import Installation, NotDone, running_at
from ordering_tools.local.engine.deployment import read_stack
from ordering_tools.local.engine.engine import connect
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.finding import ORDER, order_named
from ordering_tools.operations.stock import read_codes, refusals, sealer_of
from ordering_tools.stacks import DeploymentError

BUS = "OrderEvents"
SOURCES = {PAYMENT: "payments", STOCK: "stock", CANCELLATION: "support"}
"""The source of each type of event: the one that the template's rules accept unless a parameter names others."""


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    payment = commands.add_parser("payment", help="send an event: a company has paid")
    payment.add_argument("company", help="the company's id, for instance granite-rewards in the demo data")
    payment.add_argument("amount", help="for instance 250.50")
    payment.add_argument(
        "--operation", required=True, help="the payment's id; the same id again does not book it twice"
    )
    set_action(payment, run_payment)

    stock = commands.add_parser("stock", help="send an event: certificates have arrived; their codes are encrypted")
    stock.add_argument("codes", type=Path, help="a file with a code on each line, in UTF-8")
    stock.add_argument("--card", type=int, required=True, help="the id of the e-card")
    stock.add_argument("--face-value", required=True, help='for instance "100 ₽"')
    stock.add_argument("--batch", required=True, help="the batch's id; the same id again does not add them twice")
    stock.add_argument("--kms", help="the key that encrypts the codes; by default the stack's")
    stock.add_argument(
        "--force",
        action="store_true",
        help="ask to load codes that another card has, and a card or face value that no catalogue has",
    )
    set_action(stock, run_stock)

    cancel = commands.add_parser("cancel", help="send an event: an order is to be cancelled")
    cancel.add_argument("order", help="the id of a training order, or with --company the UUID of an e-card order")
    cancel.add_argument("--company", help="the company whose e-card order it is")
    set_action(cancel, run_cancel)

    bounce = commands.add_parser("bounce", help="send an event of SES: the last mail of an order bounced")
    bounce.add_argument("order", help=ORDER)
    set_action(bounce, run_bounce)


def run_payment(_: Installation, arguments: argparse.Namespace) -> None:
    """Send the event of a payment."""
    data = {"company": arguments.company, "operation": arguments.operation, "amount": arguments.amount}
    put(arguments.state, PAYMENT, data)


def run_stock(installation: Installation, arguments: argparse.Namespace) -> None:
    """Send the event of a batch of certificates."""
    numbers, codes = read_codes(arguments.codes)
    with refusals(numbers):
        check_codes(codes)
    context = sealing_context(arguments.card, arguments.face_value, arguments.batch)
    sealed = sealer_of(installation, arguments.kms).seal(json.dumps(codes).encode(), context)
    data: dict[str, Any] = {"cardId": arguments.card, "faceValue": arguments.face_value, "batch": arguments.batch}
    if arguments.force:
        data["force"] = True
    put(arguments.state, STOCK, {**data, "codes": base64.b64encode(sealed).decode()})


def run_cancel(_: Installation, arguments: argparse.Namespace) -> None:
    """Send the event that asks for a cancellation."""
    if arguments.company is not None:
        order = {"kind": "ecards", "company": arguments.company, "id": arguments.order}
    elif arguments.order.isdecimal():
        order = {"kind": "training", "id": int(arguments.order)}
    else:
        raise NotDone(f"'{arguments.order}' is not a valid training order id; for an e-card order add --company")
    put(arguments.state, CANCELLATION, {"order": order})


def run_bounce(installation: Installation, arguments: argparse.Namespace) -> None:
    """Send the event that SES sends when a mail bounces."""
    name = order_named(installation, arguments.order).name
    sent = [mail for mail in Outbox(installation.orders).mails(name) if mail.attempts]
    if not sent:
        raise NotDone(f"no mail of {name} was sent")
    now = clock.system_clock()
    mail = {"messageId": sent[-1].message_id, "tags": {tag: [value] for tag, value in sent[-1].tags().items()}}
    bounce = {"bounceType": "Permanent", "bounceSubType": "General", "timestamp": clock.to_text(now)}
    event = {
        "source": ses.SOURCE,
        "detail-type": "Email Bounced",
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "detail": {"eventType": "Bounce", "mail": mail, "bounce": bounce},
    }
    # On the queue: an event bus accepts events with a source of AWS only from AWS.
    installation.incoming_queue(json.dumps(event), 0)
    print(json.dumps(event, indent=2))


def put(state: Path, event_type: str, data: Mapping[str, Any]) -> None:
    """Put an event on the bus of the local run that uses the folder `state`, and print the event.

    Raises:
        NotDone: The event does not match its schema or is too large, or the bus refused it.
    """
    now = clock.system_clock()
    event = {"id": str(uuid.uuid4()), "type": event_type, "version": VERSION, "time": clock.to_text(now), "data": data}
    if places := misfits(envelopes()[event_type], event):
        raise NotDone(f"the event does not match its schema: {', '.join(places)}")
    detail = json.dumps(event, ensure_ascii=False)
    source = SOURCES[event_type]
    size = Entry(event_type, source, event_type, now, detail).size
    if size > BYTES_AT_MOST:
        raise NotDone(f"the event has {size:,} bytes, the limit is {BYTES_AT_MOST:,}; send fewer codes at once")
    running = running_at(state)
    try:
        bus = read_stack(running.services).outputs[BUS]
        entry = {"EventBusName": bus, "Source": source, "DetailType": event_type}
        (result,) = connect("events", running.services).put_events(Entries=[{**entry, "Detail": detail}])["Entries"]
    except (BotoCoreError, ClientError, DeploymentError) as error:
        raise NotDone(f"the event bus could not be reached: {error}") from error
    if "EventId" not in result:
        raise NotDone(f"the event bus refused it: {result.get('ErrorCode')} {result.get('ErrorMessage', '')}".rstrip())
    print(json.dumps({**entry, "Detail": event}, indent=2, ensure_ascii=False))
