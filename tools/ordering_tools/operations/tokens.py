"""`ordering token`: issues and revokes tokens for partners of the local installation."""

from __future__ import annotations

import argparse
import secrets
from datetime import datetime, timedelta

from ordering.clock import system_clock
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.reference_tokens import ReferenceTokens, is_reference
from ordering.identity.tokens import Claims, KeyRing, TokenRefused, Verifier
from ordering.webhooks.registrations import SECRET_REPLACED, Webhook
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.webhooks import webhooks_of


class NotIssued(NotDone):
    """No token was issued, or revoked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--partner", required=True, help="the partner's id, for instance northwind in the demo data")
    parser.add_argument("--user", help="the id of the partner's user; required if there are several")
    parser.add_argument(
        "--unit",
        action="append",
        metavar="ID",
        help="a business unit of the token, repeatable; default: all units of the partner",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="print a reference token: 64 hexadecimal characters that stand for the JWT",
    )
    parser.add_argument("--days", type=int, default=30, help="days until it expires (default: %(default)s)")
    set_action(parser, run)


def run(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print the token."""
    valid = timedelta(days=arguments.days)
    token, expires = issue(installation, arguments.partner, arguments.user, arguments.unit, valid)
    print(ReferenceTokens(installation.accounts).issue(token, expires) if arguments.reference else token)


def issue(
    installation: Installation, partner_id: str, user: str | None, units: list[str] | None, valid: timedelta
) -> tuple[str, datetime]:
    """Issue a token that the installation's authorizer accepts; returns it with its expiry time.

    Raises:
        NotIssued: There is no such partner, user or business unit.
    """
    partner = partner_of(installation, partner_id)
    if unknown := set(units or ()) - {unit.id for unit in partner.business_units}:
        raise NotIssued(f"{partner_id} has no business unit {', '.join(sorted(unknown))}")
    claims = Claims(
        token_id=secrets.token_urlsafe(16),
        partner=partner_id,
        user=user_of(partner, user),
        expires=system_clock() + valid,
        business_units=frozenset(units) if units else None,
    )
    return installation.signer.issue(claims), claims.expires


def add_revoking_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `token revoke`."""
    parser.add_argument("token", help="a JWT, or a reference token")
    set_action(parser, run_revoking)


def run_revoking(installation: Installation, arguments: argparse.Namespace) -> None:
    """Revoke a token, and print what was done to webhooks with it: they stay as they are."""
    try:
        traces = revoke(installation, arguments.token)
    except TokenRefused as refusal:
        raise NotIssued(f"this is not a valid token: {refusal}") from None
    for webhook, act in traces:
        command = "secret" if act == SECRET_REPLACED else "remove"
        print(f"{act} with it: ordering webhook {command} {webhook.partner} {webhook.id}  # {webhook.url}")


def revoke(installation: Installation, token: str) -> list[tuple[Webhook, str]]:
    """Revoke a token and its reference tokens; returns the webhooks that it has left traces on, once for each trace.

    Raises:
        TokenRefused: The token is not valid.
    """
    accounts = Accounts(installation.accounts)
    jwt = ReferenceTokens(installation.accounts).resolve(token) if is_reference(token) else token
    claims = Verifier(KeyRing(accounts.signing_keys), installation.issuer, installation.audience).verify(jwt)
    accounts.revoke(claims.partner, claims.token_id, claims.expires)
    webhooks = webhooks_of(installation).all(claims.partner)
    return [(one, act) for one in webhooks for act in one.traces(claims.token_id)]


def partner_of(installation: Installation, partner_id: str) -> Partner:
    """Read the record of a partner.

    Raises:
        NotIssued: There is no such partner.
    """
    partner = Accounts(installation.accounts).partner(partner_id)
    if partner is None:
        raise NotIssued(f"there is no partner '{partner_id}'")
    return partner


def user_of(partner: Partner, user: str | None) -> str:
    """The id of the user that a token is for; `user` may be None if the partner has only one.

    Raises:
        NotIssued: There is no such user, or `user` is None and the partner has more than one.
    """
    if user is None and len(partner.users) == 1:
        return next(iter(partner.users))
    if user is None or user not in partner.users:
        raise NotIssued(f"name one of {partner.id}'s users with --user: {', '.join(sorted(partner.users))}")
    return user
