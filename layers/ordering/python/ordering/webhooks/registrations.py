"""Webhooks: the endpoints that partners register to receive events of their orders, and the secrets that sign messages.

Messages are signed with symmetric signatures of Standard Webhooks (https://www.standardwebhooks.com). For a day after a
secret is replaced, the old one signs beside the new one. Secrets are sealed in the table, so a function that only reads
the list of webhooks cannot open them.

Keys of the accounts table: `WEBHOOKS#<partner>` the partner's webhooks by their ids, under `-` their number, and under
`-HEALTH#<webhook>` what the delivery notes about a webhook (`health`); `ONCE#<partner>#…` the idempotency records (see
`book.idempotency`), whose responses are sealed.

    Conflict
    ├── TooMany            the partner has reached the limit of webhooks
    ├── ChangedMeanwhile   another request changed the webhook at the same time
    └── Disabled           the webhook is disabled
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from ordering import clock, stored
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Delete, Item, Key, Put, Table, TransactionRefused, Update
from ordering.book.idempotency import CreateResult, IdempotencyKey, IdempotencyRecords, replay
from ordering.clock import Clock
from ordering.contexts import event_types, may_see
from ordering.errors import Conflict, Fault, Invalid, NotFound, OrderingError, VersionMismatch
from ordering.identity.accounts import Partner, partner_key, read_partner
from ordering.sealing import Sealer
from ordering.values import Value, asdict, replace
from ordering.webhooks.addresses import read_address
from ordering.webhooks.health import Health, health_key, read_health

SECRET_OVERLAP = timedelta(hours=24)
"""How long a replaced secret still signs."""

WEBHOOKS_AT_MOST = 10
"""Most webhooks of a partner."""

KIND = "webhook"
REPLACEMENT_KIND = "webhook-secret"
"""The kinds of resources in idempotency records. Stored format."""

RESPONSES = "idempotent-response"
"""The purpose of the data keys that seal stored responses. Stored format, and a condition in the template."""

REGISTERED, URL_CHANGED, SECRET_REPLACED = "registered", "URL changed", "secret replaced"
"""The acts that `Webhook.traces` finds."""

_SECRET_BYTES = 32
_PREFIX = "whsec_"
_ID = re.compile("[0-9a-f]{16}")
_COUNT = "-"
"""The key of the item that counts a partner's webhooks. It sorts before all ids."""

_LAST = "\U0010ffff"

_WEBHOOK = "webhook"
_NO_VERSION = 0
"""A version that no webhook has."""


class TooMany(Conflict):
    """The partner has reached the limit of webhooks."""

    def __init__(self) -> None:
        super().__init__(f"The partner has reached the limit of {WEBHOOKS_AT_MOST} webhooks.")


class ChangedMeanwhile(Conflict):
    """Another request changed the webhook at the same time."""

    def __init__(self, webhook_id: str) -> None:
        """Name the webhook."""
        super().__init__(f"Webhook {webhook_id} was changed by another request at the same time.")


class Disabled(Conflict):
    """The webhook is disabled, so no events are sent to it."""

    def __init__(self, webhook_id: str) -> None:
        """Name the webhook."""
        super().__init__(f"Webhook {webhook_id} is disabled, so no events are sent to it.")


class SealedSecret(Value):
    """A secret as it is stored, and the end of the time in which it signs; None for the current secret."""

    unprinted: ClassVar = frozenset({"sealed"})

    sealed: bytes
    until: datetime | None = None


class Author(Value):
    """A user, and the id (`jti`) of the token that the user's request had."""

    user: str
    token: str


class Edit(Value):
    """Who changes a webhook, and which versions of it may be changed. By default support does, and any may be."""

    by: Author | None = None
    expected: Collection[str] | None = None


_BY_SUPPORT = Edit()


class Webhook(Value):
    """A partner's registered endpoint."""

    unprinted: ClassVar = frozenset({"url"})

    id: str
    partner: str
    url: str
    types: frozenset[str]
    """The types of events that it receives; all types if empty."""
    since: datetime
    """The time of its registration. Earlier events are not sent."""
    secrets: tuple[SealedSecret, ...]
    disabled: str | None = None
    """The reason why it is disabled; None if it is enabled."""
    epoch: int = 1
    """Rises whenever it is enabled again; retries of an earlier epoch are dropped."""
    version: int = 1
    """Rises with each change; it is the `ETag`."""
    by: Author | None = None
    """Registered it; None if an operator did, or a release that did not note it."""
    url_by: Author | None = None
    """Set its present URL; None if the registration did, or a change that a release did not note."""
    secret_by: Author | None = None
    """Replaced its secret; None if it was not replaced, or by an operator, or by a release that did not note it."""

    def traces(self, token_id: str) -> Sequence[str]:
        """Return what was done with a token and is still in effect."""
        acts = {REGISTERED: self.by, URL_CHANGED: self.url_by, SECRET_REPLACED: self.secret_by}
        return [act for act, by in acts.items() if by and by.token == token_id]

    def receives(self, event_type: str, at: datetime) -> bool:
        """Return whether it receives an event of this type and time."""
        return at >= self.since and (not self.types or event_type in self.types)


class Recipient(Value):
    """What a delivery needs to know: the webhook, its partner, and its health, as they were read together."""

    webhook: Webhook
    partner: Partner | None
    health: Health

    def may_receive(self, order: str) -> bool:
        """Return whether events of an order may leave us: the partner is active, and the order's contract admits it."""
        return self.partner is not None and may_see(self.partner, order)


class Webhooks:
    """The webhooks in the accounts table."""

    def __init__(
        self,
        table: Table,
        sealer: Sealer,
        *,
        responses: Sealer | None = None,
        anywhere: bool = False,
        now: Clock = clock.system_clock,
    ) -> None:
        """Set up the access to the table.

        Args:
            sealer: Seals and opens secrets.
            responses: Seals and opens stored responses, which contain secrets; by default `sealer`.
            anywhere: Whether URLs may lead to private addresses, to any port and without TLS: for a local run.
        """
        self._table = table
        self._sealer = sealer
        self._responses = responses or sealer
        self._anywhere = anywhere
        self._now = now

    def register(
        self, partner: str, url: str, types: Sequence[str] = (), by: Author | None = None
    ) -> tuple[Webhook, str]:
        """Register an endpoint; returns the webhook and its secret, which cannot be read again.

        Args:
            types: The types of events that it receives; all types if empty.

        Raises:
            Invalid: The URL is not allowed, or an event type does not exist.
            TooMany: The partner has reached the limit of webhooks.
            Unavailable: The deadline passed. It may have been registered.
        """
        webhook, text = self._new(partner, url, types, by)
        self._insert(webhook)
        return webhook, text

    def create(  # noqa: PLR0913 - what a registration needs, and what its retry needs
        self,
        partner: str,
        url: str,
        types: Sequence[str],
        show: Callable[[Webhook, str], bytes],
        once: IdempotencyKey,
        *,
        by: Author | None = None,
    ) -> CreateResult:
        """Register an endpoint; a retry with the same idempotency key gets the first response, its secret included.

        The response is sealed in the key's record, which the registration's own transaction writes.

        Args:
            show: Writes the response, from the webhook and its secret.

        Raises:
            As `register`; after `Unavailable`, the same call with the same key is safe.
            KeyReused: The key was used for another request.
        """
        records = IdempotencyRecords(self._table, partner, self._now, KIND)
        webhook, text = self._new(partner, url, types, by)
        result = CreateResult(webhook.version, show(webhook, text), replayed=False)
        return self._result(records, once, result, self._insert(webhook, self._record(records, once, result)))

    def _record(self, records: IdempotencyRecords, once: IdempotencyKey, result: CreateResult) -> Put:
        sealed = self._responses.seal(result.answer, _response_context(records, once))
        return records.put(once, result.resource_id, sealed)

    def _result(
        self, records: IdempotencyRecords, once: IdempotencyKey, result: CreateResult, earlier: Item | None
    ) -> CreateResult:
        """Return the result, or the one in the record that an earlier request wrote.

        In place of a number of the resource, results have the webhook's version; 0 in records of earlier releases.
        """
        if earlier is None:
            return result
        found = replay(earlier, once)
        return replace(found, answer=self._responses.open(found.answer, _response_context(records, once)))

    def _new(self, partner: str, url: str, types: Sequence[str], by: Author | None) -> tuple[Webhook, str]:
        self._check(url, types)
        webhook_id = secrets.token_hex(8)
        key, text = self._new_secret(partner, webhook_id)
        return Webhook(webhook_id, partner, url, frozenset(types), self._now(), (key,), by=by), text

    def _insert(self, webhook: Webhook, *records: Put) -> Item | None:
        """Write a new webhook with an idempotency record; returns the record that an earlier request wrote.

        Raises:
            TooMany: The partner has reached the limit of webhooks.
        """
        room = "attribute_not_exists(pk) OR webhooks < :most"
        count = _count(webhook.partner, 1, room, {":most": WEBHOOKS_AT_MOST})
        try:
            self._table.transact([Put(_write(webhook), ABSENT), count, *records])
        except TransactionRefused as refusal:
            # If the webhook exists, an earlier attempt took effect and only its response was lost: ids are random.
            own, _, *others = refusal.reasons
            if own is None:
                for other in others:
                    if other and other.item:
                        return other.item
                raise TooMany from refusal
        return None

    def all(self, partner: str) -> list[Webhook]:
        """Read all webhooks of a partner, in the order of their ids."""
        partition, _ = _key(partner, "")
        return [_read(item) for item in self._table.query(partition, "0", _LAST)]

    def find(self, partner: str, webhook_id: str) -> Webhook | None:
        """Read a webhook; None if the partner has no webhook with this id."""
        item = self._table.get(_key(partner, webhook_id))
        return _read(item) if item else None

    def recipient(self, partner: str, webhook_id: str) -> Recipient | None:
        """Read a webhook with its partner and its health, in one call: 3 read units with records of up to 4 KB.

        Returns None if the partner has no webhook with this id.
        """
        keys = _key(partner, webhook_id), partner_key(partner), health_key(partner, webhook_id)
        found = self._table.batch_get(keys)
        webhook, owner, health = (found.get(key) for key in keys)
        if webhook is None:
            return None
        return Recipient(_read(webhook), read_partner(owner) if owner else None, read_health(health))

    def all_with_health(self, partner: str) -> list[tuple[Webhook, Health]]:
        """Read all webhooks of a partner, each with its health, in one query, in the order of their ids."""
        partition, first = health_key(partner, "")
        items = {item["sk"]: item for item in self._table.query(partition, first, _LAST)}
        return [
            (_read(item), read_health(items.get(health_key(partner, sort)[1])))
            for sort, item in items.items()
            if not sort.startswith(first)
        ]

    def get_with_health(self, partner: str, webhook_id: str) -> tuple[Webhook, Health]:
        """Read a webhook and its health, in one call.

        Raises:
            NotFound: The partner has no webhook with this id.
        """
        keys = _key(partner, webhook_id), health_key(partner, webhook_id)
        webhook, health = map(self._table.batch_get(keys).get, keys)
        if webhook is None:
            raise NotFound("webhook", webhook_id)
        return _read(webhook), read_health(health)

    def get(self, partner: str, webhook_id: str) -> Webhook:
        """Read a webhook.

        Raises:
            NotFound: The partner has no webhook with this id.
        """
        webhook = self.find(partner, webhook_id)
        if webhook is None:
            raise NotFound(_WEBHOOK, webhook_id)
        return webhook

    def change(
        self,
        partner: str,
        webhook_id: str,
        edit: Edit = _BY_SUPPORT,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
    ) -> Webhook:
        """Change a webhook's URL or types; None leaves them as they are.

        For types that are added, the webhook also receives an order's earlier events, from its registration on. They
        are sent before the next event of that order that it receives.

        Args:
            edit: Its author is noted if the URL changes.

        Raises:
            Invalid: The URL is not allowed, or an event type does not exist.
            NotFound: The partner has no webhook with this id.
            VersionMismatch: It has another version, also if another request changed it at the same time.
            ChangedMeanwhile: Another request changed it at the same time, and any version was expected.
        """
        self._check(url, types or ())
        webhook = self._get_at(partner, webhook_id, edit.expected)
        after = replace(webhook, types=webhook.types if types is None else frozenset(types))
        if url is not None and url != webhook.url:
            after = replace(after, url=url, url_by=edit.by)
        return webhook if after == webhook else self._save(after, edit.expected)

    def replace_secret(self, partner: str, webhook_id: str, edit: Edit = _BY_SUPPORT) -> tuple[Webhook, str]:
        """Give a webhook a new secret; returns the webhook and the secret, which cannot be read again.

        The previous secret still signs for `SECRET_OVERLAP`; older secrets stop signing at once.

        Args:
            edit: Its author is noted with the secret.

        Raises:
            NotFound: The partner has no webhook with this id.
            VersionMismatch: It has another version, also if another request changed it at the same time.
            ChangedMeanwhile: Another request changed it at the same time, and any version was expected.
        """
        webhook, text = self._with_new_secret(self._get_at(partner, webhook_id, edit.expected), edit.by)
        return self._save(webhook, edit.expected), text

    def replace_secret_once(
        self,
        partner: str,
        webhook_id: str,
        edit: Edit,
        show: Callable[[Webhook, str], bytes],
        once: IdempotencyKey,
    ) -> CreateResult:
        """Give a webhook a new secret; a retry with the same idempotency key gets the first response with that secret.

        Without a key, a retry replaces the secret again, and the one that receivers know stops signing at once. A retry
        with the key gets that response whatever version it expects.

        Args:
            show: Writes the response, from the webhook and its new secret.

        Raises:
            As `replace_secret`; after `Unavailable`, the same call with the same key is safe.
            KeyReused: The key was used for another request.
        """
        records = IdempotencyRecords(self._table, partner, self._now, REPLACEMENT_KIND)
        webhook, text = self._with_new_secret(self.get(partner, webhook_id), edit.by)
        result = CreateResult(webhook.version + 1, show(webhook, text), replayed=False)
        earlier = self._save_with(webhook, self._record(records, once, result), edit.expected)
        return self._result(records, once, result, earlier)

    def _with_new_secret(self, webhook: Webhook, by: Author | None) -> tuple[Webhook, str]:
        key, text = self._new_secret(webhook.partner, webhook.id)
        before = replace(webhook.secrets[0], until=self._now() + SECRET_OVERLAP)
        return replace(webhook, secrets=(key, before), secret_by=by), text

    def disable(self, webhook: Webhook, why: str) -> Webhook:
        """Stop sending events to a webhook, for a reason that partners read.

        Raises:
            ChangedMeanwhile: It was changed since it was read.
        """
        return self._save(replace(webhook, disabled=why))

    def enable(self, partner: str, webhook_id: str, expected: Collection[str] | None = None) -> Webhook:
        """Enable a disabled webhook, without sending the events that it missed; see `Deliverer.enable`.

        Args:
            expected: The versions that may be enabled; None for any.

        Raises:
            NotFound: The partner has no webhook with this id.
            VersionMismatch: It has another version, also if another request changed it at the same time.
            ChangedMeanwhile: Another request changed it at the same time, and any version was expected.
        """
        webhook = self._get_at(partner, webhook_id, expected)
        if not webhook.disabled:
            return webhook
        return self._save(replace(webhook, disabled=None, epoch=webhook.epoch + 1), expected)

    def remove(self, partner: str, webhook_id: str, expected: Collection[str] | None = None) -> None:
        """Remove a webhook.

        Args:
            expected: The versions that may be removed; None for any.

        Raises:
            NotFound: The partner has no webhook with this id.
            VersionMismatch: It has another version, also if another request changed it at the same time.
        """
        webhook = self._get_at(partner, webhook_id, expected)
        condition, values = "attribute_exists(pk)", {}
        if expected is not None:
            condition, values = "version = :read", {":read": webhook.version}
        try:
            self._table.transact([Delete(_key(partner, webhook_id), condition, values=values), _count(partner, -1)])
        except TransactionRefused as refusal:
            if refusal.reasons[0] and refusal.reasons[0].item:
                raise VersionMismatch(_WEBHOOK, webhook_id) from refusal
            # An earlier attempt or another request has removed it.

    def _get_at(self, partner: str, webhook_id: str, expected: Collection[str] | None) -> Webhook:
        webhook = self.get(partner, webhook_id)
        if expected is not None and str(webhook.version) not in expected:
            raise VersionMismatch(_WEBHOOK, webhook_id)
        return webhook

    def sign(self, webhook: Webhook, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers of a message: its id, the time, and a signature by each secret that signs at that time.

        Raises:
            Unavailable: The service that opens the secrets did not respond.
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

    def _save(self, webhook: Webhook, expected: Collection[str] | None = None) -> Webhook:
        """Save a changed webhook if it still has the version that was read.

        Args:
            expected: The versions that the caller has accepted; None for any. Then it is not a conflict if another
                request made the same change.
        """
        after = replace(webhook, version=webhook.version + 1)
        write = _replacement(after, webhook.version)
        try:
            self._table.put(write)
        except ConditionFailed as failure:
            same = failure.item and _read(failure.item) == after and expected is None
            if not (same or _wrote(write, failure.item)):
                raise _overtaken(webhook.id, expected) from failure
        return after

    def _save_with(self, webhook: Webhook, record: Put, expected: Collection[str] | None) -> Item | None:
        """Save a webhook with an idempotency record; returns the record that an earlier request wrote.

        Whether it has an expected version is decided by the write, and not before: a retry finds its record there.
        """
        read = webhook.version if expected is None or str(webhook.version) in expected else _NO_VERSION
        write = _replacement(replace(webhook, version=webhook.version + 1), read)
        try:
            self._table.transact([write, record])
        except TransactionRefused as refusal:
            own, other = refusal.reasons
            if own and _wrote(write, own.item):
                return None
            if other and other.item:
                return other.item
            raise _overtaken(webhook.id, expected) from refusal
        return None


def is_webhook_id(text: str) -> bool:
    """Return whether a text has the form of a webhook's id."""
    return _ID.fullmatch(text) is not None


def secret_text(secret: bytes) -> str:
    """Return a secret in the form that receivers store: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def signed(keys: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a message, signed with several secrets: a receiver needs to know one of them."""
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
    """Return a function that signals an order's events to all webhooks of its partner that receive them.

    Disabled webhooks are included, so that the delivery records what they miss. A partner's webhooks are read once.

    Args:
        send: Called with a partner, the id of a webhook, and an order's name.
    """
    registered: dict[str, Sequence[Webhook]] = {}

    def announce(partner: str, order: str, types: Mapping[str, datetime]) -> None:
        if partner not in registered:
            registered[partner] = webhooks.all(partner)
        for webhook in registered[partner]:
            if any(webhook.receives(one, at) for one, at in types.items()):
                send(partner, webhook.id, order)

    return announce


def _key(partner: str, webhook_id: str) -> Key:
    return f"WEBHOOKS#{partner}", webhook_id


def _count(partner: str, change: int, condition: str | None = None, values: Mapping[str, int] | None = None) -> Update:
    values = {":change": change, **(values or {})}
    return Update(_key(partner, _COUNT), "ADD webhooks :change", condition, values=values)


def _replacement(webhook: Webhook, version: int) -> Put:
    """Return the write that replaces a version of a webhook. It names its writer, which its retry looks for."""
    return Put({**_write(webhook), "writer": secrets.token_hex(8)}, "version = :read", values={":read": version})


def _wrote(write: Put, found: Item | None) -> bool:
    """Return whether an item was written by an earlier attempt of the same write; only its response was lost."""
    return found is not None and found.get("writer") == write.item["writer"]


def _overtaken(webhook_id: str, expected: Collection[str] | None) -> OrderingError:
    return ChangedMeanwhile(webhook_id) if expected is None else VersionMismatch(_WEBHOOK, webhook_id)


def _context(partner: str, webhook_id: str) -> bytes:
    """Return the context that binds a sealed secret to its item: copied to another item, it does not open.

    Stored format.
    """
    return "/".join(_key(partner, webhook_id)).encode()


def _response_context(records: IdempotencyRecords, once: IdempotencyKey) -> bytes:
    """Return the context that binds a sealed response to its record. Stored format."""
    return "/".join(records.key(once)).encode()


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
        "createdBy": asdict(webhook.by) if webhook.by else None,
        "urlBy": asdict(webhook.url_by) if webhook.url_by else None,
        "secretBy": asdict(webhook.secret_by) if webhook.secret_by else None,
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
        by=_read_author(item.get("createdBy")),
        url_by=_read_author(item.get("urlBy")),
        secret_by=_read_author(item.get("secretBy")),
    )


def _read_author(item: Item | None) -> Author | None:
    return stored.read(Author, item) if item else None
