"""The registry of contexts: their event types, order histories, followers, inbound events and mailers.

Each function imports what it returns when it is called, so that a Lambda function loads only what it uses.
docs/add-a-contract.md lists the other places that a new contract is registered in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ordering.aws.connections import Connections
    from ordering.aws.dynamodb import Table
    from ordering.book.changes import Derive, Follower
    from ordering.clock import Clock, Deadline
    from ordering.events.history import OrderHistory
    from ordering.events.incoming import Receiver
    from ordering.events.publisher import ReadHistory
    from ordering.identity.accounts import Partner
    from ordering.identity.authorizer import OwnErrors
    from ordering.mail.mailing import Mailer
    from ordering.mail.outbox import Outbox
    from ordering.sealing import Sealer
    from ordering.training.follow import PassOn


def own_errors() -> Mapping[str, OwnErrors]:
    """Return the contracts whose authorizer's decisions are not cached, by the first part of their paths."""
    from ordering.identity.authorizer import OwnErrors

    return {"/v1": OwnErrors(), "/v2": OwnErrors(requests_a_second=10)}


def event_types() -> Mapping[str, StrEnum]:
    """Return the types of all events that are published, with the status or the moment of a mail that each is about."""
    from ordering.ecards.statuses import EVENT_TYPES as ECARDS
    from ordering.training.statuses import EVENT_TYPES as TRAINING

    return {**TRAINING, **ECARDS, **mail_event_types()}


def mail_event_types() -> Mapping[str, StrEnum]:
    """Return the types of the events about orders' mails, with the moment that each is about."""
    from ordering.ecards.statuses import EVENT_KIND as ECARDS
    from ordering.events.types import MailMomentType, types_of
    from ordering.training.statuses import EVENT_KIND as TRAINING

    return {**types_of(TRAINING, MailMomentType), **types_of(ECARDS, MailMomentType)}


def event_shapes() -> Mapping[str, type]:
    """Return the shape of the data in each type of event, for documents."""
    from ordering.ecards.event_shapes import EcardMailEventData, EcardOrderEventData
    from ordering.ecards.statuses import EVENT_KIND as ECARDS
    from ordering.ecards.statuses import EcardStatus
    from ordering.events.types import MailMomentType, types_of
    from ordering.training.event_shapes import TrainingMailEventData, TrainingOrderEventData
    from ordering.training.statuses import EVENT_KIND as TRAINING
    from ordering.training.statuses import TrainingStatus

    return {
        **dict.fromkeys(types_of(TRAINING, TrainingStatus), TrainingOrderEventData),
        **dict.fromkeys(types_of(TRAINING, MailMomentType), TrainingMailEventData),
        **dict.fromkeys(types_of(ECARDS, EcardStatus), EcardOrderEventData),
        **dict.fromkeys(types_of(ECARDS, MailMomentType), EcardMailEventData),
    }


def history_readers() -> Mapping[str, ReadHistory]:
    """Return the readers of histories, by the kind that a history's name begins with: of orders, and of their mails.

    Kinds of orders without events are absent.
    """
    from ordering.ecards import events as ecards
    from ordering.ecards.records import KIND as ECARDS
    from ordering.events.history import MAILS
    from ordering.training import events as training
    from ordering.training.orders import KIND as TRAINING

    return {TRAINING: training.read_history, ECARDS: ecards.read_history, MAILS: read_mail_history}


def read_history(table: Table, name: str) -> OrderHistory | None:
    """Read a history, by its name: an order's name, or `mails#` and the order's name for that of its mails.

    Returns:
        None if the order does not exist or its kind has no events.

    Raises:
        Unavailable: The deadline passed.
    """
    from ordering.book.names import kind_of

    read = history_readers().get(kind_of(name))
    return read(table, name) if read else None


def read_mail_history(table: Table, name: str) -> OrderHistory | None:
    """Read a mail history, by its name; None if the order does not exist or its kind has no mails.

    Raises:
        Unavailable: The deadline passed.
    """
    from ordering.book.names import kind_of
    from ordering.ecards import events as ecards
    from ordering.ecards.records import KIND as ECARDS
    from ordering.events.history import order_of_mails
    from ordering.training import events as training
    from ordering.training.orders import KIND as TRAINING

    order = order_of_mails(name)
    readers = {TRAINING: training.read_training_mails, ECARDS: ecards.read_ecard_mails}
    read = readers.get(kind_of(order))
    return read(table, order) if read else None


def may_see(partner: Partner, history: str) -> bool:
    """Return whether a partner may read a history: it is active, and the contract of the order admits it by its record.

    Args:
        history: An order's name, or that of the history of its mails. Every active partner may read kinds of orders
            without events.
    """
    from ordering.book.names import kind_of
    from ordering.ecards import events as ecards
    from ordering.ecards.records import KIND as ECARDS
    from ordering.events.history import order_of_mails
    from ordering.training import events as training
    from ordering.training.orders import KIND as TRAINING

    order = order_of_mails(history)
    admits = {TRAINING: training.admits_training, ECARDS: ecards.admits_ecards}.get(kind_of(order))
    return partner.active and (admits is None or admits(partner))


def derivations() -> Sequence[Derive]:
    """Return what derives the tasks that follow a change, of all contexts and of mails."""
    from ordering.deals import follow as deals
    from ordering.ecards import follow as ecards
    from ordering.mail import history as mails
    from ordering.training import follow as training

    return [context.tasks_of for context in (deals, ecards, training, mails)]


def followers(connections: Connections, deadline: Deadline, pass_on: PassOn | None = None) -> list[Follower]:
    """Return the followers of all contexts and of mails, for one invocation.

    Args:
        connections: The connections of the process.
        deadline: The time by which tasks must have ended.
        pass_on: Puts a large order on the queue of large orders; None for the consumer of that queue.
    """
    from ordering.deals import follow as deals
    from ordering.ecards import follow as ecards
    from ordering.mail import history as mails
    from ordering.training import follow as training

    return [
        deals.follower(connections, deadline),
        ecards.follower(connections, deadline),
        training.follower(connections, deadline, pass_on),
        mails.follower(),
    ]


def inbound_shapes() -> Mapping[str, Any]:
    """Return the shape of the data in each type of inbound event."""
    from ordering.ecards.incoming import SHAPES as ECARDS
    from ordering.ecards.incoming import EcardOrderNamed
    from ordering.events.incoming import CANCELLATION, cancellation_of
    from ordering.training.incoming import TrainingOrderNamed

    return {**ECARDS, CANCELLATION: cancellation_of(TrainingOrderNamed | EcardOrderNamed)}


def receivers(connections: Connections, deadline: Deadline) -> list[Receiver]:
    """Return the handlers of each context's inbound events, for one invocation."""
    from ordering.ecards import incoming as ecards
    from ordering.training import incoming as training

    return [context.receiver(connections, deadline) for context in (ecards, training)]


def mailers(table: Table, outbox: Outbox, sealer: Sealer, deadline: Deadline, now: Clock) -> Mapping[str, Mailer]:
    """Return the mailers of the contexts that send mails, by kind of order, for one invocation.

    Args:
        table: The orders table.
        sealer: Opens access keys and certificates.
    """
    from ordering.ecards.mailing import EcardMailer
    from ordering.ecards.records import KIND as ECARDS
    from ordering.training.mailing import TrainingMailer
    from ordering.training.orders import KIND as TRAINING

    return {
        TRAINING: TrainingMailer(table, outbox, sealer, deadline),
        ECARDS: EcardMailer(table, outbox, sealer, deadline, now),
    }
