"""Webhooks: addresses of partners' to which events of their orders are sent, and what the messages are signed with.

Messages are signed as Standard Webhooks has it (https://www.standardwebhooks.com, symmetric signatures). A secret that
was replaced signs for another day beside the new one. Secrets are sealed in the table; whoever only needs to know which
addresses there are cannot open them.

Keys of the accounts table: `WEBHOOKS#<partner>` the partner's addresses, by their ids, and under `-` how many they are.

    Conflict
    ├── TooMany            the partner has as many addresses as a partner can have
    ├── ChangedMeanwhile   it was changed at the same moment
    └── Disabled           nothing is sent to it now
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ordering import clock
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Delete, Item, Key, Put, Table, TransactionRefused, Update
from ordering.clock import Clock
from ordering.contexts import event_types
from ordering.errors import Conflict, Fault, Invalid, NotFound
from ordering.sealing import Sealer
from ordering.webhooks.addresses import read_address

KEPT = timedelta(hours=24)
"""How long a secret that was replaced still signs."""

WEBHOOKS_AT_MOST = 10
"""Addresses that a partner can have."""

_SECRET_BYTES = 32
_PREFIX = "whsec_"
_ID = re.compile("[0-9a-f]{16}")
_COUNT = "-"
"""Comes before all ids."""

_LAST = "\U0010ffff"


class TooMany(Conflict):
    """The partner has as many addresses as a partner can have."""

    def __init__(self) -> None:
        super().__init__(f"The partner has reached the limit of {WEBHOOKS_AT_MOST} webhooks.")


class ChangedMeanwhile(Conflict):
    """An address was changed by another request at the same time."""

    def __init__(self, webhook_id: str) -> None:
        """Name the address."""
        super().__init__(f"Webhook {webhook_id} was changed by another request at the same time.")


class Disabled(Conflict):
    """Nothing is sent to an address now."""

    def __init__(self, webhook_id: str) -> None:
        """Name the address."""
        super().__init__(f"Webhook {webhook_id} is disabled, so no events are sent to it.")


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

    def register(self, partner: str, url: str, types: Sequence[str] = ()) -> tuple[Webhook, str]:
        """Register an address, and return it with its secret, which is shown this once.

        Args:
            types: The types of events that it wants; all of them if there are none.

        Raises:
            Invalid: Nothing may be sent to such an address, or there is no such type.
            TooMany: The partner has as many addresses as a partner can have.
            Unavailable: The deadline passed. It may have been registered.
        """
        self._check(url, types)
        webhook_id = secrets.token_hex(8)
        key, text = self._new_secret(partner, webhook_id)
        webhook = Webhook(webhook_id, partner, url, frozenset(types), self._now(), (key,))
        room = "attribute_not_exists(pk) OR webhooks < :most"
        try:
            self._table.transact(
                [Put(_write(webhook), ABSENT), _count(partner, 1, room, {":most": WEBHOOKS_AT_MOST})],
            )
        except TransactionRefused as refusal:
            # An earlier try may have taken effect, with only its answer lost: nobody else draws that id.
            if refusal.reasons[0] is None:
                raise TooMany from refusal
        return webhook, text

    def all(self, partner: str) -> list[Webhook]:
        """Return all addresses of a partner."""
        partition, _ = _key(partner, "")
        return [_read(item) for item in self._table.query(partition, "0", _LAST)]

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
        self, partner: str, webhook_id: str, *, url: str | None = None, types: Sequence[str] | None = None
    ) -> Webhook:
        """Change an address; what is None stays.

        Of types that it did not want before, it gets what has happened to an order since it was registered, before the
        next that happens to that order and that it wants.

        Raises:
            Invalid: As `register`.
            NotFound: The partner has none of that id.
            ChangedMeanwhile: It was changed by another request at the same time.
        """
        self._check(url, types or ())
        webhook = self.get(partner, webhook_id)
        after = replace(
            webhook,
            url=webhook.url if url is None else url,
            types=webhook.types if types is None else frozenset(types),
        )
        return webhook if after == webhook else self._save(after)

    def replace_secret(self, partner: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give an address a new secret, and return both; the secret is shown this once.

        The one before it signs for another day, older ones no longer.

        Raises:
            NotFound: The partner has none of that id.
            ChangedMeanwhile: It was changed by another request at the same time.
        """
        webhook = self.get(partner, webhook_id)
        key, text = self._new_secret(partner, webhook_id)
        before = replace(webhook.secrets[0], until=self._now() + KEPT)
        return self._save(replace(webhook, secrets=(key, before))), text

    def disable(self, webhook: Webhook, why: str) -> Webhook:
        """Send nothing to an address any more.

        Raises:
            ChangedMeanwhile: It was changed since it was read.
        """
        return self._save(replace(webhook, disabled=why))

    def enable(self, partner: str, webhook_id: str) -> Webhook:
        """Let an address be sent to again; see `Deliverer.enable` for what it has missed.

        Raises:
            NotFound: The partner has none of that id.
            ChangedMeanwhile: It was changed by another request at the same time.
        """
        webhook = self.get(partner, webhook_id)
        return self._save(replace(webhook, disabled=None, epoch=webhook.epoch + 1)) if webhook.disabled else webhook

    def remove(self, partner: str, webhook_id: str) -> None:
        """Forget an address.

        Raises:
            NotFound: The partner has none of that id.
        """
        self.get(partner, webhook_id)
        with suppress(TransactionRefused):  # an earlier try has removed it, or somebody else
            self._table.transact([Delete(_key(partner, webhook_id), "attribute_exists(pk)"), _count(partner, -1)])

    def sign(self, webhook: Webhook, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers that say which message it is, when it is sent, and that it is from us.

        Raises:
            Unavailable: What opens the secrets does not answer.
        """
        good = [key for key in webhook.secrets if key.until is None or key.until > at]
        context = _context(webhook.partner, webhook.id)
        return signed([self._sealer.open(key.sealed, context) for key in good], message_id, at, body)

    def _check(self, url: str | None, types: Sequence[str]) -> None:
        faults = []
        try:
            if url is not None:
                read_address(url, anywhere=self._anywhere)
        except ValueError as error:
            faults.append(Fault("body", ("url",), "not_allowed", f"The URL {error}."))
        faults += [
            Fault("body", ("types", index), "unknown_type", f"Unknown event type '{one}'.")
            for index, one in enumerate(types)
            if one not in event_types()
        ]
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
                raise ChangedMeanwhile(webhook.id) from failure
        return after


def is_webhook_id(text: str) -> bool:
    """Tell whether a text can be the id of an address."""
    return _ID.fullmatch(text) is not None


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
    """Make what tells the webhooks of an order's partner that something happened to it, disabled ones too.

    Args:
        send: Gets a partner, a webhook of it, and an order's name.
    """

    def announce(partner: str, order: str, types: Mapping[str, datetime]) -> None:
        for webhook in webhooks.all(partner):
            if any(webhook.wants(one, at) for one, at in types.items()):
                send(partner, webhook.id, order)

    return announce


def _key(partner: str, webhook_id: str) -> Key:
    return f"WEBHOOKS#{partner}", webhook_id


def _count(partner: str, change: int, condition: str | None = None, values: Mapping[str, int] | None = None) -> Update:
    values = {":change": change, **(values or {})}
    return Update(_key(partner, _COUNT), "ADD webhooks :change", condition, values=values)


def _context(partner: str, webhook_id: str) -> bytes:
    """Bind what is sealed to its item, so that moved to another it does not open. Stored format."""
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
        types=frozenset(item.get("types", ())),
        since=clock.from_text(item["since"]),
        secrets=tuple(
            SealedSecret(key["sealed"], clock.from_text(until) if (until := key.get("until")) else None)
            for key in item["secrets"]
        ),
        disabled=item.get("disabled"),
        epoch=item.get("epoch", 1),
        version=item["version"],
    )
