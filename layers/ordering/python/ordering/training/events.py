"""The histories of a training order and of its mails, and the `data` of their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ordering import clock
from ordering.aws.dynamodb import Item, Table
from ordering.book.correlation import correlation_of
from ordering.book.lifecycle import StatusChange
from ordering.book.names import key_of
from ordering.book.unfinished import PUBLISHED, is_marked
from ordering.events.history import Finish, OrderHistory, lines_that_fit
from ordering.identity.accounts import Partner
from ordering.mail.history import mail_history
from ordering.training.orders import as_read
from ordering.training.statuses import EVENT_KIND, TRAINING, TrainingStatus
from ordering.values import replace

if TYPE_CHECKING:
    from ordering.events.shapes import EventMail
    from ordering.training.event_shapes import (
        TrainingEventLine,
        TrainingEventMoment,
        TrainingMailEventData,
        TrainingOrderEventData,
    )

_LINES = "LINE#"


def admits_training(partner: Partner) -> bool:
    """Return whether the contract of training orders admits a partner, so that it may receive their events."""
    return "training" in partner.grants and partner.payment_terms != "card"


def read_history(table: Table, order: str) -> OrderHistory | None:
    """Read the history of an order, by its name; None if the order does not exist.

    Raises:
        Unavailable: The deadline passed.
    """
    partition, sort = key_of(order)
    items = {item["sk"]: item for item in table.query(partition, _LINES, sort)}
    if sort not in items:
        return None
    lines = [line for key, pack in items.items() if key.startswith(_LINES) for line in pack["lines"]]
    return history_of(order, items[sort], lines)


def read_training_mails(table: Table, order: str) -> OrderHistory | None:
    """Read the history of an order's mails, by the order's name; None if the order does not exist.

    Raises:
        Unavailable: The deadline passed.
    """
    item = table.get(key_of(order))
    if item is None:
        return None
    placed = item["order"]

    def data(mail: EventMail) -> TrainingMailEventData:
        return {
            "partner": placed["partner"],
            "order": {
                "id": placed["id"],
                "businessUnit": {"id": placed["unit"]["id"], "name": placed["unit"]["name"]},
                "purchasingOrderReference": placed["reference"],
            },
            "mail": {**mail, "to": mail["to"] or placed["contact"]["email"]},
        }

    history = mail_history(table, order, EVENT_KIND, placed["partner"], data)
    return replace(history, correlation=correlation_of(item))


def history_of(name: str, item: Item, lines: Sequence[Item]) -> OrderHistory:
    """Return the history of an order, by its name, its item, and its lines as they are stored."""
    order = item["order"]
    state = TRAINING.read(order)
    moments = state.history

    def data(index: int) -> Mapping[str, Any]:
        shown = lines_that_fit([_line(line) for line in lines])
        made: TrainingOrderEventData = {
            "partner": order["partner"],
            "order": {
                "id": order["id"],
                "businessUnit": {"id": order["unit"]["id"], "name": order["unit"]["name"]},
                "createdByUserId": order["user"]["id"],
                "orderSourceId": order["source"]["id"],
                "purchasingOrderReference": order["reference"],
                "contactForename": order["contact"]["forename"],
                "contactSurname": order["contact"]["surname"],
                "contactEmail": order["contact"]["email"],
                "emailKeys": order["emailKeys"],
                "created": order["created"],
                "status": moments[index].status,
                "history": [_moment(moment) for moment in moments[: index + 1]],
                "lines": shown,
                "lineCount": len(lines),
            },
        }
        return made

    finish = None
    if is_marked(item) and state.status is not TrainingStatus.NEW:
        mails = bool(order["emailKeys"]) and state.status is TrainingStatus.COMPLETED
        finish = Finish(*as_read(state.version), mails)
    return OrderHistory(
        name,
        EVENT_KIND,
        order["partner"],
        moments,
        data,
        item.get(PUBLISHED),
        finish,
        correlation=correlation_of(item),
    )


def _moment(moment: StatusChange[TrainingStatus]) -> TrainingEventMoment:
    return {"status": moment.status, "at": clock.to_text(moment.at)}


def _line(line: Item) -> TrainingEventLine:
    return {
        "number": line["number"],
        "featureSetId": line["feature_set_id"],
        "description": line["description"],
        "quantity": line["quantity"],
        "sourceReference": line.get("source_reference"),
        "feedbackLinkUri": line.get("feedback_link_uri"),
        "feedbackLinkText": line.get("feedback_link_text"),
        "enableFeedbackLink": line.get("enable_feedback_link", False),
        "achievementCode": line.get("achievement_code"),
    }
