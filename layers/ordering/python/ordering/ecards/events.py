"""The histories of an e-card order and of its mails, and the `data` of their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ordering import clock, money
from ordering.aws.dynamodb import Item, Table
from ordering.book.lifecycle import StatusChange
from ordering.book.names import key_of
from ordering.book.unfinished import PUBLISHED, is_marked
from ordering.ecards.records import as_read, is_over, read_order
from ordering.ecards.statuses import EVENT_KIND, EcardStatus
from ordering.events.history import Finish, OrderHistory
from ordering.events.publisher import each_history
from ordering.identity.accounts import Partner
from ordering.mail.history import mail_history
from ordering.values import replace

if TYPE_CHECKING:
    from ordering.ecards.event_shapes import EcardEventLine, EcardEventMoment, EcardMailEventData, EcardOrderEventData
    from ordering.events.shapes import EventMail


def admits_ecards(partner: Partner) -> bool:
    """Return whether the contract of e-card orders admits a partner, so that it may receive their events."""
    return "ecards" in partner.grants and partner.company is not None


def read_history(table: Table, order: str) -> OrderHistory | None:
    """Read the history of an order, by its name; None if the order does not exist.

    Raises:
        Unavailable: The deadline passed.
    """
    item = table.get(key_of(order))
    return history_of(order, item) if item else None


def read_histories(table: Table, names: Sequence[str]) -> Mapping[str, OrderHistory | None]:
    """Read the histories of orders, by the orders' names; see `publisher.ReadHistories`. A hundred take one call.

    Raises:
        Unavailable: The deadline passed.
    """
    found = table.batch_get([key_of(name) for name in names])
    return each_history(names, lambda name: history_of(name, item) if (item := found.get(key_of(name))) else None)


def read_ecard_mails(table: Table, order: str) -> OrderHistory | None:
    """Read the history of an order's mails, by the order's name; None if the order does not exist.

    Raises:
        Unavailable: The deadline passed.
    """
    item = table.get(key_of(order))
    if item is None:
        return None
    placed = read_order(item)

    def data(mail: EventMail) -> EcardMailEventData:
        return {
            "partner": placed.company,
            "order": {"id": placed.id, "number": placed.number},
            "mail": {**mail, "to": mail["to"] or placed.participant.email},
        }

    history = mail_history(table, order, EVENT_KIND, placed.company, data)
    return replace(history, correlation=placed.correlation)


def history_of(name: str, item: Item) -> OrderHistory:
    """Return the history of an order, by its name and its item."""
    order = read_order(item)
    moments = order.state.history

    def data(index: int) -> Mapping[str, Any]:
        participant = order.participant
        lines: list[EcardEventLine] = [
            {
                "cardId": line.card_id,
                "name": line.name,
                "faceValue": line.face_value,
                "quantity": line.quantity,
                "price": money.format_amount(line.price),
            }
            for line in order.lines
        ]
        made: EcardOrderEventData = {
            "partner": order.company,
            "order": {
                "id": order.id,
                "number": order.number,
                "participant": {"email": participant.email, "name": participant.name, "phone": participant.phone},
                "login": order.login,
                "total": money.format_amount(order.total),
                "quantity": order.quantity,
                "created": clock.to_text(order.created),
                "status": moments[index].status,
                "history": [_moment(moment) for moment in moments[: index + 1]],
                "lines": lines,
                "lineCount": len(lines),
            },
        }
        return made

    finish = None
    if is_marked(item) and is_over(item):
        # Its mail may still arrive, or come back as surely not sent: the message is retried until the outcome is known.
        finish = Finish(*as_read(order), mails=order.in_transit > 0)
    return OrderHistory(
        name,
        EVENT_KIND,
        order.company,
        moments,
        data,
        item.get(PUBLISHED),
        finish,
        correlation=order.correlation,
    )


def _moment(moment: StatusChange[EcardStatus]) -> EcardEventMoment:
    return {"status": moment.status, "at": clock.to_text(moment.at)}
