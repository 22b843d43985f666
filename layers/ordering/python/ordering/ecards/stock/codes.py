"""The codes of certificates: which texts can be codes, and where in stock each code is.

A code is unique per card, whatever its face value. The register has an item for each code, under a keyed digest
(HMAC-SHA256), so that the table shows neither codes nor which installation has the same ones. The digest's key is 256
random bits, drawn once for an installation and stored encrypted. An item names, for each card, the stock's face value,
the position and the load of the code. It is written in the transaction that writes the certificate, on the condition
that it is as it was read. So of two loads of one code, whatever they are called, one gets it.

Codes are compared by their canonical composition (Unicode NFC): two spellings that look the same are one code.

Keys of the table: `CODE#<digest>` a code's places; `DIGEST_KEY` the encrypted key of the digests.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ordering import stored
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Delete, Item, Key, Put, Table
from ordering.errors import OrderingError
from ordering.sealing import Sealer
from ordering.values import Value, asdict, field

LONGEST_CODE = 500
"""Characters of a code."""

LONGEST_BATCH = 200
"""Characters of a batch's name."""

DIGEST_KEY: Key = "DIGEST_KEY", "-"
"""The key of the item with the encrypted key of the digests."""

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_UNSEEN = frozenset(
    map(chr, [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10)])
) | frozenset(map(chr, [0xFFA0, *range(0xE0100, 0xE01F0)]))
"""Characters that are not shown, though their categories are those of letters, marks and symbols."""


class InvalidCodes(OrderingError):
    """A load has texts that cannot be codes, or would not reach a participant as they are."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        """Take the reasons by index, from 0. Codes themselves are never shown."""
        super().__init__(f"invalid codes, by index: {reasons_by_index(reasons)}")
        self.reasons = dict(reasons)


class KnownElsewhere(OrderingError):
    """A load has codes that are known under another card."""

    def __init__(self, cards: Mapping[int, Sequence[int]]) -> None:
        """Take the ids of the other cards by the code's index, from 0."""
        reasons = {index: f"of card {', '.join(map(str, ids))}" for index, ids in cards.items()}
        super().__init__(f"codes of another card, by index: {reasons_by_index(reasons)}")
        self.cards = dict(cards)


class NotIndexed(OrderingError):
    """The register of codes is not complete: an operator must run `ordering stock index` once."""

    def __init__(self) -> None:
        super().__init__("the codes that are in stock already are not registered; run `ordering stock index` once")


class Place(Value):
    """Where the code of a card is: the stock's face value, the position in it, and the load that brought it."""

    face_value: str
    position: int
    batch: str


class CodeRecord(Value):
    """A code's item as it was read, and the writes that change it while it is unchanged."""

    key: Key
    cards: Mapping[str, Item] = field(default_factory=dict)
    """Places by the card's id, as the table has them: what a later release adds is kept."""

    def place(self, card: int) -> Place | None:
        """Return where the code of a card is; None if the card has no such code."""
        found = self.cards.get(str(card))
        return stored.read(Place, found) if found else None

    def others(self, card: int) -> tuple[int, ...]:
        """Return the ids of the other cards that have such a code."""
        return tuple(sorted(int(other) for other in self.cards if other.isdecimal() and other != str(card)))

    def put(self, card: int, place: Place) -> tuple[CodeRecord, Put]:
        """Return the record with the code's place under a card, and the write of it."""
        after = CodeRecord(self.key, {**self.cards, str(card): asdict(place)})
        return after, self._replace(after.cards)

    def move(self, card: int, target: int, place: Place) -> Put:
        """Return the write that moves the code from a card to a place of a target card, which may be the same."""
        return self._replace({**self._without(card), str(target): asdict(place)})

    def remove(self, card: int) -> Put | Delete:
        """Return the write that makes the code unknown under a card."""
        if left := self._without(card):
            return self._replace(left)
        condition, values = self._as_read()
        return Delete(self.key, condition, values=values)

    def _without(self, card: int) -> dict[str, Item]:
        return {other: place for other, place in self.cards.items() if other != str(card)}

    def _replace(self, cards: Mapping[str, Item]) -> Put:
        partition, sort = self.key
        condition, values = self._as_read()
        return Put({"pk": partition, "sk": sort, "cards": dict(cards)}, condition, values=values)

    def _as_read(self) -> tuple[str, Item]:
        return ("cards = :read", {":read": dict(self.cards)}) if self.cards else (ABSENT, {})


class CodeRegister:
    """The register of codes, with the key of its digests in plain text; `repr` leaves the key out."""

    def __init__(self, table: Table, key: bytes) -> None:
        self._table = table
        self._key = key

    @classmethod
    def open(cls, table: Table, sealer: Sealer, found: Item | None = None) -> CodeRegister:
        """Return the installation's register. The first call of an installation draws the key.

        It takes one read, unless `found` is the key's item already, and one `Decrypt` of KMS.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        partition, sort = DIGEST_KEY
        context = "/".join(DIGEST_KEY).encode()
        item = found or table.get(DIGEST_KEY)
        if item is None:
            drawn: Item = {"pk": partition, "sk": sort, "key": sealer.seal(secrets.token_bytes(32), context)}
            with suppress(ConditionFailed):  # another process drew it, or an earlier attempt whose response was lost
                table.put(Put(drawn, ABSENT))
            item = table.get(DIGEST_KEY) or drawn
        return cls(table, sealer.open(item["key"], context))

    def read(self, codes: Sequence[str]) -> list[CodeRecord]:
        """Read the records of codes, in their order: one call and 100 read units for every 100 codes."""
        keys = [self._key_of(code) for code in codes]
        found = self._table.batch_get(keys) if keys else {}
        return [CodeRecord(key, found.get(key, {}).get("cards", {})) for key in keys]

    def _key_of(self, code: str) -> Key:
        return f"CODE#{hmac.new(self._key, same_code(code).encode(), hashlib.sha256).hexdigest()}", "-"


def is_complete(found: Item | None) -> bool:
    """Return whether the register has the codes of earlier releases, by the item at `DIGEST_KEY`."""
    return "registered" in (found or {})


def same_code(code: str) -> str:
    """Return the text by which codes are compared: equal for two spellings that look the same (Unicode NFC)."""
    return unicodedata.normalize("NFC", code)


def canonical_batch(name: str) -> str:
    """Return a batch's name without blanks at its ends, with single spaces in place of any others, in Unicode NFC."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def check_codes(codes: Sequence[str]) -> None:
    """Check that texts can be codes, and reach a participant as they are.

    Raises:
        InvalidCodes: A code is empty or too long, has a blank at an end or two in a row, or has a character that is
            not shown: a control character, a byte order mark, a zero-width character, a change of direction.
    """
    reasons = {index: reason for index, code in enumerate(codes) if (reason := why_invalid(code))}
    if reasons:
        raise InvalidCodes(reasons)


def why_invalid(code: str) -> str | None:
    """Return why a text cannot be a code, without any part of it; None if it can."""
    if not 0 < len(code) <= LONGEST_CODE:
        return f"has {len(code)} characters: 1 to {LONGEST_CODE} are allowed"
    if code != code.strip(" ") or "  " in code:
        return "has a blank at an end, or two in a row"
    if code.isascii() and code.isprintable():
        return None
    return next((fault for character in code if (fault := _fault(character))), None)


def _fault(character: str) -> str | None:
    """Return what is wrong with a character of a code; None if nothing is."""
    category = unicodedata.category(character)
    if category in _UNSEEN_CATEGORIES or character in _UNSEEN:
        return f"has a character that is not shown, U+{ord(character):04X}"
    if category == "Zs" and character != " ":
        return f"has a blank other than a space, U+{ord(character):04X}"
    if character == "\N{REPLACEMENT CHARACTER}":
        return "was read in a wrong encoding: it has U+FFFD"
    return None


def reasons_by_index(reasons: Mapping[int, str], offset: int = 0, most: int = 20) -> str:
    """List reasons by index, at most 20 of them; without any part of a code.

    Args:
        offset: What is added to each index.
    """
    shown = [f"{index + offset} {reason}" for index, reason in [*reasons.items()][:most]]
    more = [f"and {len(reasons) - most} more"] if len(reasons) > most else []
    return ", ".join([*shown, *more])
