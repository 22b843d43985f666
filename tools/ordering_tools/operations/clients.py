"""`ordering client`: registers clients of the token endpoint, replaces their secrets, and ends what they were given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ordering.aws.dynamodb import ConditionFailed
from ordering.identity.clients import REPLACED_SECRET_VALID, Client, ClientChanged, Clients, UnknownClient, is_client_id
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.tokens import partner_of, user_of

_MOMENT = "%Y-%m-%d %H:%M:%SZ"
_HOURS = int(REPLACED_SECRET_VALID.total_seconds()) // 3_600


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    add = commands.add_parser(
        "add", help="register a client; prints its secret, which is not stored and is shown only once"
    )
    add.add_argument("client", help="the id of the new client")
    add.add_argument("--partner", required=True, help="the partner's id")
    add.add_argument("--user", help="the id of the partner's user; may be left out if there is only one")
    add.add_argument("--scope", action="append", help="a grant of its tokens, repeatable; default: all of the partner")
    set_action(add, _run_add)
    shown = commands.add_parser("show", help="show a client, and when its secrets and tokens end")
    _of_client(shown, _run_show)
    secret = commands.add_parser("secret", help=f"print a new secret; the previous one ends after {_HOURS} hours")
    secret.add_argument("--now", action="store_true", help="end the previous secrets at once, as after a leak")
    _of_client(secret, _run_secret)
    end = commands.add_parser("end-tokens", help="refuse the tokens that were issued to a client until now")
    _of_client(end, _run_end_tokens)
    remove = commands.add_parser("remove", help="remove a client; its secrets end, and its tokens are refused")
    _of_client(remove, _run_remove)


def _of_client(parser: argparse.ArgumentParser, action: Any) -> None:
    parser.add_argument("client", help="the client's id")
    set_action(parser, action)


def _run_add(installation: Installation, arguments: argparse.Namespace) -> None:
    print(add_client(installation, arguments.client, arguments.partner, arguments.user, arguments.scope))


def _run_show(installation: Installation, arguments: argparse.Namespace) -> None:
    with _known(arguments.client):
        client, ends = Clients(installation.accounts).show(arguments.client)
    print(f"{client.id} of {client.partner}, for user {client.user}, with the grants {', '.join(sorted(client.scope))}")
    for number, until in enumerate(ends, 1):
        print(f"secret {number} {f'ends at {until:{_MOMENT}}' if until else 'is valid'}")
    if client.tokens_not_before:
        print(f"tokens that were issued before {client.tokens_not_before:{_MOMENT}} are refused")


def _run_secret(installation: Installation, arguments: argparse.Namespace) -> None:
    with _known(arguments.client):
        print(Clients(installation.accounts).replace_secret(arguments.client, at_once=arguments.now))
    if arguments.now:
        print(
            "tokens that were issued for the previous secrets are valid for up to an hour; end them with "
            f"`ordering client end-tokens {arguments.client}`",
            file=sys.stderr,
        )


def _run_end_tokens(installation: Installation, arguments: argparse.Namespace) -> None:
    with _known(arguments.client):
        moment = Clients(installation.accounts).end_tokens(arguments.client)
    print(f"tokens of {arguments.client} that were issued before {moment:{_MOMENT}} are refused")


def _run_remove(installation: Installation, arguments: argparse.Namespace) -> None:
    with _known(arguments.client):
        Clients(installation.accounts).remove(arguments.client)
    print(f"client {arguments.client} is removed, and its tokens are refused")


@contextmanager
def _known(client_id: str) -> Iterator[None]:
    try:
        yield
    except UnknownClient:
        raise NotDone(f"there is no client '{client_id}'") from None
    except ClientChanged:
        raise NotDone(f"client '{client_id}' is being changed by others; try again") from None


def add_client(
    installation: Installation, client_id: str, partner_id: str, user: str | None, scope: Sequence[str] | None
) -> str:
    """Register a client and return its secret.

    Raises:
        NotDone: There is no such partner or grant, or the client exists already.
        NotIssued: There is no such user, or `user` is None and the partner has more than one.
    """
    partner = partner_of(installation, partner_id)
    wanted = frozenset(scope or partner.grants)
    if beyond := sorted(wanted - partner.grants):
        raise NotDone(f"{partner_id} has no grant for {', '.join(beyond)}")
    if not is_client_id(client_id):
        raise NotDone("a client's id has 1 to 64 letters, digits, '.', '-' and '_'")
    try:
        return Clients(installation.accounts).add(Client(client_id, partner_id, user_of(partner, user), wanted))
    except ConditionFailed:
        raise NotDone(f"client '{client_id}' exists already; for a new secret use `ordering client secret`") from None
