"""The consumer of inbound events: dispatches each to the context that receives its type, or to the mails.

`ordering.events.incoming` lists how a delivery can end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from ordering.contexts import inbound_shapes
from ordering.events import incoming
from ordering.events.incoming import CANCELLATION, EventRefused, Handle, MalformedEvent, Receiver
from ordering.events.types import SOURCE as OWN_SOURCE
from ordering.logs import about
from ordering.mail.incoming import SOURCE, Notice, read_notice
from ordering.values import Value

_REASON_AT_MOST = 300

_log = logging.getLogger("ordering")

Report = Callable[[Notice], None]
"""Records what happened to a mail."""

Count = Callable[[str], None]
"""Adds one to a metric, by its name."""


@cache
def envelopes() -> Mapping[str, TypeAdapter[Any]]:
    """Return the validators of inbound events, by type."""
    return {kind: incoming.envelope(kind, data) for kind, data in inbound_shapes().items()}


class Incoming(Value):
    """Carries out inbound events, for one invocation."""

    receivers: Sequence[Receiver]
    report: Report
    count: Count

    def handle(self, body: str) -> None:
        """Carry out an event, once however often it is delivered.

        Args:
            body: The event as EventBridge delivers it to a queue.

        Raises:
            MalformedEvent: It is malformed, its type or version is unknown, or its source is that of our own events.
            NotFound: Its company or order does not exist, or not yet.
            Conflict: Its order changed concurrently. A retry is safe.
            Unavailable: The deadline passed. A retry is safe.
        """
        delivered = incoming.read_delivered(body)
        if delivered["source"] == SOURCE:
            notice = read_notice(delivered)
            if notice:
                self.report(notice)
            return
        if delivered["source"] == OWN_SOURCE:
            # No rule lets it pass. Our own functions may put events on the bus, and must not be able to book payments.
            raise MalformedEvent(f"an event with the source {OWN_SOURCE} is not a producer's")
        kind = delivered["detail-type"]
        if kind not in envelopes():
            raise MalformedEvent(f"unknown type of events: {kind!r}")
        event = incoming.validate(envelopes()[kind], delivered["detail"], kind)
        with about(event=event["id"], type=kind):
            try:
                self._handlers()[kind](event["data"])
            except EventRefused as refusal:
                _log.warning("event refused", extra={"reason": str(refusal)[:_REASON_AT_MOST]})
                self.count(refusal.metric)
            else:
                _log.info("event carried out")

    def _handlers(self) -> dict[str, Handle]:
        cancels = {receiver.kind: receiver.cancel for receiver in self.receivers}
        handlers: dict[str, Handle] = {CANCELLATION: lambda data: cancels[data["order"]["kind"]](data["order"])}
        for receiver in self.receivers:
            handlers |= receiver.handlers
        return handlers
