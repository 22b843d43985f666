"""`ordering key`: the keys that sign tokens, replaced without an outage.

`add` publishes and accepts a key. `use` makes it the signing key, once all caches of the published keys contain it.
`retire` removes it, once the last token that it signed has expired.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ordering import clock
from ordering.aws.calls import CallRefused
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, SigningKeyRecord
from ordering.identity.token_endpoint import KEYS_KEPT, LOOKED_UP_EVERY, VALID
from ordering.identity.verifier import KEYS_READ_EVERY, LEEWAY
from ordering_tools.console import MOMENT
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Group, Run, pass_run, with_required_reason
from ordering_tools.operations.signing import jwk_of

_LAG = timedelta(seconds=LOOKED_UP_EVERY)


class TooEarly(NotDone):
    """Caches may still lack a key, or valid tokens still need it; the message says until when."""


class NoSuchKey(NotDone):
    """There is no such key; the message names it."""


@click.group(
    cls=Group,
    epilog="""\b
Examples, in the order of a replacement:
  ordering key add --kms alias/ordering-SigningKeyB --reason "yearly"
  ordering key use KEY --reason "yearly"
  ordering key retire OLD --reason "yearly"
""",
)
def group() -> None:
    """The keys that sign tokens, replaced without an outage."""


@group.command("list")
@pass_run
def list_keys(run: Run) -> None:
    """List the accepted keys, oldest first."""
    accounts = Accounts(run.site.accounts)
    signer, records = accounts.signer(), accounts.signing_key_records()
    rows = [
        {
            "key": key_id,
            "kms": record.kms_id or "development key",
            "state": "signs" if signer and signer[0] == key_id else "accepted",
            "added": record.added,
            "signedUntil": record.signed_until,
            "tokensUntil": record.tokens_until,
        }
        for key_id, record in sorted(records.items(), key=lambda one: one[1].added)
    ]
    if run.json:
        run.output.rows(rows)
        return
    for row in rows:
        run.output.line(f"{row['key']}\n  {row['state']}  {row['added']:{MOMENT}}  {row['kms']}")
    if not rows:
        run.output.line("no keys; add one with `ordering key add`")


@group.command("add")
@click.option(
    "--kms", required=True, metavar="KEY", help="The id, ARN or alias of the key in KMS, as alias/ordering-SigningKeyB."
)
@with_required_reason
@pass_run
def add_key(run: Run, kms: str, reason: str) -> None:
    """Accept a key in KMS, and print its id."""
    with run.change(f"key {kms}", reason, after={"kms": kms}) as site:
        key_id = add(site, kms)
    run.output.result(key_id, {"key": key_id, "kms": kms})


@group.command("use")
@click.argument("key", help="The key's id, as in `ordering key list`.")
@click.option("--now", is_flag=True, help="Do not wait until caches of the published keys contain it.")
@with_required_reason
@pass_run
def use_key(run: Run, key: str, reason: str, *, now: bool) -> None:
    """Make a key the signing key.

    Refused until all caches of the published keys contain it.
    """
    _usable(run.site, key, clock.system_clock(), wait=not now)
    before = Accounts(run.site.accounts).signer()
    was = {"signs": before[0]} if before else {}
    with run.change(f"key {key}", reason, before=was, after={"signs": key}) as site:
        use(site, key, wait=not now)
    run.output.result(f"{key} signs within {LOOKED_UP_EVERY:.0f} seconds", {"key": key, "signs": True})


@group.command("retire")
@click.argument("key", help="The key's id, as in `ordering key list`.")
@click.option("--now", is_flag=True, help="Do not wait until the tokens that it signed have expired.")
@with_required_reason
@pass_run
def retire_key(run: Run, key: str, reason: str, *, now: bool) -> None:
    """Stop accepting a key.

    Refused until the last token that it signed has expired.
    """
    record = _retirable(run.site, key, clock.system_clock(), wait=not now)
    was = {"kms": record.kms_id or "development key"}
    with run.change(f"key {key}", reason, before=was, asks="the tokens that it signed are refused") as site:
        retire(site, key, wait=not now)
    run.output.result(
        f"{key} is retired. Its tokens are refused within {KEYS_READ_EVERY:.0f} seconds, on /api/v2 and "
        "/webhooks once the gateway's cached decisions end.",
        {"key": key, "retired": True},
    )


def add(installation: Installation, kms_id: str, now: datetime | None = None) -> str:
    """Publish and accept a P-256 key in KMS; returns its key id.

    Raises:
        NoSuchKey: There is no such key in KMS, or it is another kind of key.
    """
    try:
        answer = installation.kms("GetPublicKey", {"KeyId": kms_id})
    except CallRefused as refusal:
        names = " and ".join(installation.stack.key_alias(name) for name in ("SigningKeyA", "SigningKeyB"))
        raise NoSuchKey(f"{kms_id} cannot be read in KMS ({refusal}); the stack's keys are {names}") from None
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
    now = now or clock.system_clock()
    kms_id = _usable(installation, key_id, now, wait=wait)
    before = accounts.signer()
    if before and before[0] != key_id:
        accounts.note_last_signature(before[0], now + _LAG)
    try:
        accounts.set_signer(key_id, kms_id)
    except LookupError:
        raise NoSuchKey(f"{key_id} was retired meanwhile; see `ordering key list`") from None


def retire(installation: Installation, key_id: str, *, wait: bool = True, now: datetime | None = None) -> None:
    """Stop accepting a key; `wait` refuses that while tokens that it signed are valid.

    Raises:
        NoSuchKey: It was not added, or was retired before.
        TooEarly: It is the signing key, or tokens that it signed are still valid.
    """
    _retirable(installation, key_id, now or clock.system_clock(), wait=wait)
    try:
        Accounts(installation.accounts).retire_signing_key(key_id)
    except Conflict:
        raise TooEarly(f"{key_id} has just become the signing key") from None


def _usable(installation: Installation, key_id: str, now: datetime, *, wait: bool) -> str:
    """Return the id in KMS of a key that can become the signing key; see `use`."""
    record = _find(installation, key_id)
    if record.kms_id is None:
        raise NoSuchKey(f"{key_id} is not in KMS; see `ordering key list`")
    known = record.added + _LAG + KEYS_KEPT
    if wait and now < known:
        raise TooEarly(f"callers may have cached the keys without it until {known:{MOMENT}}; wait, or use --now")
    return record.kms_id


def _retirable(installation: Installation, key_id: str, now: datetime, *, wait: bool) -> SigningKeyRecord:
    """Return the record of a key that can be retired; see `retire`."""
    record = _find(installation, key_id)
    signer = Accounts(installation.accounts).signer()
    if signer and signer[0] == key_id:
        raise TooEarly(f"{key_id} is the signing key; first make another key the signing key with `ordering key use`")
    if wait and record.kms_id is None:
        raise TooEarly(
            f"{key_id} is the local run's development key, which signs the demo's tokens; use --now if you mean it"
        )
    ends = [record.signed_until and record.signed_until + VALID, record.tokens_until]
    last = max((one for one in ends if one), default=None)
    if wait and last and now < (end := last + LEEWAY):
        raise TooEarly(f"tokens that it signed are valid until {end:{MOMENT}}; wait, or use --now")
    return record


def _find(installation: Installation, key_id: str) -> SigningKeyRecord:
    record = Accounts(installation.accounts).signing_key_records().get(key_id)
    if record is None:
        raise NoSuchKey(f"there is no key {key_id}; see `ordering key list`")
    return record
