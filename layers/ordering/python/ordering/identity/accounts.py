"""Partners, their grants, and the keys that sign their tokens.

Keys of the table: `PARTNER#<id>` the partner's record; `CONTACTS#<business unit>` its known contacts by e-mail address
in lower case; `SIGNING_KEYS` the public keys of token signers by key id; `SIGNER` the key that signs now; `RATE#<token
id>` how many requests came with a token, by second; `REVOKED#<partner>` a partner's revoked tokens by token id;
`TOKENS#<partner>` what operators issued to a partner, by token id and without the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ordering import clock, stored
from ordering.aws.dynamodb import (
    ABSENT,
    Check,
    ConditionFailed,
    Delete,
    Item,
    Key,
    Put,
    Table,
    TransactionRefused,
    Update,
)
from ordering.errors import Conflict
from ordering.principal import BusinessUnit, DealTerms, OrderSource, PaymentTerms, User
from ordering.sizes import LARGEST_ITEM, stored_bytes
from ordering.values import Value, asdict

_RECORD = "PARTNER"
_SIGNING_KEYS = "SIGNING_KEYS"
_SIGNER = ("SIGNER", "-")
_LAST = "\U0010ffff"
_COUNTS_KEPT = 60
_LARGEST_RECORD = LARGEST_ITEM - 1024
"""Most bytes of a partner's record, without its key."""

_CHANGED = "Partner {} was changed at the same time; try again."

_REVOKED_AFTER = 60
"""Seconds after its expiry for which a token stays revoked: more than clocks may be apart."""


class Partner(Value):
    """A partner's record."""

    id: str
    active: bool
    payment_terms: PaymentTerms
    grants: frozenset[str]
    order_source: OrderSource
    business_units: tuple[BusinessUnit, ...]
    users: Mapping[str, User]
    usage_key: str | None = None
    """The value of the API key by which API Gateway counts the partner's calls; None for one of an earlier release."""
    usage_tier: str | None = None
    """The tier whose usage plan the key is in."""
    deals: DealTerms | None = None
    """The partner's terms as a CRM account; None if it has no deal orders."""
    company: str | None = None
    """The company's name, as e-card orders show it; None if the partner orders no e-cards."""


class Standing(Value):
    """All that the table holds for and against a token."""

    partner: Partner | None
    """The partner of the token; None if it does not exist."""
    revoked: bool
    """Whether the token was revoked."""
    client_gone: bool = False
    """Whether the token was issued to a client that was removed, or that is another partner's."""
    ended: datetime | None = None
    """Tokens of the client that were issued before are refused; None if its tokens were never ended."""


class Contact(Value):
    """A person of a business unit."""

    forename: str
    surname: str


class SigningKeyRecord(Value):
    """A signing key's record, without its public part."""

    kms_id: str | None
    """Its id in KMS; None for the development key."""
    added: datetime
    signed_until: datetime | None
    """End of the time in which it signed; None if it never did, or still does."""
    tokens_until: datetime | None = None
    """When the last of the tokens expires that operators signed with it; None if there was none."""


class TokenRecord(Value):
    """A token that an operator issued, without the token."""

    id: str
    partner: str
    user: str
    key_id: str
    """The key that signed it."""
    issued: datetime
    expires: datetime
    business_units: tuple[str, ...] | None = None
    """The business units that it covers; None for all of the partner's."""
    reference: bool = False
    """Whether the partner got a reference token for it."""
    by: str = ""
    """The operator."""


class Accounts:
    """The accounts table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def partner(self, partner_id: str) -> Partner | None:
        """Read a partner's record; None if the partner does not exist."""
        item = self._table.get(partner_key(partner_id))
        return read_partner(item) if item else None

    def standing(self, partner_id: str, token_id: str, client_id: str | None) -> Standing:
        """Read what a decision about a token needs, in one call: 2 read units, 3 with a client.

        Args:
            client_id: The client that the token was issued to, if it was issued to one.
        """
        own_key, revoked_key = partner_key(partner_id), _revoked_key(partner_id, token_id)
        client_key = _client_key(client_id) if client_id else None
        found = self._table.batch_get([own_key, revoked_key, *([client_key] if client_key else [])])
        item, client = found.get(own_key), found.get(client_key, {}) if client_key else {}
        ended = client.get("tokensNotBefore")
        return Standing(
            partner=read_partner(item) if item else None,
            # Releases before REVOKED# items kept a set in the partner's record.
            revoked=revoked_key in found or (item is not None and token_id in item.get("revokedTokens", ())),
            client_gone=client_key is not None and client.get("partner") != partner_id,
            ended=_moment(ended),
        )

    def partners(self) -> Iterator[Partner]:
        """Yield all partners, in no order. For operators only: it reads the whole table."""
        return map(read_partner, self._table.scan("PARTNER#"))

    def save_partner(self, partner: Partner) -> None:
        """Write a partner's record, new or in place of the one before; its revoked tokens stay revoked.

        Every decision about a token reads the record: a read unit for each 4 KB of it.

        Raises:
            ValueError: The record would not fit one item, because of its business units and users.
        """
        # An update and no put: a put would drop the `revokedTokens` of older releases.
        self._table.update(_setting(partner.id, _write_partner(partner)))

    def add_partner(self, partner: Partner) -> None:
        """Write the record of a new partner.

        Raises:
            ConditionFailed: There is a partner of that id.
            ValueError: The record would not fit one item.
        """
        partition, sort = partner_key(partner.id)
        item = {"pk": partition, "sk": sort, **_kept(_write_partner(partner))}
        try:
            self._table.put(Put(item, ABSENT))
        except ConditionFailed as failed:
            if failed.item != item:  # else it was written by an attempt whose answer got lost
                raise

    def change_partner(self, before: Partner, after: Partner) -> None:
        """Write what differs between two states of a partner's record. It applies from the gateway's next decision on.

        Raises:
            Conflict: The record is not as it was before.
            ValueError: The record would not fit one item.
        """
        item = self._table.get(partner_key(before.id))
        if item is None or read_partner(item) != before:
            raise Conflict(_CHANGED.format(before.id))
        was = _write_partner(before)
        changed = {name: value for name, value in _write_partner(after).items() if value != was[name]}
        if not changed:
            return
        try:
            self._table.update(_setting(before.id, changed, {name: item.get(name) for name in changed}))
        except ConditionFailed as failed:
            if failed.item is None or read_partner(failed.item) != after:  # else an attempt whose answer got lost
                raise Conflict(_CHANGED.format(before.id)) from failed

    def set_active(self, partner_id: str, *, active: bool) -> None:
        """Switch a partner on or off. It applies from the gateway's next decision on.

        Raises:
            ConditionFailed: The partner does not exist.
        """
        values = {":active": active}
        self._table.update(
            Update(partner_key(partner_id), "SET active = :active", "attribute_exists(pk)", values=values)
        )

    def count_request(self, token_id: str, second: int) -> int:
        """Count a request made with a token in a second of Unix time; returns the count so far."""
        counted = self._table.update(
            Update(
                (f"RATE#{token_id}", str(second)),
                "ADD requests :one SET expires = :later",
                values={":one": 1, ":later": second + _COUNTS_KEPT},
            )
        )
        requests: int = counted["requests"]
        return requests

    def revoke(self, partner_id: str, token_id: str, expires: datetime) -> None:
        """Revoke a token. It is refused at the latest when the gateway's cached decision on it ends.

        Args:
            expires: When the token expires. The table may forget the revocation a minute later.
        """
        partition, sort = _revoked_key(partner_id, token_id)
        self._table.put(Put({"pk": partition, "sk": sort, "expires": int(expires.timestamp()) + _REVOKED_AFTER}))

    def revoked(self, partner_id: str) -> set[str]:
        """Read the ids of a partner's revoked tokens, until a minute after they expire."""
        return {item["sk"] for item in self._table.query(_revoked_key(partner_id, "")[0], " ", _LAST)}

    def save_token(self, token: TokenRecord) -> None:
        """Record a token that an operator issues, until it expires; the key that signs it stays until then too.

        Raises:
            LookupError: The key is not accepted.
            Conflict: The key's record was changed at the same time.
        """
        key = (_SIGNING_KEYS, token.key_id)
        before = self._table.get(key)
        if before is None or "jwk" not in before:
            raise LookupError(token.key_id)
        last, until = before.get("tokensUntil"), clock.to_text(token.expires)
        same, values = "attribute_not_exists(tokensUntil)", {}
        if last is not None:
            same, values = "tokensUntil = :last", {":last": last}
        condition = f"attribute_exists(jwk) AND {same}"
        kept: Update | Check = Check(key, condition, values=values)
        if last is None or last < until:
            kept = Update(key, "SET tokensUntil = :until", condition, values={**values, ":until": until})
        try:
            self._table.transact([Put(_write_token(token)), kept])
        except TransactionRefused as refusal:
            raise Conflict("The record of the signing key was changed at the same time.") from refusal

    def tokens(self, partner_id: str) -> list[TokenRecord]:
        """Read the records of the tokens that operators issued to a partner, oldest first."""
        found = map(_read_token, self._table.query(f"TOKENS#{partner_id}", " ", _LAST))
        return sorted(found, key=lambda one: one.issued)

    def unit_name(self, partner_id: str, unit: str) -> str | None:
        """Read the name of a partner's business unit; None if the partner does not have it."""
        partner = self.partner(partner_id)
        units = partner.business_units if partner else ()
        return next((one.name for one in units if one.id == unit), None)

    def contact(self, unit: str, email: str) -> Contact | None:
        """Look up a contact of a business unit by e-mail address; the case does not matter."""
        item = self._table.get((f"CONTACTS#{unit}", email.lower()))
        return Contact(item["forename"], item["surname"]) if item else None

    def contacts(self, unit: str) -> Iterator[tuple[str, Contact]]:
        """Yield the contacts of a business unit with their e-mail addresses, in the order of these."""
        for item in self._table.query(f"CONTACTS#{unit}", " ", _LAST):
            yield item["sk"], Contact(item["forename"], item["surname"])

    def save_contact(self, unit: str, email: str, contact: Contact) -> None:
        """Write a contact of a business unit."""
        self._table.put(_write_contact(unit, email, contact))

    def save_contacts(self, contacts: Sequence[tuple[str, str, Contact]]) -> None:
        """Write up to 99 contacts, all or none.

        Args:
            contacts: A business unit, an e-mail address and a contact each; each address once in a unit.
        """
        self._table.transact([_write_contact(*one) for one in contacts])

    def signing_keys(self) -> dict[str, dict[str, Any]]:
        """Read the public keys (JWK, RFC 7517) whose signatures are accepted, by key id; several during a rotation."""
        # An item without a key, which an older release could leave behind a retired one, must not stop all callers.
        return {item["sk"]: item["jwk"] for item in self._table.query(_SIGNING_KEYS, " ", _LAST) if "jwk" in item}

    def signer(self) -> tuple[str, str] | None:
        """Return the key that signs now, as its id and its id in KMS; None if there is none."""
        item = self._table.get(_SIGNER)
        return (item["keyId"], item["kmsId"]) if item else None

    def set_signer(self, key_id: str, kms_id: str) -> None:
        """Let a key sign. Warm processes use it once they read the signer again.

        Raises:
            LookupError: The key is not accepted, so that no token that it signs would be.
        """
        partition, sort = _SIGNER
        try:
            self._table.transact(
                [
                    Check((_SIGNING_KEYS, key_id), "attribute_exists(jwk)"),
                    Put({"pk": partition, "sk": sort, "keyId": key_id, "kmsId": kms_id}),
                ]
            )
        except TransactionRefused as refusal:
            raise LookupError(key_id) from refusal

    def retire_signing_key(self, key_id: str) -> None:
        """Stop accepting and publishing a signing key, whether it was accepted or not.

        Raises:
            Conflict: The key signs now.
        """
        signs_not = Check(_SIGNER, "attribute_not_exists(keyId) OR keyId <> :key", values={":key": key_id})
        try:
            self._table.transact([Delete((_SIGNING_KEYS, key_id)), signs_not])
        except TransactionRefused as refusal:
            raise Conflict(f"{key_id} is the signing key.") from refusal

    def signing_key_records(self) -> dict[str, SigningKeyRecord]:
        """Read the records of all signing keys, by key id."""
        return {
            item["sk"]: SigningKeyRecord(
                kms_id=item.get("kmsId"),
                added=clock.from_text(item["added"]),
                signed_until=_moment(item.get("signedUntil")),
                tokens_until=_moment(item.get("tokensUntil")),
            )
            for item in self._table.query(_SIGNING_KEYS, " ", _LAST)
            if "jwk" in item
        }

    def save_signing_key(
        self, key_id: str, jwk: Mapping[str, Any], *, kms_id: str | None = None, added: datetime | None = None
    ) -> None:
        """Accept and publish a signing key; `jwk` must hold its public part only."""
        since = clock.to_text(added or clock.system_clock())
        item: dict[str, Any] = {"pk": _SIGNING_KEYS, "sk": key_id, "jwk": dict(jwk), "added": since}
        if kms_id:
            item["kmsId"] = kms_id
        self._table.put(Put(item))

    def note_last_signature(self, key_id: str, at: datetime) -> None:
        """Record the end of the time in which a key signed; a key that was retired stays retired."""
        values = {":until": clock.to_text(at)}
        with suppress(ConditionFailed):
            self._table.update(
                Update((_SIGNING_KEYS, key_id), "SET signedUntil = :until", "attribute_exists(jwk)", values=values)
            )


def partner_key(partner_id: str) -> Key:
    """Return the key of a partner's record, for a caller that reads it together with other items."""
    return f"PARTNER#{partner_id}", _RECORD


def _revoked_key(partner_id: str, token_id: str) -> Key:
    return f"REVOKED#{partner_id}", token_id


def _client_key(client_id: str) -> Key:
    """Return the key of a client's record, which `identity.clients` writes."""
    return f"CLIENT#{client_id}", "CLIENT"


def read_partner(item: Item) -> Partner:
    """Convert the item of a partner's record."""
    return Partner(
        id=item["pk"].removeprefix("PARTNER#"),
        active=item["active"],
        payment_terms=item["paymentTerms"],
        grants=frozenset(item["grants"]),
        order_source=stored.read(OrderSource, item["orderSource"]),
        business_units=tuple(stored.read(BusinessUnit, unit) for unit in item["businessUnits"]),
        users={user["id"]: stored.read(User, user) for user in item["users"]},
        usage_key=item.get("usageKey"),
        usage_tier=item.get("usageTier"),
        deals=_read_deal_terms(item.get("deals")),
        company=item.get("company"),
    )


def _read_deal_terms(item: Item | None) -> DealTerms | None:
    return DealTerms(item["plan"], item.get("changesDisabled", False)) if item else None


def _write_deal_terms(terms: DealTerms) -> Item:
    return {"plan": terms.plan, "changesDisabled": terms.changes_disabled}


def _write_partner(partner: Partner) -> dict[str, Any]:
    """Return the attributes of a partner's record; None for one that it does not have.

    Raises:
        ValueError: The record would not fit one item.
    """
    values: dict[str, Any] = {
        "active": partner.active,
        "paymentTerms": partner.payment_terms,
        "grants": sorted(partner.grants),
        "orderSource": asdict(partner.order_source),
        "businessUnits": [asdict(unit) for unit in partner.business_units],
        "users": [asdict(user) for user in partner.users.values()],
        "usageKey": partner.usage_key,
        "usageTier": partner.usage_tier,
        "deals": _write_deal_terms(partner.deals) if partner.deals else None,
        "company": partner.company,
    }
    if (size := stored_bytes(_kept(values))) > _LARGEST_RECORD:
        raise ValueError(f"the partner's record has {size:,} bytes; at most {_LARGEST_RECORD:,} fit one item")
    return values


def _setting(partner_id: str, values: Mapping[str, Any], expected: Mapping[str, Any] | None = None) -> Update:
    """Set attributes of a partner's record, or remove those that are None, if they are as expected."""
    kept, absent = _kept(values), sorted(name for name, value in values.items() if value is None)
    clauses = []
    if kept:
        clauses.append("SET " + ", ".join(f"#{name} = :{name}" for name in kept))
    if absent:
        clauses.append("REMOVE " + ", ".join(f"#{name}" for name in absent))
    condition, was = None, _kept(expected or {})
    if expected is not None:
        same = (f"#{one} = :was_{one}" if one in was else f"attribute_not_exists(#{one})" for one in expected)
        condition = " AND ".join(["attribute_exists(pk)", *same])
    return Update(
        partner_key(partner_id),
        " ".join(clauses),
        condition,
        names={f"#{name}": name for name in values},
        values={f":{name}": value for name, value in kept.items()} | {f":was_{name}": was[name] for name in was},
    )


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _write_contact(unit: str, email: str, contact: Contact) -> Put:
    return Put({"pk": f"CONTACTS#{unit}", "sk": email.lower(), **asdict(contact)})


def _write_token(token: TokenRecord) -> Item:
    item: Item = {
        "pk": f"TOKENS#{token.partner}",
        "sk": token.id,
        "user": token.user,
        "keyId": token.key_id,
        "issued": clock.to_text(token.issued),
        "until": clock.to_text(token.expires),
        "reference": token.reference,
        "by": token.by,
        "expires": int(token.expires.timestamp()),
    }
    return item if token.business_units is None else {**item, "businessUnits": list(token.business_units)}


def _read_token(item: Item) -> TokenRecord:
    return TokenRecord(
        id=item["sk"],
        partner=item["pk"].removeprefix("TOKENS#"),
        user=item["user"],
        key_id=item["keyId"],
        issued=clock.from_text(item["issued"]),
        expires=clock.from_text(item["until"]),
        business_units=tuple(item["businessUnits"]) if "businessUnits" in item else None,
        reference=item["reference"],
        by=item["by"],
    )


def _moment(text: str | None) -> datetime | None:
    return clock.from_text(text) if text else None
