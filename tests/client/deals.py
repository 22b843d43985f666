"""A local run with the demo data that the tests of deal orders share, whichever folder they are in."""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import pytest

from ordering.accounts import Accounts, Partner
from ordering.clock import system_clock
from ordering.principal import DealTerms
from ordering.reference_tokens import ReferenceTokens
from ordering.tokens import Claims
from ordering_tools import demo, demo_deals
from ordering_tools.installation import Installation, reopen
from ordering_tools.local.stack import LocalStack, running

_SHARED: pytest.StashKey[Deals] = pytest.StashKey()
_deal_ids = itertools.count(1_000_000)


@dataclass(frozen=True)
class Deals:
    """A local run, and what it takes to have accounts and tokens of one's own in it."""

    stack: LocalStack

    @cached_property
    def told(self) -> dict[str, Any]:
        """What the run wrote for those who try it."""
        found: dict[str, Any] = json.loads((self.stack.state / demo.FILE).read_text())
        return found

    @cached_property
    def installation(self) -> Installation:
        return reopen(self.stack.state)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    @cached_property
    def reference_tokens(self) -> ReferenceTokens:
        return ReferenceTokens(self.installation.accounts)

    def account(self, terms: DealTerms | None = None, **changes: Any) -> str:
        """Make an account on the Enterprise plan that has nothing yet; returns its id."""
        account = f"account-{secrets.token_hex(4)}"
        partner: Partner = replace(demo_deals.partners()[0], id=account, deals=terms or DealTerms("enterprise"))
        self.accounts.save_partner(replace(partner, **changes))
        return account

    def claims(self, account: str) -> Claims:
        partner = self.accounts.partner(account)
        assert partner
        user = next(iter(partner.users))
        return Claims(secrets.token_urlsafe(16), account, user, system_clock() + demo.VALID, None)

    def jwt(self, account: str, expires: datetime | None = None) -> str:
        """Issue a JWT; every token may make ten requests a second."""
        claims = self.claims(account)
        return self.installation.signer.issue(replace(claims, expires=expires or claims.expires))

    def token(self, account: str, expires: datetime | None = None) -> str:
        """Issue a token of 64 characters."""
        claims = self.claims(account)
        ends = expires or claims.expires
        return self.reference_tokens.issue(self.installation.signer.issue(replace(claims, expires=ends)), ends)


def a_deal() -> int:
    """Return a deal that has no order in any account."""
    return next(_deal_ids)


def shared(config: pytest.Config, temporary: pytest.TempPathFactory) -> Deals:
    """Return the run, which the first to ask starts and which ends with the tests."""
    if _SHARED not in config.stash:
        run = ExitStack()
        state = temporary.mktemp("deals") / "state"
        config.stash[_SHARED] = Deals(run.enter_context(running(state, build=None, demo=True)))
        config.add_cleanup(run.close)
    return config.stash[_SHARED]
