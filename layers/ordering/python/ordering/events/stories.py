"""What happened to training and e-card orders, as events.

An order's history has a moment for each status that the order came to, and each moment is one event. Its id is made of
the order and the moment's index, its content of what the order was then: both are the same whenever, and however often,
the event is made. So nothing is kept of events but how far they have been passed on.

An order's name, here and in what is kept of events: its partition in the orders table without `ORDER#`, for instance
`training#4711` or `ecards#acme#b5aa69df-…`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ordering import clock, money
from ordering.aws.dynamodb import Item, Table
from ordering.book.lifecycle import StatusChange
from ordering.book.names import key_of, kind_of
from ordering.ecards import records as ecards
from ordering.ecards.records import EcardOrder, read_order
from ordering.ecards.statuses import EcardStatus
from ordering.events.shapes import (
    SOURCE,
    VERSION,
    EcardData,
    EcardLine,
    EcardMoment,
    TrainingData,
    TrainingLine,
    TrainingMoment,
    type_of,
)
from ordering.training.statuses import TRAINING, TrainingStatus

NAMESPACE = uuid.UUID("0b9d1d94-5a57-5d9c-8f8e-3f2d4c1a7e60")
"""Of the events' ids (UUIDv5); never to be changed."""

LINES_AT_MOST = 160 * 1024
"""Bytes of lines in one event, as JSON: EventBridge takes 256 KB, and text may double within its `Detail`."""

_LINES = "LINE#"


@dataclass(frozen=True, slots=True)
class Event:
    """One move of one order; `order` is the order's name, `sequence` counts its moves from 1."""

    id: str
    type: str
    time: datetime
    order: str
    sequence: int
    data: Mapping[str, Any]

    def to_text(self) -> str:
        """Write it as it is sent: JSON, the same bytes every time."""
        envelope = {
            "id": self.id,
            "type": self.type,
            "version": VERSION,
            "time": clock.to_text(self.time),
            "source": SOURCE,
            "sequence": self.sequence,
            "data": self.data,
        }
        return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class OrderHistory:
    """All that has happened to an order; its events are made when they are asked for, by index from 0."""

    order: str
    partner: str
    moments: Sequence[StatusChange[Any]]
    _data: Callable[[int], Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.moments)

    def type(self, index: int) -> str:
        """Return an event's type."""
        status: StrEnum = self.moments[index].status
        return type_of(status)

    def event(self, index: int) -> Event:
        """Make an event."""
        return Event(
            id=event_id(self.order, index),
            type=self.type(index),
            time=self.moments[index].at,
            order=self.order,
            sequence=index + 1,
            data=self._data(index),
        )


def event_id(order: str, index: int) -> str:
    """Return the id of an order's event."""
    return str(uuid.uuid5(NAMESPACE, f"{order}#{index}"))


def read_history(table: Table, order: str) -> OrderHistory | None:
    """Read what has happened to an order; None if there is no such order.

    Raises:
        Unavailable: The deadline passed.
    """
    partition, sort = key_of(order)
    if kind_of(order) == ecards.KIND:
        item = table.get((partition, sort))
        return _ecard_story(order, read_order(item)) if item else None
    items = {item["sk"]: item for item in table.query(partition, _LINES, sort)}
    if sort not in items:
        return None
    lines = [line for key, pack in items.items() if key.startswith(_LINES) for line in pack["lines"]]
    return _training_story(order, items[sort]["order"], lines)


def _training_story(name: str, order: Item, lines: Sequence[Item]) -> OrderHistory:
    moments = TRAINING.read(order).history

    def data(index: int) -> Mapping[str, Any]:
        shown = _that_fit([_training_line(line) for line in lines])
        made: TrainingData = {
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
                "history": [_training_moment(moment) for moment in moments[: index + 1]],
                "lines": shown,
                "lineCount": len(lines),
            },
        }
        return made

    return OrderHistory(name, order["partner"], moments, data)


def _training_moment(moment: StatusChange[TrainingStatus]) -> TrainingMoment:
    return {"status": moment.status, "at": clock.to_text(moment.at)}


def _training_line(line: Item) -> TrainingLine:
    return {
        "number": line["number"],
        "featureSetId": line["feature_set_id"],
        "description": line["description"],
        "quantity": line["quantity"],
        "sourceReference": line["source_reference"],
        "feedbackLinkUri": line["feedback_link_uri"],
        "feedbackLinkText": line["feedback_link_text"],
        "enableFeedbackLink": line["enable_feedback_link"],
        "achievementCode": line["achievement_code"],
    }


def _that_fit(lines: Sequence[TrainingLine]) -> list[TrainingLine]:
    shown, size = [], 0
    for line in lines:
        # As it is within a text within JSON, where every quotation mark takes two bytes.
        size += len(json.dumps(json.dumps(line, ensure_ascii=False), ensure_ascii=False).encode())
        if size > LINES_AT_MOST:
            break
        shown.append(line)
    return shown


def _ecard_story(name: str, order: EcardOrder) -> OrderHistory:
    moments = order.state.history

    def data(index: int) -> Mapping[str, Any]:
        participant = order.participant
        lines: list[EcardLine] = [
            {
                "cardId": line.card_id,
                "name": line.name,
                "faceValue": line.face_value,
                "quantity": line.quantity,
                "price": money.format_amount(line.price),
            }
            for line in order.lines
        ]
        made: EcardData = {
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
                "history": [_ecard_moment(moment) for moment in moments[: index + 1]],
                "lines": lines,
                "lineCount": len(lines),
            },
        }
        return made

    return OrderHistory(name, order.company, moments, data)


def _ecard_moment(moment: StatusChange[EcardStatus]) -> EcardMoment:
    return {"status": moment.status, "at": clock.to_text(moment.at)}
