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
    """When the order got the status."""


class TrainingEventUnit(TypedDict):
    """The business unit of the order."""

    id: str
    """The business unit's id."""
    name: str
    """The business unit's name."""


class TrainingEventLine(TypedDict):
    """One item of the order; the number counts from 1 within the order."""

    number: Count
    """The item's number within the order, from 1."""
    featureSetId: str
    """The id of the feature set that was ordered."""
    description: str
    """The name of the product, and in brackets that of the feature set."""
    quantity: Count
    """The number of seats."""
    sourceReference: str | None
    """Your own reference."""
    feedbackLinkUri: str | None
    """Where learners can leave feedback."""
    feedbackLinkText: str | None
    """The text of the feedback link."""
    enableFeedbackLink: bool
    """Whether learners see the feedback link."""
    achievementCode: str | None
    """Your code for what a learner achieves."""


class TrainingEventOrder(TypedDict):
    """A training order right after the change of status.

    Of an order with very many lines, `lines` has the first ones; `lineCount` counts all of them.
    """

    id: Count
    """The order's id."""
    businessUnit: TrainingEventUnit
    createdByUserId: str
    """The id of the user whose token placed the order."""
    orderSourceId: str
    """The id of the channel that the order came through."""
    purchasingOrderReference: str
    """Your reference."""
    contactForename: str
    """The contact's forename."""
    contactSurname: str
    """The contact's surname."""
    contactEmail: str
    """The contact's email address."""
    emailKeys: bool
    """Whether the access keys are mailed to the contact."""
    created: Instant
    """When the order was placed."""
    status: TrainingStatus
    history: list[TrainingEventMoment]
    """The statuses that the order has had, oldest first."""
    lines: list[TrainingEventLine]
    """The items, or the first ones of an order with very many."""
    lineCount: int
    """How many items the order has."""


class TrainingOrderEventData(TypedDict):
    """The partner and the order."""

    partner: str
    """Your id."""
    order: TrainingEventOrder


class TrainingMailedOrder(TypedDict):
    """The order that a mail belongs to."""

    id: Count
    """The order's id."""
    businessUnit: TrainingEventUnit
    purchasingOrderReference: str
    """Your reference."""


class TrainingMailEventData(TypedDict):
    """The partner, the order, and the mail with its access keys."""

    partner: str
    """Your id."""
    order: TrainingMailedOrder
    mail: EventMail
