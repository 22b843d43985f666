"""What support reads of one order: what was ordered, what happened to it and its mails, and what followed from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ordering.aws.sealer import EnvelopeSealer
from ordering.book.idempotency import remembered_until
from ordering.book.lifecycle import State
from ordering.book.names import key_of
from ordering.book.orderbook import OrderBook
from ordering.clock import system_clock
from ordering.contexts import read_history
from ordering.deals.orders import DealOrders
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import KIND as ECARDS
from ordering.ecards.records import EcardOrder
from ordering.events.history import OrderHistory
from ordering.events.publisher import published
from ordering.mail.history import name_of_mails
from ordering.mail.outbox import Mail, MailEvent, Outbox
from ordering.training.orders import KIND as TRAINING
from ordering.training.orders import OrderLine, TrainingOrder, find_order, keys_of, once_digest
from ordering_tools.audit import entries
from ordering_tools.console import Output, titled
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.finding import Order
from ordering_tools.operations.webhooks import deliverer_of, webhooks_of

Row = dict[str, Any]


@dataclass
class Account:
    """All that is shown of one order: values by name, and lists of rows by title."""

    values: Row
    lists: dict[str, list[Row]] = field(default_factory=dict)

    def print(self, output: Output) -> None:
        """Print it: one object, or the values and then a table for each list that is not empty."""
        if output.as_json:
            output.document({**self.values, **self.lists})
            return
        output.fields(self.values)
        for title, rows in self.lists.items():
            if rows:
                filled = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
                output.line(f"\n{titled(title)}")
                output.rows(rows, columns=_COLUMNS.get(title, [name for name in filled if name not in _LONG]))


_COLUMNS = {
    "history": ("at", "what"),
    "events": ("sequence", "type", "at", "published"),
    "webhooks": ("url", "settled", "events", "failures", "state"),
    "changes": ("at", "action", "by", "reason"),
}
"""The columns that people see of lists whose rows have more."""

_LONG = {"featureSet"}
"""Columns for programs: a table with them would not fit a terminal."""


def shown(site: Installation, order: Order) -> Account:
    """Read what `order show` prints."""
    account, state = _placed(site, order)
    moments = _moments(state) if state else []
    if order.kind in (TRAINING, ECARDS):
        outbox = Outbox(site.orders)
        mails = outbox.mails(order.name)
        account.values["mailsGoTo"] = outbox.corrected_address(order.name) or None
        account.lists["mails"] = list(map(mail_row, mails))
        moments += [mail_moment(mail, event) for mail in mails for event in mail.events]
    account.lists["history"] = sorted(moments, key=lambda row: row["at"])
    return account


def traced(site: Installation, order: Order) -> Account:
    """Read what `order trace` prints: what is shown of the order, and what followed from it in other places."""
    account = shown(site, order)
    account.lists["entry"] = [_entry(site, order)]
    if order.kind == TRAINING:
        account.lists["accessKeys"] = [_keys(site, order)]
        account.lists["idempotencyKey"] = _once(site, order)
    histories = [
        found for name in (order.name, name_of_mails(order.name)) if (found := read_history(site.orders, name))
    ]
    for history in histories[:1]:
        account.values["request"] = history.correlation
    account.lists["events"] = [row for history in histories for row in _events(site, history)]
    account.lists["webhooks"] = [row for history in histories for row in _webhooks(site, history)]
    account.lists["changes"] = list(_changes(site, order))
    return account


def mail_row(mail: Mail) -> Row:
    """Return what lists show of a mail."""
    to = {"to": mail.corrected[-1][1]} if mail.corrected else {}
    return {"mail": mail.number, "state": str(mail.state), "codes": mail.contents, "bounced": mail.bounced, **to}


def mail_moment(mail: Mail, event: MailEvent) -> Row:
    """Return what the history shows of an event of a mail."""
    to = f" to {event.to}" if event.to else ""
    reason = f": {event.reason}" if event.reason else ""
    what = f"mail {mail.number} {event.type}{to}{reason}"
    return {"at": event.at, "what": what, "mail": mail.number, "to": event.to, "reason": event.reason}


def _placed(site: Installation, order: Order) -> tuple[Account, State[Any] | None]:
    if order.kind == TRAINING:
        found = find_order(site.orders, order.number)
        if found is None:
            raise NotDone(f"there is no order {order.label}")
        return _training(*found), found[0].state
    if order.kind == ECARDS:
        placed = EcardOrders(site.orders, order.partner).order(order.id)
        return _ecards(order, placed), placed.state
    return _deal(site, order), None


def _training(order: TrainingOrder, lines: list[OrderLine]) -> Account:
    values = {
        "order": str(order.id),
        "partner": order.partner,
        "status": str(order.status),
        "created": order.created,
        "reference": order.reference,
        "businessUnit": order.business_unit.name,
        "unitId": order.business_unit.id,
        "createdBy": order.created_by.user_name,
        "contact": f"{order.contact_forename} {order.contact_surname}".strip(),
        "email": order.contact_email,
        "emailKeys": order.email_keys,
        "seats": sum(line.quantity for line in lines),
    }
    rows = [
        {
            "line": line.number,
            "description": line.description,
            "quantity": line.quantity,
            "featureSet": line.feature_set_id,
            "reference": line.source_reference,
        }
        for line in lines
    ]
    return Account(values, {"lines": rows})


def _ecards(order: Order, placed: EcardOrder) -> Account:
    values = {
        "order": order.label,
        "id": placed.id,
        "partner": placed.company,
        "status": str(placed.status),
        "created": placed.created,
        "participant": placed.participant.name,
        "email": placed.participant.email,
        "phone": placed.participant.phone,
        "total": placed.total,
        "debited": placed.debited,
        "certificates": placed.quantity,
        "handedOver": placed.delivered,
        "inTransit": placed.in_transit,
        "waitsFor": str(placed.parked) if placed.parked else None,
    }
    rows = [
        {
            "card": line.card_id,
            "name": line.name,
            "faceValue": line.face_value,
            "quantity": line.quantity,
            "price": line.price,
        }
        for line in placed.lines
    ]
    return Account(values, {"lines": rows})


def _deal(site: Installation, order: Order) -> Account:
    orders = DealOrders(site.orders, order.partner)
    placed = orders.order(order.number)
    values = {
        "order": order.label,
        "partner": order.partner,
        "deal": str(placed.deal_id),
        "discount": placed.discount,
        "created": placed.created,
        "updated": placed.updated,
        "version": placed.version,
    }
    rows = [
        {
            "id": str(line.id),
            "name": line.name,
            "quantity": line.quantity,
            "price": line.price,
            "currency": line.currency,
            "value": line.value,
        }
        for line in orders.lines(order.number).all()
    ]
    return Account(values, {"lines": rows})


def _moments(state: State[Any]) -> list[Row]:
    return [
        {
            "at": moment.at,
            "what": "".join(
                [
                    str(moment.status),
                    f" by {moment.by}" if moment.by else "",
                    f": {moment.reason}" if moment.reason else "",
                ]
            ),
            "status": str(moment.status),
            "by": moment.by,
            "reason": moment.reason,
        }
        for moment in state.history
    ]


def _entry(site: Installation, order: Order) -> Row:
    """Return the order's entry in its book, and whether it says the same as the order."""
    position, book = order.number, f"{order.kind}#{order.partner}"
    if order.kind == TRAINING:
        item = site.orders.get(key_of(order.name)) or {}
        position, book = item["order"]["position"], f"{TRAINING}#{item['order']['unit']['id']}"
    entry = OrderBook(site.orders, book).find([position]).get(position)
    status = entry["order"].get("status", "") if entry else None
    state = "missing" if status is None else ("as the order" if status == order.status else f"differs: {status}")
    return {"book": book, "position": position, "state": state}


def _keys(site: Installation, order: Order) -> Row:
    """Count the access keys of a training order, without reading any."""
    found = find_order(site.orders, order.number)
    lines = found[1] if found else []
    keys = keys_of(site.orders, order.number, lines, EnvelopeSealer(site.kms))
    return {"issued": keys.issued(), "seats": keys.seats}


def _once(site: Installation, order: Order) -> list[Row]:
    """Return the digest of the key that a training order was created with, and until when retries get its response."""
    digest = once_digest(site.orders.get(key_of(order.name)) or {})
    if digest is None:
        return []
    return [{"sha256": digest, "rememberedUntil": remembered_until(site.orders, order.partner, digest)}]


def _events(site: Installation, history: OrderHistory) -> Iterator[Row]:
    count = published(site.orders, history)
    for index in range(len(history)):
        event = history.event(index)
        yield {
            "sequence": event.sequence,
            "type": event.type,
            "at": event.time,
            "published": index < count,
            "id": event.id,
        }


def _webhooks(site: Installation, history: OrderHistory) -> Iterator[Row]:
    """Yield how far each webhook of the order's partner has got with a history."""
    deliverer = deliverer_of(site)
    for webhook in sorted(webhooks_of(site).all(history.partner), key=lambda one: one.since):
        progress = deliverer.progress(webhook, history.order, len(history))
        state = f"{len(progress.parked)} parked" if progress.parked else ("waits" if progress.missed else "")
        yield {
            "url": webhook.url,
            "settled": progress.done,
            "events": len(history),
            "failures": progress.tries,
            "state": f"disabled: {webhook.disabled}" if webhook.disabled else state,
            "webhook": webhook.id,
            "history": history.order,
            "parked": [{"event": one.event, "at": one.at, "why": one.why} for one in progress.parked],
        }


def _changes(site: Installation, order: Order) -> Iterator[Row]:
    """Yield what operators changed by commands, oldest first."""
    for month in _months(order.created, system_clock()):
        for entry in entries(site.orders, month):
            if entry.subject == order.subject:
                yield {
                    "at": entry.at,
                    "action": entry.action,
                    "by": entry.by,
                    "reason": entry.reason,
                    "before": dict(entry.before),
                    "after": dict(entry.after),
                }


def _months(first: datetime, last: datetime) -> Iterator[str]:
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield f"{month // 12:04}-{month % 12 + 1:02}"
