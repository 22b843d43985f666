"""`ordering token`: issues tokens for partners, says whether one is accepted and why, and revokes them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import jwt

from ordering.clock import system_clock
from ordering.identifiers import is_plain_id
from ordering.identity.accounts import Accounts, Partner, TokenRecord
from ordering.identity.authorizer import partner_of_token
from ordering.identity.reference_tokens import ReferenceTokens, is_reference
from ordering.identity.tokens import Claims, RefusalReason, TokenRefused
from ordering.identity.verifier import KeyRing, Verifier
from ordering.webhooks.registrations import SECRET_REPLACED
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import (
    Group,
    Run,
    partner_of,
    pass_run,
    unit_of,
    with_reason,
    with_required_reason,
)
from ordering_tools.operations.webhooks import webhooks_of

_LONGEST_TEXT = 20_000

_REMEDIES: Mapping[RefusalReason, str] = {
    RefusalReason.EXPIRED: "issue another one with `ordering token issue`",
    RefusalReason.REVOKED: "issue another one with `ordering token issue`",
    RefusalReason.UNKNOWN_KEY: "its key was retired, or is another installation's; see `ordering key list`",
    RefusalReason.WRONG_SIGNATURE: "it was changed, or copied in part; ask the partner for the whole token",
    RefusalReason.MALFORMED: "it was changed, or copied in part; ask the partner for the whole token",
    RefusalReason.UNKNOWN_REFERENCE: "it has expired, was copied in part, or is another installation's",
    RefusalReason.OTHER_ISSUER: "it is another installation's",
    RefusalReason.OTHER_AUDIENCE: "it is another installation's",
    RefusalReason.UNKNOWN_PARTNER: "see `ordering partner list`",
    RefusalReason.UNKNOWN_USER: "its user was removed; see `ordering partner show`",
    RefusalReason.UNKNOWN_CLIENT: "the client that it was issued to was removed; see `ordering client list`",
    RefusalReason.ENDED_BY_CLIENT: "the client gets a new one from the token endpoint",
}
"""What to do about a refusal, or what it means."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering token issue northwind --days 90
  ordering token issue adventure-works --reference
  ordering token inspect - < token.txt
  ordering token list northwind
  ordering token revoke 3yXU… --partner northwind --reason "ticket 17"

TOKEN is the token itself, a file with it, or - for the standard input.
""",
)
def group() -> None:
    """Tokens that operators issue to partners."""


@group.command("issue")
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.option("--user", metavar="ID", help="The partner's user; may be left out if there is only one.")
@click.option(
    "--unit",
    "units",
    multiple=True,
    metavar="NAME",
    help="A business unit of the token, by name or id; repeatable. Default: all of the partner's.",
)
@click.option(
    "--reference",
    is_flag=True,
    help="Print 64 hexadecimal characters that stand for the JWT, as clients of deal orders need.",
)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="Days until it expires.")
@with_reason
@pass_run
def issue_token(  # noqa: PLR0913 - one parameter for each option
    run: Run, partner: str, user: str | None, units: Sequence[str], reason: str, *, reference: bool, days: int
) -> None:
    """Issue a token.

    Prints it; what is kept is a record without it, for `list`.
    """
    claims = _claims(partner_of(run.site, partner), user, units, timedelta(days=days))
    covered = sorted(claims.business_units or ())
    after = {"user": claims.user, "expires": f"{claims.expires:%Y-%m-%d}", "reference": reference, "units": covered}
    signer = run.site.signer
    with run.change(f"token {claims.token_id} of {partner}", reason, after=after) as site:
        token, accounts = signer.issue(claims), Accounts(site.accounts)
        record = TokenRecord(
            id=claims.token_id,
            partner=partner,
            user=claims.user,
            key_id=signer.key.key_id,
            issued=system_clock(),
            expires=claims.expires,
            business_units=tuple(covered) or None,
            reference=reference,
            by=site.caller,
        )
        try:
            accounts.save_token(record)
        except LookupError:
            raise NotDone(f"the key {record.key_id}, which signs, is not accepted; see `ordering key list`") from None
        if reference:
            token = ReferenceTokens(site.accounts).issue(token, claims.expires)
    run.output.result(
        token,
        {"token": token, "id": claims.token_id, "partner": partner, "user": claims.user, "expires": claims.expires},
    )


@group.command("list")
@click.argument("partner", help="The partner's id, for instance northwind.")
@pass_run
def list_tokens(run: Run, partner: str) -> None:
    """List the issued tokens of a partner."""
    partner_of(run.site, partner)
    accounts, now = Accounts(run.site.accounts), system_clock()
    revoked = accounts.revoked(partner)
    rows = [
        {
            "id": one.id,
            "expires": one.expires,
            "state": "revoked" if one.id in revoked else "valid",
            "kind": "reference" if one.reference else "JWT",
            "issued": one.issued,
            "by": one.by,
            "user": one.user,
            "units": one.business_units,
            "key": one.key_id,
        }
        for one in accounts.tokens(partner)
        if now < one.expires
    ]
    empty = "no tokens; those of the token endpoint, and of releases without this list, are not in it"
    run.output.rows(rows, empty=empty, columns=("id", "expires", "state"))


@group.command()
@click.argument("token", metavar="TOKEN", help="The token, a file with it, or - for the standard input.")
@pass_run
def inspect(run: Run, token: str) -> None:
    """Say whether a token is accepted, and why.

    The token is never printed. What it says of itself is shown also if it
    is not accepted; `verified` says whether that is true.
    """
    text, site = _read(token), run.site
    values: dict[str, Any] = {"kind": "reference" if is_reference(text) else "JWT"}
    try:
        jwt_text = ReferenceTokens(site.accounts).resolve(text) if is_reference(text) else text
        values |= _unverified(jwt_text)
        claims = _verifier(site).verify(jwt_text)
        values |= {"verified": True}
        partner = partner_of_token(claims, Accounts(site.accounts))
    except TokenRefused as refusal:
        run.output.fields(
            {"accepted": False, "why": str(refusal.reason), "remedy": _REMEDIES.get(refusal.reason, ""), **values}
        )
        return
    if not partner.active:
        remedy = f"enable it with `ordering partner enable {partner.id}`"
        run.output.fields({"accepted": False, "why": f"partner {partner.id} is disabled", "remedy": remedy, **values})
        return
    lost = sorted((claims.business_units or frozenset()) - {unit.id for unit in partner.business_units})
    grants = partner.grants if claims.scope is None else partner.grants & claims.scope
    run.output.fields({"accepted": True, "grants": sorted(grants), "unitsThatAreGone": lost, **values})


@group.command("revoke")
@click.argument("token", metavar="TOKEN", help="The token, a file with it, or - for the standard input.")
@click.option("--partner", help="The partner's id, if TOKEN is an id of `ordering token list`.")
@with_required_reason
@pass_run
def revoke_token(run: Run, token: str, partner: str | None, reason: str) -> None:
    """Revoke a token.

    Prints what was done to webhooks with it: they stay as they are.
    TOKEN is the token, a file with it, - for the standard input, or with --partner its id.
    """
    owner, token_id, expires = _listed(run.site, partner, token) if partner else _verified(run.site, _read(token))
    with run.change(
        f"token {token_id} of {owner}", reason, after={"revoked": True}, asks="it is refused for ever"
    ) as site:
        Accounts(site.accounts).revoke(owner, token_id, expires)
    traces = [(one, act) for one in webhooks_of(run.site).all(owner) for act in one.traces(token_id)]
    lines = [f"token {token_id} of {owner} is revoked"]
    for webhook, act in traces:
        command = "secret" if act == SECRET_REPLACED else "remove"
        lines.append(f"{act} with it: ordering webhook {command} {owner} {webhook.id}  # {webhook.url}")
    left = [{"webhook": webhook.id, "url": webhook.url, "act": act} for webhook, act in traces]
    run.output.result("\n".join(lines), {"id": token_id, "partner": owner, "revoked": True, "webhooks": left})


def issue(
    site: Installation, partner_id: str, user: str | None, units: Sequence[str] | None, valid: timedelta
) -> tuple[str, datetime]:
    """Sign a token that the installation's authorizer accepts, without a record; returns it with its expiry time.

    Raises:
        NotDone: There is no such partner, user or business unit.
    """
    claims = _claims(partner_of(site, partner_id), user, units or (), valid)
    return site.signer.issue(claims), claims.expires


def user_of(partner: Partner, user: str | None) -> str:
    """The id of the user that a token is for; `user` may be None if the partner has only one.

    Raises:
        NotDone: There is no such user, or `user` is None and the partner has more than one.
    """
    if user is None and len(partner.users) == 1:
        return next(iter(partner.users))
    if user is None or user not in partner.users:
        raise NotDone(f"name one of {partner.id}'s users with --user: {', '.join(sorted(partner.users))}")
    return user


def _claims(partner: Partner, user: str | None, units: Iterable[str], valid: timedelta) -> Claims:
    wanted = frozenset(unit_of(partner, unit) for unit in units)
    return Claims(
        # In hexadecimal, as an id that begins with a hyphen would look like an option of `token revoke`.
        token_id=secrets.token_hex(11),
        partner=partner.id,
        user=user_of(partner, user),
        expires=system_clock() + valid,
        business_units=wanted or None,
    )


def _read(token: str) -> str:
    """The token in an argument, in the file that it names, or in the standard input.

    Raises:
        NotDone: It is no text.
    """
    try:
        if token == "-":  # noqa: S105 - no token
            text = sys.stdin.read(_LONGEST_TEXT)
        elif _is_file(token):
            with Path(token).open(encoding="utf-8-sig") as file:
                text = file.read(_LONGEST_TEXT)
        else:
            text = token
    except UnicodeDecodeError:
        raise NotDone("what was read is no text in UTF-8, so it is no token") from None
    words = text.split()
    if words and words[0].lower() == "bearer":
        words = words[1:]
    if len(words) != 1:
        raise NotDone("a token is one word; give the token, a file with it, or - to read it from the standard input")
    return words[0]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # longer than any name of a file, as tokens are
        return False


def _verifier(site: Installation) -> Verifier:
    return Verifier(KeyRing(Accounts(site.accounts).signing_keys), site.issuer, site.audience)


def _verified(site: Installation, text: str) -> tuple[str, str, datetime]:
    """The partner, the id and the end of a token.

    Raises:
        NotDone: It is not valid.
    """
    try:
        jwt_text = ReferenceTokens(site.accounts).resolve(text) if is_reference(text) else text
        claims = _verifier(site).verify(jwt_text)
    except TokenRefused as refusal:
        raise NotDone(f"this is not a valid token: {refusal}; see `ordering token inspect`") from None
    return claims.partner, claims.token_id, claims.expires


def _listed(site: Installation, partner: str, token_id: str) -> tuple[str, str, datetime]:
    partner_of(site, partner)
    for one in Accounts(site.accounts).tokens(partner):
        if one.id == token_id:
            return partner, one.id, one.expires
    raise NotDone(f"there is no token {token_id} of {partner}; see `ordering token list {partner}`")


def _unverified(token: str) -> dict[str, Any]:
    """What a token says of itself, whether it is true or not, as far as it can be read and shown."""
    try:
        header = jwt.get_unverified_header(token)
        payload = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return {}
    client, units = payload.get("client_id"), payload.get("business_units")
    values = {
        "id": payload.get("jti"),
        "partner": payload.get("partner", client),
        "client": client if "partner" in payload else None,
        "user": payload.get("sub"),
        "scope": payload.get("scope"),
        "key": header.get("kid"),
    }
    return {
        **{name: value if isinstance(value, str) and value.isprintable() else None for name, value in values.items()},
        "units": units if isinstance(units, list) and all(map(is_plain_id, units)) else None,
        "issued": _moment(payload.get("iat")),
        "expires": _moment(payload.get("exp")),
        "verified": False,
    }


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
