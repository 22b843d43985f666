"""`ordering token` and `partner`, and their effect on the authorizer's decisions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordering.contexts import own_errors
from ordering.identity.accounts import Accounts
from ordering.identity.authorizer import Authorizer, Handler, make_handler
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.verifier import KeyRing, Verifier
from ordering.principal import DealTerms, Principal
from ordering.webhooks.registrations import Author, Edit
from ordering_tools import cli
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo.data import demo_partners
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations import commands, tokens
from ordering_tools.operations.signing import development_key
from ordering_tools.operations.webhooks import webhooks_of
from support.authorizer import SHARED_KEY, bearer_event
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import LambdaContext
from support.services import Services

DAY = timedelta(days=1)
WHY = ("--reason", "ticket 17", "--yes")


@dataclass(frozen=True)
class Site:
    """An installation with the demo's accounts, and its authorizer."""

    installation: Installation
    authorizer: Handler

    def context_of(self, token: str) -> dict[str, Any]:
        """The context of the authorizer's decision about a call with a token."""
        event = bearer_event(token, "/v2/orders")
        context: dict[str, Any] = self.authorizer(event, LambdaContext())["context"]
        return context

    def principal(self, token: str) -> Principal:
        return Principal.from_text(self.context_of(token)["principal"])

    def revoke(self, token: str) -> None:
        """Revoke a token by the command."""
        assert cli.main(["token", "revoke", token, *WHY]) == 0

    def token(self, *, reference: bool = False) -> str:
        token, expires = tokens.issue(self.installation, demo_deals.ACCOUNT, None, None, DAY)
        return ReferenceTokens(self.installation.accounts).issue(token, expires) if reference else token


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    services = Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable")
    installation = Installation(services.send, MemoryKms(), partial(development_key, tmp_path), "issuer", "audience")
    accounts = Accounts(installation.accounts)
    accounts.save_signing_key(installation.key.key_id, installation.key.public_jwk)
    for partner in demo_partners("deals"):
        accounts.save_partner(partner)
    verifier = Verifier(KeyRing(accounts.signing_keys), "issuer", "audience")
    monkeypatch.setattr(commands, "reopen", lambda _: installation)
    return Site(
        installation,
        make_handler(Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), SHARED_KEY)),
    )


@pytest.mark.parametrize("reference", [False, True])
def test_issued_tokens_are_accepted(site: Site, *, reference: bool) -> None:
    """An issued token identifies its partner, as a JWT and as a reference token."""
    context = site.context_of(site.token(reference=reference))

    assert Principal.from_text(context["principal"]).partner == demo_deals.ACCOUNT


@pytest.mark.parametrize("reference", [False, True])
def test_revoked_tokens_are_refused(site: Site, *, reference: bool) -> None:
    """A revoked token is refused, and another token of the same partner is not."""
    revoked, kept = site.token(reference=reference), site.token(reference=reference)
    site.revoke(revoked)

    assert site.context_of(revoked) == {"refusal": "unauthorized"}
    assert "principal" in site.context_of(kept)


def test_revoking_names_the_webhooks(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Revoking a token names the webhooks that it registered, or whose present URL or secret it set, and no others."""
    token, other = site.token(), site.token()
    mine, theirs = (Author("u", site.principal(one).token_id) for one in (token, other))
    webhooks, account = webhooks_of(site.installation), demo_deals.ACCOUNT
    made = [webhooks.register(account, "https://example.com/", (), by)[0].id for by in (mine, *[theirs] * 4)]
    registered, changed, replaced, changed_since, untouched = made
    for webhook in (changed, changed_since):
        webhooks.change(account, webhook, Edit(mine), url="https://example.com/other")
    webhooks.change(account, changed, Edit(theirs), types=["ordering.training_order.new"])
    webhooks.change(account, changed_since, Edit(theirs), url="https://example.com/")
    webhooks.replace_secret(account, replaced, Edit(mine))
    capsys.readouterr()
    site.revoke(token)
    printed = capsys.readouterr().out

    assert f"registered with it: ordering webhook remove {account} {registered}  # https://example.com/" in printed
    assert f"URL changed with it: ordering webhook remove {account} {changed}  # https://example.com/other" in printed
    assert f"secret replaced with it: ordering webhook secret {account} {replaced}  #" in printed
    assert [webhook in printed for webhook in (changed_since, untouched)] == [False, False]


def test_revoking_a_reference_token_revokes_the_jwt(site: Site) -> None:
    """Revoking a reference token also revokes its JWT."""
    jwt, expires = tokens.issue(site.installation, demo_deals.ACCOUNT, None, None, DAY)
    site.revoke(ReferenceTokens(site.installation.accounts).issue(jwt, expires))

    assert site.context_of(jwt) == {"refusal": "unauthorized"}


@pytest.mark.parametrize("token", ["garbage", "0" * 64, "a b", ""])
@pytest.mark.usefixtures("site")
def test_only_tokens_can_be_revoked(capsys: pytest.CaptureFixture[str], token: str) -> None:
    """A text that is not a token of the installation cannot be revoked."""
    assert cli.main(["token", "revoke", token, *WHY]) == 1
    assert "token" in capsys.readouterr().err


def test_terms_change_for_existing_tokens(site: Site) -> None:
    """Plan and switch can be changed separately, and apply to the next call with an existing token."""
    token = site.token(reference=True)
    assert cli.main(["partner", "set", demo_deals.ACCOUNT, "--changes", "disabled"]) == 0
    disabled = Principal.from_text(site.context_of(token)["principal"]).deals
    assert cli.main(["partner", "set", demo_deals.ACCOUNT, "--plan", "basic"]) == 0
    basic = Principal.from_text(site.context_of(token)["principal"]).deals

    assert disabled == DealTerms("enterprise", changes_disabled=True)
    assert basic == DealTerms("basic", changes_disabled=True)


def test_unknown_partners(site: Site) -> None:
    """Issuing a token for an unknown partner, and changing its terms, are errors."""
    with pytest.raises(NotDone):
        tokens.issue(site.installation, "nobody", None, None, DAY)
    assert cli.main(["partner", "set", "nobody", "--plan", "basic"]) == 1
    assert cli.main(["token", "issue", "nobody"]) == 1


@pytest.mark.parametrize(
    ("command", "description"),
    [
        (["dead", "replay"], "Send a message back to its queue"),
        (["dev", "openapi"], "Write docs/openapi.json"),
    ],
)
def test_help_has_a_description(capsys: pytest.CaptureFixture[str], command: list[str], description: str) -> None:
    """The help of each command has the description that is in the list of commands."""
    with suppress(SystemExit):
        cli.main([*command, "--help"])

    assert description in capsys.readouterr().out


GROUPS = ("audit", "balance", "client", "contact", "key", "partner", "stock", "token", "webhook")


@pytest.mark.parametrize("group", [*GROUPS, "dev event"])
def test_help_of_groups(capsys: pytest.CaptureFixture[str], group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of each group says what each command does, whole on a terminal of 60 columns, and has examples."""
    monkeypatch.setattr(cli, "columns", lambda: 60)
    assert cli.main([*group.split(), "--help"]) == 0
    text = capsys.readouterr().out

    assert "Examples" in text
    assert f"  ordering {group} " in text
    assert "..." not in text.partition("Commands:")[2].partition("Examples")[0]


def test_arguments_are_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a command describes its arguments before its options, and not among them."""
    assert cli.main(["token", "issue", "--help"]) == 0
    arguments, options = capsys.readouterr().out.split("Options:")

    assert "The partner's id" in arguments
    assert "PARTNER" not in options
