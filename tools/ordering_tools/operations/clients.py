"""`ordering client`: registers clients of the token endpoint, replaces their secrets, and ends what they were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import click

from ordering.aws.dynamodb import ConditionFailed
from ordering.identity.clients import Client, ClientChanged, Clients, UnknownClient, is_client_id
from ordering.principal import GRANTS
from ordering_tools.console import MOMENT
from ordering_tools.installation import NotDone
from ordering_tools.operations.commands import Group, Run, partner_of, pass_run, with_reason, with_required_reason
from ordering_tools.operations.tokens import user_of


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering client add granite-shop --partner granite
  ordering client rotate granite-shop --reason "yearly"
  ordering client rotate granite-shop --now --reason "leaked, ticket 17"
  ordering client end-tokens granite-shop --reason "leaked, ticket 17"
""",
)
def group() -> None:
    """Partners' programs, which fetch tokens themselves.

    A client gets tokens of an hour at the token endpoint for its secret.
    """


@group.command()
@click.argument("client", help="The client's id.")
@click.option("--partner", required=True, help="The partner's id.")
@click.option("--user", metavar="ID", help="The partner's user; may be left out if there is only one.")
@click.option(
    "--scope",
    multiple=True,
    type=click.Choice(sorted(GRANTS)),
    help="A grant of its tokens; repeatable. Default: all of the partner's.",
)
@with_reason
@pass_run
def add(run: Run, client: str, *, partner: str, user: str | None, scope: Sequence[str], reason: str) -> None:  # noqa: PLR0913 - one parameter for each option
    """Register a client.

    Prints its secret, which is not stored and is shown only once.
    """
    owner = partner_of(run.site, partner)
    wanted = frozenset(scope or owner.grants)
    if beyond := sorted(wanted - owner.grants):
        raise NotDone(f"{partner} has no grant for {', '.join(beyond)}; see `ordering partner set {partner} --grant`")
    if not is_client_id(client):
        raise NotDone("a client's id has 1 to 64 letters, digits, '.', '-' and '_'")
    new = Client(client, partner, user_of(owner, user), wanted)
    values = {"partner": partner, "user": new.user, "scope": sorted(wanted)}
    with run.change(f"client {client}", reason, after=values) as site:
        try:
            secret = Clients(site.accounts).add(new)
        except ConditionFailed:
            raise NotDone(f"client '{client}' exists already; for a new secret use `ordering client rotate`") from None
    run.output.result(secret, {"client": client, **values, "secret": secret})


@group.command("list")
@click.argument("partner", required=False, help="The partner's id; default: all partners.")
@pass_run
def list_clients(run: Run, partner: str | None) -> None:
    """List the clients of a partner, or all.

    It reads the whole accounts table: a read unit for every 4 KB.
    """
    if partner:
        partner_of(run.site, partner)
    found = [one for one in Clients(run.site.accounts).all() if partner in (None, one.partner)]
    rows = [
        {"client": one.id, "partner": one.partner, "scope": sorted(one.scope)}
        for one in sorted(found, key=lambda one: one.id)
    ]
    run.output.rows(rows, empty="no clients; add one with `ordering client add`")


@group.command()
@click.argument("client", help="The client's id.")
@pass_run
def show(run: Run, client: str) -> None:
    """Show a client, and when its secrets end."""
    found, ends = _known(run, client)
    secrets = [f"ends at {until:{MOMENT}}" if until else "valid" for until in ends]
    run.output.fields(
        {
            "client": found.id,
            "partner": found.partner,
            "user": found.user,
            "scope": sorted(found.scope),
            "secrets": [{"until": until} for until in ends] if run.json else secrets,
            "tokensNotBefore": found.tokens_not_before,
        }
    )


@group.command()
@click.argument("client", help="The client's id.")
@click.option("--now", is_flag=True, help="End the previous secrets at once, as after a leak.")
@with_required_reason
@pass_run
def rotate(run: Run, client: str, reason: str, *, now: bool) -> None:
    """Replace a client's secret.

    Prints the new secret, which is shown only once. The previous one ends
    after 24 hours.
    """
    _known(run, client)
    asks = "its previous secrets end at once" if now else ""
    with (
        run.change(f"client {client}", reason, after={"previousSecretsEndAtOnce": now}, asks=asks) as site,
        _unchanged(client),
    ):
        secret = Clients(site.accounts).replace_secret(client, at_once=now)
    run.output.result(secret, {"client": client, "secret": secret})
    if now:
        click.echo(
            "tokens that were issued for the previous secrets are valid for up to an hour; end them with "
            f"`ordering client end-tokens {client}`",
            err=True,
        )


@group.command("end-tokens")
@click.argument("client", help="The client's id.")
@with_required_reason
@pass_run
def end_tokens(run: Run, client: str, reason: str) -> None:
    """Refuse the tokens of a client.

    Those that were issued to it until now; its secrets stay valid.
    """
    before, _ = _known(run, client)
    was = {"tokensNotBefore": f"{before.tokens_not_before:{MOMENT}}"} if before.tokens_not_before else {}
    with (
        run.change(f"client {client}", reason, before=was, asks="its tokens are refused for ever") as site,
        _unchanged(client),
    ):
        moment = Clients(site.accounts).end_tokens(client)
    run.output.result(
        f"tokens of {client} that were issued before {moment:{MOMENT}} are refused",
        {"client": client, "tokensNotBefore": moment},
    )


@group.command()
@click.argument("client", help="The client's id.")
@with_required_reason
@pass_run
def revoke(run: Run, client: str, reason: str) -> None:
    """Remove a client.

    Its secrets end, and its tokens are refused.
    """
    before, _ = _known(run, client)
    was = {"partner": before.partner, "user": before.user, "scope": sorted(before.scope)}
    asks = "its secrets and tokens are refused for ever"
    with run.change(f"client {client}", reason, before=was, asks=asks) as site, _unchanged(client):
        Clients(site.accounts).remove(client)
    run.output.result(f"client {client} is removed, and its tokens are refused", {"client": client, "removed": True})


def _known(run: Run, client: str) -> tuple[Client, list[datetime | None]]:
    """Read a client, and when its secrets end.

    Raises:
        NotDone: There is none.
    """
    if not is_client_id(client):
        raise _no_client(client)
    with _unchanged(client):
        return Clients(run.site.accounts).show(client)


@contextmanager
def _unchanged(client: str) -> Iterator[None]:
    try:
        yield
    except UnknownClient:
        raise _no_client(client) from None
    except ClientChanged:
        raise NotDone(f"client '{client}' is being changed by others; try again") from None


def _no_client(client: str) -> NotDone:
    return NotDone(f"there is no client '{client}'; see `ordering client list`")
