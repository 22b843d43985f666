"""The shapes of a training order and of its mails in events.

The schemas in docs/events are made of it. They leave room for more properties.
"""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.events.shapes import Count, EventMail, Instant
from ordering.training.statuses import TrainingStatus


class TrainingEventMoment(TypedDict):
    """The time at which an order got a status."""

    status: TrainingStatus
    at: Instant


class TrainingEventUnit(TypedDict):
    """The business unit of the order."""

    id: str
    name: str


class TrainingEventLine(TypedDict):
    """One item of the order; the number counts from 1 within the order."""

    number: Count
    featureSetId: str
    description: str
    quantity: Count
    sourceReference: str | None
    feedbackLinkUri: str | None
    feedbackLinkText: str | None
    enableFeedbackLink: bool
    achievementCode: str | None


class TrainingEventOrder(TypedDict):
    """A training order right after the change of status.

    Of an order with very many lines, `lines` has the first ones; `lineCount` counts all of them.
    """

    id: Count
    businessUnit: TrainingEventUnit
    createdByUserId: str
    orderSourceId: str
    purchasingOrderReference: str
    contactForename: str
    contactSurname: str
    contactEmail: str
    emailKeys: bool
    created: Instant
    status: TrainingStatus
    history: list[TrainingEventMoment]
    lines: list[TrainingEventLine]
    lineCount: int


class TrainingOrderEventData(TypedDict):
    """The partner and the order."""

    partner: str
    order: TrainingEventOrder


class TrainingMailedOrder(TypedDict):
    """The order that a mail belongs to."""

    id: Count
    businessUnit: TrainingEventUnit
    purchasingOrderReference: str


class TrainingMailEventData(TypedDict):
    """The partner, the order, and the mail with its access keys."""

    partner: str
    order: TrainingMailedOrder
    mail: EventMail
