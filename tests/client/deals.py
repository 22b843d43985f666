"""Separate accounts and tokens in the real stack, for all tests of deal orders."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ordering.clock import system_clock
from ordering.identity.accounts import Partner
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims
from ordering.principal import DealTerms
from ordering.values import replace
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo import greeting
from ordering_tools.demo import training as demo
from ordering_tools.demo.data import demo_partners
from support.real_stack import RealStack

_deal_ids = itertools.count(1_000_000)


@dataclass(frozen=True)
class Deals(RealStack):
    """The real stack, with means to create accounts and tokens."""

    @cached_property
    def reference_tokens(self) -> ReferenceTokens:
        return ReferenceTokens(self.installation.accounts)

    def account(self, terms: DealTerms | None = None, **changes: Any) -> str:
        """Create an account on the Enterprise plan without data; returns its id."""
        account = f"account-{secrets.token_hex(4)}"
        partner: Partner = replace(demo_partners("deals")[0], id=account, deals=terms or DealTerms("enterprise"))
        self.accounts.save_partner(replace(partner, **changes))
        return account

    def claims(self, account: str) -> Claims:
        partner = self.accounts.partner(account)
        assert partner
        user = next(iter(partner.users))
        return Claims(secrets.token_urlsafe(16), account, user, system_clock() + demo.VALID, None)

    def jwt(self, account: str, expires: datetime | None = None) -> str:
        """Issue a JWT; each token may make ten requests a second."""
        claims = self.claims(account)
        return self.installation.signer.issue(replace(claims, expires=expires or claims.expires))

    def token(self, account: str, expires: datetime | None = None) -> str:
        """Issue a reference token of 64 characters."""
        claims = self.claims(account)
        ends = expires or claims.expires
        return self.reference_tokens.issue(self.installation.signer.issue(replace(claims, expires=ends)), ends)

    def own_demo_file(self, folder: Path) -> Path:
        """Write the demo file with a new token for deals: programs that share one share its ten requests a second."""
        tokens = {**self.demo_file["tokens"], "deals": self.token(demo_deals.ACCOUNT)}
        path = folder / greeting.FILE
        path.write_text(json.dumps({**self.demo_file, "tokens": tokens}))
        return path


def a_deal() -> int:
    """A deal id without an order in any account."""
    return next(_deal_ids)
