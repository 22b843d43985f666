"""Webhooks: addresses of partners' to which events of their orders are sent, and what the messages are signed with.

Messages are signed as Standard Webhooks has it (https://www.standardwebhooks.com, symmetric signatures). A secret that
was replaced signs for another day beside the new one. Secrets are sealed in the table; whoever only needs to know which
addresses there are cannot open them.

Keys of the accounts table: `WEBHOOKS#<partner>` the partner's addresses, by their ids.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ordering import clock
from ordering.certificates import Sealer
from ordering.clock import Clock
from ordering.errors import Conflict, Fault, Invalid, NotFound
from ordering.event_shapes import TYPES
from ordering.table import ABSENT, ConditionFailed, Item, Key, Put, Table
from ordering.web_addresses import read_address

KEPT = timedelta(hours=24)
"""How long a secret that was replaced still signs."""

WEBHOOKS_AT_MOST = 10
"""Addresses that a partner can have."""

_SECRET_BYTES = 32
_PREFIX = "whsec_"
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret as it is kept, and until when it signs; None if it is the present one."""

    sealed: bytes = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address of a partner's."""

    id: str
    partner: str
    url: str = field(repr=False)
    types: frozenset[str]
    """The types of events that it wants; all of them if it is empty."""
    since: datetime
    """When it was registered: what happened before is none of its business."""
    secrets: tuple[SealedSecret, ...]
    disabled: str | None = None
    """Why nothing is sent to it; None if something is."""
    epoch: int = 1
    """Rises whenever it is enabled: what was on its way before is not any more."""
    version: int = 1

    def wants(self, event_type: str, at: datetime) -> bool:
        """Tell whether an event of that type and time is for it."""
        return at >= self.since and (not self.types or event_type in self.types)


class Webhooks:
    """The webhooks of the accounts table."""

    def __init__(
        self, table: Table, sealer: Sealer, *, anywhere: bool = False, now: Clock = clock.system_clock
    ) -> None:
        """Take what it needs; `anywhere` lets addresses be private, on any port and without TLS: for a local run."""
        self._table = table
        self._sealer = sealer
        self._anywhere = anywhere
        self._now = now

    def register(self, partner: str, url: str, types: Iterable[str] = ()) -> tuple[Webhook, str]:
        """Register an address, and return it with its secret, which is shown this once.

        Args:
            types: The types of events that it wants; all of them if there are none.

        Raises:
            Invalid: Nothing may be sent to such an address, or there is no such type.
            Conflict: The partner has as many addresses as a partner can have.
            Unavailable: The deadline passed. It may have been registered.
        """
        wanted = frozenset(types)
        self._check(url, wanted)
        if len(self.all(partner)) >= WEBHOOKS_AT_MOST:
            raise Conflict(f"There are {WEBHOOKS_AT_MOST} webhooks, the most that there can be.")
        webhook_id = secrets.token_hex(8)
        key, text = self._new_secret(partner, webhook_id)
        webhook = Webhook(webhook_id, partner, url, wanted, self._now(), (key,))
        self._table.put(Put(_write(webhook), ABSENT))
        return webhook, text

    def all(self, partner: str) -> list[Webhook]:
        """Return all addresses of a partner."""
        partition, _ = _key(partner, "")
        return [_read(item) for item in self._table.query(partition, " ", _LAST)]

    def find(self, partner: str, webhook_id: str) -> Webhook | None:
        """Return an address, None if there is none of that id."""
        item = self._table.get(_key(partner, webhook_id))
        return _read(item) if item else None

    def get(self, partner: str, webhook_id: str) -> Webhook:
        """Return an address.

        Raises:
            NotFound: The partner has none of that id.
        """
        webhook = self.find(partner, webhook_id)
        if webhook is None:
            raise NotFound("webhook", webhook_id)
        return webhook

    def change(
        self, partner: str, webhook_id: str, *, url: str | None = None, types: Iterable[str] | None = None
    ) -> Webhook:
        """Change an address; what is None stays.

        Of types that it did not want before, it gets what has happened to an order since it was registered, before the
        next that happens to that order and that it wants.

        Raises:
            Invalid: As `register`.
            NotFound: The partner has none of that id.
            Conflict: It was changed at the same moment.
        """
        webhook = self.get(partner, webhook_id)
        after = replace(
            webhook,
            url=webhook.url if url is None else url,
            types=webhook.types if types is None else frozenset(types),
        )
        self._check(after.url, after.types)
        return self._save(after)

    def replace_secret(self, partner: str, webhook_id: str) -> str:
        """Give an address a new secret and return it; the one before it signs for another day, older ones no longer.

        Raises:
            NotFound: The partner has none of that id.
            Conflict: It was changed at the same moment.
        """
        webhook = self.get(partner, webhook_id)
        key, text = self._new_secret(partner, webhook_id)
        before = replace(webhook.secrets[0], until=self._now() + KEPT)
        self._save(replace(webhook, secrets=(key, before)))
        return text

    def disable(self, webhook: Webhook, why: str) -> Webhook:
        """Send nothing to an address any more.

        Raises:
            Conflict: It was changed since it was read.
        """
        return self._save(replace(webhook, disabled=why))

    def enable(self, partner: str, webhook_id: str) -> Webhook:
        """Send to an address again: what it has missed of an order comes before the next that happens to that order.

        Raises:
            NotFound: The partner has none of that id.
            Conflict: It was changed at the same moment.
        """
        webhook = self.get(partner, webhook_id)
        return self._save(replace(webhook, disabled=None, epoch=webhook.epoch + 1)) if webhook.disabled else webhook

    def remove(self, partner: str, webhook_id: str) -> None:
        """Forget an address, whether there is one of that id or not."""
        self._table.delete_all([_key(partner, webhook_id)])

    def sign(self, webhook: Webhook, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers that say which message it is, when it is sent, and that it is from us.

        Raises:
            Unavailable: What opens the secrets does not answer.
        """
        good = [key for key in webhook.secrets if key.until is None or key.until > at]
        context = _context(webhook.partner, webhook.id)
        return signed([self._sealer.open(key.sealed, context) for key in good], message_id, at, body)

    def _check(self, url: str, types: frozenset[str]) -> None:
        faults = [
            Fault("body", ("types",), "unknown", f"There are no events of type '{unknown}'.")
            for unknown in sorted(types - TYPES)
        ]
        try:
            read_address(url, anywhere=self._anywhere)
        except ValueError as error:
            faults.append(Fault("body", ("url",), "invalid", f"The URL {error}."))
        if faults:
            raise Invalid(faults)

    def _new_secret(self, partner: str, webhook_id: str) -> tuple[SealedSecret, str]:
        secret = secrets.token_bytes(_SECRET_BYTES)
        return SealedSecret(self._sealer.seal(secret, _context(partner, webhook_id))), secret_text(secret)

    def _save(self, webhook: Webhook) -> Webhook:
        after = replace(webhook, version=webhook.version + 1)
        try:
            self._table.put(Put(_write(after), "version = :read", values={":read": webhook.version}))
        except ConditionFailed as failure:
            # An earlier try may have taken effect, with only its answer lost.
            if failure.item is None or _read(failure.item) != after:
                raise Conflict(f"Webhook {webhook.id} was changed at the same moment.") from failure
        return after


def secret_text(secret: bytes) -> str:
    """Write a secret as receivers keep it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def signed(keys: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a message that several secrets sign: a receiver needs one of them."""
    timestamp = str(int(at.timestamp()))
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def announcer(
    webhooks: Webhooks, send: Callable[[str, str, str], None]
) -> Callable[[str, str, Mapping[str, datetime]], None]:
    """Make what tells the webhooks of an order's partner that something happened to it.

    Args:
        send: Gets a partner, a webhook of it, and an order's name.
    """

    def announce(partner: str, order: str, types: Mapping[str, datetime]) -> None:
        for webhook in webhooks.all(partner):
            if not webhook.disabled and any(webhook.wants(one, at) for one, at in types.items()):
                send(partner, webhook.id, order)

    return announce


def _key(partner: str, webhook_id: str) -> Key:
    return f"WEBHOOKS#{partner}", webhook_id


def _context(partner: str, webhook_id: str) -> bytes:
    """Bind what is sealed to its item, so that moved to another it does not open."""
    return "/".join(_key(partner, webhook_id)).encode()


def _write(webhook: Webhook) -> Item:
    partition, sort = _key(webhook.partner, webhook.id)
    return {
        "pk": partition,
        "sk": sort,
        "partner": webhook.partner,
        "url": webhook.url,
        "types": sorted(webhook.types),
        "since": clock.to_text(webhook.since),
        "secrets": [
            {"sealed": key.sealed, "until": clock.to_text(key.until) if key.until else None} for key in webhook.secrets
        ],
        "disabled": webhook.disabled,
        "epoch": webhook.epoch,
        "version": webhook.version,
    }


def _read(item: Item) -> Webhook:
    return Webhook(
        id=item["sk"],
        partner=item["partner"],
        url=item["url"],
        types=frozenset(item["types"]),
        since=clock.from_text(item["since"]),
        secrets=tuple(
            SealedSecret(key["sealed"], clock.from_text(key["until"]) if key["until"] else None)
            for key in item["secrets"]
        ),
        disabled=item["disabled"],
        epoch=item["epoch"],
        version=item["version"],
    )
