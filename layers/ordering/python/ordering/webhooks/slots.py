"""The slots of a webhook, and its pause after failed tries in a row: what bounds the cost of an endpoint that fails.

Of one webhook, `SLOTS` messages are handled at a time, so that an endpoint that responds slowly or not at all cannot
take up the function's concurrency and hold up the events of other webhooks. A message takes one of the slots, for
`LEASE` at most, so that a crash frees it too.

After `FAILURES` failed tries in a row the webhook is paused: a circuit breaker that opens. When the pause has ended,
the message that takes a slot next takes the probe too, in the same update: it alone may try the endpoint, for `LEASE`
at most. If the endpoint accepts an event, the pause is over. If not, the next pause is twice as long, up to
`LONGEST_PAUSE`. A process that had nothing to send gives the probe back. One that crashes loses it with its lease.

All of this is noted in the two updates that take and free a slot, so it costs no further call, except that a process
whose update meets another one's writes once more. An update of the breaker is conditional on the pause that its process
has read or begun, so a try that was begun before the pause was ended by hand cannot prolong it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from ordering.aws.dynamodb import ConditionFailed, Key, Table, Update
from ordering.clock import Clock
from ordering.errors import Unavailable
from ordering.values import Struct, Value
from ordering.webhooks.health import HEALTH_KEPT, Health, health_key

SLOTS = 5
"""Most messages of one webhook that are handled at a time: a tenth of the function's concurrency."""

LEASE = 60.0
"""Seconds after which a slot is free again if its holder crashed: more than the function's timeout."""

FAILURES = 20
"""Failed tries in a row after which a webhook is paused. An event has ten tries, so two events that an endpoint never
accepts are parked without a pause. An endpoint that is down reaches it within half a minute if many orders change, and
within hours if few do and waiting costs little."""

SHORTEST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
"""Seconds of the first pause, and most seconds of a further one, each without the jitter."""

JITTER = 0.1
"""The share by which a pause is longer or shorter, at random."""

_HOUR_IS_OVER = 7
"""The pause before which 1 + 2 + 4 + … + 32 minutes have passed in pauses."""

_log = logging.getLogger("ordering")


class ProbeTaken(Exception):
    """Another process tries the endpoint for the paused webhook, or has ended the pause."""


class Slot(Struct):
    """A slot that a process has taken, and the results of the tries that it made in it."""

    name: str
    until: int
    """The end of its lease in milliseconds of Unix time; the probe ends then too."""
    health: Health
    """As it was read before the slot was taken."""
    has_probe: bool = False
    accepted: bool = False
    """Whether the endpoint accepted an event."""
    failed: bool = False
    """Whether the last try failed."""
    asked: float = 0.0
    """The seconds after the last try until the endpoint welcomes another one."""

    def note_accepted(self) -> None:
        """Note that the endpoint accepted an event."""
        self.accepted, self.failed, self.asked = True, False, 0.0

    def note_failed(self, asked: float) -> None:
        """Note a failed try, and the seconds by which the endpoint put off the next one."""
        self.failed, self.asked = True, asked

    @property
    def is_probing(self) -> bool:
        """Whether the endpoint is not known to be back: a failed try is the probe's, and none of the event's."""
        return self.has_probe and not self.accepted


class Slots(Value):
    """The slots and the pause of one webhook, in the item of its health.

    Args:
        spread: Returns a random number from 0 to 1, for the jitter and the choice of a slot.
    """

    accounts: Table
    partner: str
    webhook: str
    now: Clock
    spread: Callable[[], float]

    def take(self, health: Health, *, despite_pause: bool = False) -> Slot | None:
        """Take a free slot, and the probe if the webhook is paused; returns None if all slots are taken.

        Args:
            health: As it was read.
            despite_pause: Try the endpoint without the probe, for a replay that the partner asked for.

        Raises:
            ProbeTaken: The webhook is paused, and another process has taken its probe or ended the pause.
        """
        now = self._milliseconds()
        until = now + int(LEASE * 1000)
        probes = bool(health.paused_until) and not despite_pause
        values = {":until": until, ":now": now, ":expires": self._expires()}
        expression, condition = "SET #slot = :until, expires = :expires", "attribute_not_exists(#slot) OR #slot < :now"
        if probes:
            expression, condition = f"{expression}, pausedUntil = :until", f"({condition}) AND pausedUntil = :paused"
            values[":paused"] = health.paused_until
        first = int(self.spread() * SLOTS)  # at random, so that few processes try to take the same one
        for slot in (f"slot{(first + count) % SLOTS}" for count in range(SLOTS)):
            if health.slots.get(slot, 0) >= now:
                continue
            try:
                self.accounts.update(Update(self._key, expression, condition, {"#slot": slot}, values))
            except ConditionFailed as failure:
                found = failure.item or {}
                # If it is ours, an earlier attempt took it, and only its response was lost.
                if found.get(slot) != until or (probes and found.get("pausedUntil") != until):
                    if probes and found.get("pausedUntil") != health.paused_until:
                        raise ProbeTaken from failure
                    continue
            return Slot(slot, until, health, has_probe=probes)
        return None

    def free(self, slot: Slot) -> bool:
        """Free a slot and note the results of its tries; returns whether they ended a pause.

        Another process may have taken the slot after its lease. Without a response, it is free when the lease ends.
        """
        with suppress(Unavailable):
            if slot.accepted:
                return self._note_accepted(slot)
            if slot.failed:
                self._note_failed(slot)
            elif not slot.has_probe or self._update(
                slot,
                "SET pausedUntil = :paused REMOVE #slot",
                "pausedUntil = :until",
                {":paused": slot.health.paused_until},
            ):
                self._update(slot, "REMOVE #slot")
        return False

    def end_pause(self) -> None:
        """End the pause, and forget the failures.

        Raises:
            Unavailable: The deadline passed.
        """
        with suppress(ConditionFailed):  # nothing was ever noted
            self.accounts.update(Update(self._key, "REMOVE failures, pausedUntil, pauses", "attribute_exists(pk)"))

    def _note_accepted(self, slot: Slot) -> bool:
        expression, values = "REMOVE #slot, failures, pausedUntil, pauses", dict[str, int]()
        if slot.failed:  # the try after the accepted one
            expression, values = "SET failures = :one REMOVE #slot, pausedUntil, pauses", {":one": 1}
        if not slot.health.paused_until and not self._update(
            slot, expression, "attribute_not_exists(pausedUntil)", values
        ):
            return False
        # Orders were recorded since another process began the pause, so the caller must know that it has ended.
        self._update(slot, expression, values=values)
        _log.info("webhook no longer paused", extra={"partner": self.partner, "webhook": self.webhook})
        return True

    def _note_failed(self, slot: Slot) -> None:
        health, pauses, condition, further = slot.health, 0, "", dict[str, int]()
        values = {":one": 1, ":expires": self._expires()}
        if slot.has_probe:
            pauses, condition = health.pauses + 1, "pausedUntil = :until"
        elif not health.paused_until and health.failures + 1 >= FAILURES:
            # The number as it is now: another process may have removed it, because its event was accepted.
            pauses, condition = 1, "attribute_not_exists(pausedUntil) AND failures >= :enough"
            further[":enough"] = FAILURES - 1
        if pauses:
            pause = self._pause(pauses, slot.asked)
            further |= {":paused": self._milliseconds() + int(pause * 1000), ":pauses": pauses}
            paused = "pausedUntil = :paused, pauses = :pauses"
            expression = f"ADD failures :one SET expires = :expires, {paused} REMOVE #slot"
            if not self._update(slot, expression, condition, values | further):
                self._log_pause(health.failures + 1, pauses, pause)
                return
        self._update(slot, "ADD failures :one SET expires = :expires REMOVE #slot", values=values)

    def _log_pause(self, failures: int, pauses: int, pause: float) -> None:
        details = {
            "partner": self.partner,
            "webhook": self.webhook,
            "failures": failures,
            "seconds": int(pause),
        }
        if pauses == 1:
            _log.warning("webhook paused", extra=details)
        elif pauses == _HOUR_IS_OVER:
            _log.warning("webhook paused for an hour", extra=details)
        else:
            _log.info("webhook still paused", extra=details)

    def _pause(self, pauses: int, asked: float) -> float:
        """Return the seconds of a pause: by the number of pauses in a row, or more if the endpoint asked for it."""
        pause = min(SHORTEST_PAUSE * 2.0 ** min(pauses - 1, 10), LONGEST_PAUSE)
        return max(pause * (1 + JITTER * (2 * self.spread() - 1)), asked)

    def _update(
        self, slot: Slot, expression: str, condition: str = "", values: Mapping[str, int] | None = None
    ) -> bool:
        """Free a slot by an update; returns whether it is still taken, because only the further condition failed."""
        whole = f"#slot = :until AND {condition}" if condition else "#slot = :until"
        given = {":until": slot.until, **(values or {})}
        try:
            self.accounts.update(Update(self._key, expression, whole, {"#slot": slot.name}, given))
        except ConditionFailed as failure:
            return failure.item is not None and failure.item.get(slot.name) == slot.until
        return False

    @property
    def _key(self) -> Key:
        return health_key(self.partner, self.webhook)

    def _milliseconds(self) -> int:
        return int(self.now().timestamp() * 1000)

    def _expires(self) -> int:
        return int((self.now() + HEALTH_KEPT).timestamp())
