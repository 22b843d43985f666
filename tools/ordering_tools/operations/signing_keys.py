"""`ordering key`: the keys that sign tokens, replaced without an outage.

`add` publishes and accepts a key. `use` makes it the signing key, once all caches of the published keys contain it.
`retire` removes it, once the last token that it signed has expired.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ordering import clock
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, SigningKeyRecord
from ordering.identity.token_endpoint import KEYS_KEPT, LOOKED_UP_EVERY, VALID
from ordering.identity.tokens import KEYS_READ_EVERY, LEEWAY
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.signing import jwk_of

_LAG = timedelta(seconds=LOOKED_UP_EVERY)


class TooEarly(NotDone):
    """Caches may still lack a key, or valid tokens still need it; the message says until when."""


class NoSuchKey(NotDone):
    """There is no such key; the message names it."""


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    listing = commands.add_parser("list", help="list the accepted keys, and which of them is the signing key")
    adding = commands.add_parser("add", help="publish and accept a key in KMS; prints its id")
    adding.add_argument(
        "--kms", required=True, help="the id, ARN or alias of the key in KMS, for instance alias/ordering-SigningKeyB"
    )
    using = commands.add_parser("use", help="make a key the signing key")
    retiring = commands.add_parser("retire", help="stop accepting a key")
    for parser in (using, retiring):
        parser.add_argument("key", help="the key's id, as in `ordering key list`")
    using.add_argument("--now", action="store_true", help="do not wait until caches of the published keys contain it")
    retiring.add_argument("--now", action="store_true", help="do not wait until the tokens that it signed have expired")
    for parser, action in ((listing, run_list), (adding, run_add), (using, run_use), (retiring, run_retire)):
        set_action(parser, action)


def run_list(installation: Installation, _: argparse.Namespace) -> None:
    """Print every key."""
    accounts = Accounts(installation.accounts)
    signer = accounts.signer()
    for key_id, record in accounts.signing_key_records().items():
        signs = "signs" if signer and signer[0] == key_id else f"added {record.added:%Y-%m-%d %H:%M:%SZ}"
        print(f"{key_id}  {record.kms_id or 'development key'}  {signs}")


def run_add(installation: Installation, arguments: argparse.Namespace) -> None:
    """Add a key and print its id."""
    print(add(installation, arguments.kms))


def run_use(installation: Installation, arguments: argparse.Namespace) -> None:
    """Make a key the signing key."""
    use(installation, arguments.key, wait=not arguments.now)


def run_retire(installation: Installation, arguments: argparse.Namespace) -> None:
    """Retire a key."""
    retire(installation, arguments.key, wait=not arguments.now)
    print(
        f"{arguments.key} is retired. Its tokens are refused within {KEYS_READ_EVERY:.0f} seconds, on /api/v2 and "
        "/webhooks once the gateway's cached decisions end."
    )


def add(installation: Installation, kms_id: str, now: datetime | None = None) -> str:
    """Publish and accept a P-256 key in KMS; returns its key id.

    Raises:
        NoSuchKey: The key in KMS is another kind of key.
    """
    answer = installation.kms("GetPublicKey", {"KeyId": kms_id})
    public = serialization.load_der_public_key(answer["PublicKey"])
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise NoSuchKey(f"{kms_id} is not a P-256 key")
    key_id, jwk = jwk_of(public)
    accounts = Accounts(installation.accounts)
    if key_id not in accounts.signing_key_records():
        accounts.save_signing_key(key_id, jwk, kms_id=kms_id, added=now)
    return key_id


def use(installation: Installation, key_id: str, *, wait: bool = True, now: datetime | None = None) -> None:
    """Make a key the signing key; `wait` refuses that while it may be missing in caches.

    Raises:
        NoSuchKey: It was not added, or is not in KMS.
        TooEarly: The published keys may still be cached from before it was added.
    """
    accounts = Accounts(installation.accounts)
    record = _find(accounts, key_id)
    if record.kms_id is None:
        raise NoSuchKey(f"{key_id} is not in KMS")
    now = now or clock.system_clock()
    known = record.added + _LAG + KEYS_KEPT
    if wait and now < known:
        raise TooEarly(f"callers may have cached the keys without it until {known:%H:%M:%SZ}; wait, or use --now")
    before = accounts.signer()
    if before and before[0] != key_id:
        accounts.note_last_signature(before[0], now + _LAG)
    try:
        accounts.set_signer(key_id, record.kms_id)
    except LookupError:
        raise NoSuchKey(f"{key_id} was retired meanwhile; see `ordering key list`") from None


def retire(installation: Installation, key_id: str, *, wait: bool = True, now: datetime | None = None) -> None:
    """Stop accepting a key; `wait` refuses that while tokens that it signed are valid.

    Raises:
        NoSuchKey: It was not added, or was retired before.
        TooEarly: It is the signing key, or tokens that it signed are still valid.
    """
    accounts = Accounts(installation.accounts)
    record = _find(accounts, key_id)
    signer = accounts.signer()
    if signer and signer[0] == key_id:
        raise TooEarly(f"{key_id} is the signing key; first make another key the signing key with `ordering key use`")
    now = now or clock.system_clock()
    if wait and record.signed_until and now < (end := record.signed_until + VALID + LEEWAY):
        raise TooEarly(f"tokens that it signed are valid until {end:%H:%M:%SZ}; wait, or use --now")
    try:
        accounts.retire_signing_key(key_id)
    except Conflict:
        raise TooEarly(f"{key_id} has just become the signing key") from None


def _find(accounts: Accounts, key_id: str) -> SigningKeyRecord:
    record = accounts.signing_key_records().get(key_id)
    if record is None:
        raise NoSuchKey(f"there is no key {key_id}; see `ordering key list`")
    return record
