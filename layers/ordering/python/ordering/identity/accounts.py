"""Partners, their grants, and the keys that sign their tokens.

Keys of the table: `PARTNER#<id>` the partner's record; `CONTACTS#<business unit>` its known contacts by e-mail address
in lower case; `SIGNING_KEYS` the public keys of token signers by key id; `SIGNER` the key that signs now; `RATE#<token
id>` how many requests came with a token, by second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ordering import clock, stored
from ordering.aws.dynamodb import Item, Put, Table, Update
from ordering.principal import BusinessUnit, DealTerms, OrderSource, PaymentTerms, User

_RECORD = "PARTNER"
_SIGNING_KEYS = "SIGNING_KEYS"
_SIGNER = ("SIGNER", "-")
_LAST = "\U0010ffff"
_COUNTS_KEPT = 60


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner's record: everything an authorizer's decision needs, in one read."""

    id: str
    active: bool
    payment_terms: PaymentTerms
    grants: frozenset[str]
    order_source: OrderSource
    business_units: tuple[BusinessUnit, ...]
    users: Mapping[str, User]
    revoked_tokens: frozenset[str] = frozenset()
    usage_key: str | None = None
    """The key of the partner's usage plan in API Gateway."""
    deals: DealTerms | None = None
    """The partner's terms as a CRM account; None if it has no deal orders."""
    company: str | None = None
    """The company's name, as e-card orders show it; None if the partner orders no e-cards."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person of a business unit."""

    forename: str
    surname: str


@dataclass(frozen=True, slots=True)
class SigningKeyRecord:
    """A signing key's record, without its public part."""

    kms_id: str | None
    """Its id in KMS; None for the development key."""
    added: datetime
    signed_until: datetime | None
    """End of the time in which it signed; None if it never did, or still does."""


class Accounts:
    """The accounts table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def partner(self, partner_id: str) -> Partner | None:
        """Read a partner's record; None if the partner does not exist."""
        item = self._table.get((f"PARTNER#{partner_id}", _RECORD))
        if item is None:
            return None
        return Partner(
            id=partner_id,
            active=item["active"],
            payment_terms=item["paymentTerms"],
            grants=frozenset(item["grants"]),
            order_source=stored.read(OrderSource, item["orderSource"]),
            business_units=tuple(stored.read(BusinessUnit, unit) for unit in item["businessUnits"]),
            users={user["id"]: stored.read(User, user) for user in item["users"]},
            revoked_tokens=frozenset(item.get("revokedTokens", ())),
            usage_key=item.get("usageKey"),
            deals=_read_deal_terms(item.get("deals")),
            company=item.get("company"),
        )

    def save_partner(self, partner: Partner) -> None:
        """Write a partner's record whole."""
        item: dict[str, Any] = {
            "pk": f"PARTNER#{partner.id}",
            "sk": _RECORD,
            "active": partner.active,
            "paymentTerms": partner.payment_terms,
            "grants": sorted(partner.grants),
            "orderSource": asdict(partner.order_source),
            "businessUnits": [asdict(unit) for unit in partner.business_units],
            "users": [asdict(user) for user in partner.users.values()],
        }
        if partner.revoked_tokens:
            item["revokedTokens"] = set(partner.revoked_tokens)
        if partner.usage_key:
            item["usageKey"] = partner.usage_key
        if partner.deals:
            item["deals"] = _write_deal_terms(partner.deals)
        if partner.company:
            item["company"] = partner.company
        self._table.put(Put(item))

    def set_deal_terms(self, partner_id: str, terms: DealTerms) -> None:
        """Change a partner's terms as a CRM account. They apply from the gateway's next decision on.

        Raises:
            ConditionFailed: The partner does not exist.
        """
        values = {":terms": _write_deal_terms(terms)}
        self._table.update(
            Update((f"PARTNER#{partner_id}", _RECORD), "SET deals = :terms", "attribute_exists(pk)", values=values)
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

    def revoke(self, partner_id: str, token_id: str) -> None:
        """Revoke a token. It is refused at the latest when the gateway's cached decision on it ends."""
        self._table.update(
            Update((f"PARTNER#{partner_id}", _RECORD), "ADD revokedTokens :tokens", values={":tokens": {token_id}})
        )

    def contact(self, unit: str, email: str) -> Contact | None:
        """Look up a contact of a business unit by e-mail address; the case does not matter."""
        item = self._table.get((f"CONTACTS#{unit}", email.lower()))
        return Contact(item["forename"], item["surname"]) if item else None

    def save_contact(self, unit: str, email: str, contact: Contact) -> None:
        """Write a contact of a business unit."""
        self._table.put(Put({"pk": f"CONTACTS#{unit}", "sk": email.lower(), **asdict(contact)}))

    def signing_keys(self) -> dict[str, dict[str, Any]]:
        """Read the public keys (JWK, RFC 7517) whose signatures are accepted, by key id; several during a rotation."""
        return {item["sk"]: item["jwk"] for item in self._table.query(_SIGNING_KEYS, " ", _LAST)}

    def signer(self) -> tuple[str, str] | None:
        """Return the key that signs now, as its id and its id in KMS; None if there is none."""
        item = self._table.get(_SIGNER)
        return (item["keyId"], item["kmsId"]) if item else None

    def set_signer(self, key_id: str, kms_id: str) -> None:
        """Let a key sign. Warm processes use it once they read the signer again."""
        partition, sort = _SIGNER
        self._table.put(Put({"pk": partition, "sk": sort, "keyId": key_id, "kmsId": kms_id}))

    def retire_signing_key(self, key_id: str) -> None:
        """Stop accepting and publishing a signing key."""
        self._table.delete_all([(_SIGNING_KEYS, key_id)])

    def signing_key_records(self) -> dict[str, SigningKeyRecord]:
        """Read the records of all signing keys, by key id."""
        return {
            item["sk"]: SigningKeyRecord(
                kms_id=item.get("kmsId"),
                added=clock.from_text(item["added"]),
                signed_until=clock.from_text(item["signedUntil"]) if "signedUntil" in item else None,
            )
            for item in self._table.query(_SIGNING_KEYS, " ", _LAST)
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
        """Record the end of the time in which a key signed."""
        values = {":until": clock.to_text(at)}
        self._table.update(Update((_SIGNING_KEYS, key_id), "SET signedUntil = :until", values=values))


def _read_deal_terms(item: Item | None) -> DealTerms | None:
    return DealTerms(item["plan"], item.get("changesDisabled", False)) if item else None


def _write_deal_terms(terms: DealTerms) -> Item:
    return {"plan": terms.plan, "changesDisabled": terms.changes_disabled}
