"""`ordering partner`: shows and changes the terms of the local installation's partners."""

from __future__ import annotations

import argparse
from functools import partial
from typing import get_args

from ordering.aws.dynamodb import ConditionFailed
from ordering.identity.accounts import Accounts
from ordering.principal import DealTerms, Plan
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.webhooks import deliverer_of


class NoSuchPartner(NotDone):
    """There is no such partner; the message names it."""


def add_deals_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `deals`."""
    parser.add_argument("partner", help="the account's id, for instance adventure-works in the demo data")
    parser.add_argument("--plan", choices=get_args(Plan), help="change its plan; deal orders need enterprise")
    parser.add_argument("--changes", choices=["enabled", "disabled"], help="allow or forbid changes of its data")
    set_action(parser, run_deals)


def run_deals(installation: Installation, arguments: argparse.Namespace) -> None:
    """Change an account's terms, which apply from its next request, and print them."""
    terms = set_deal_terms(installation, arguments.partner, arguments.plan, arguments.changes)
    print(f"{arguments.partner}: {terms.plan} plan, changes {'disabled' if terms.changes_disabled else 'enabled'}")


def add_switch_arguments(parser: argparse.ArgumentParser, *, active: bool) -> None:
    """Declare the arguments of `on` and `off`."""
    parser.add_argument("partner", help="the partner's id, for instance northwind in the demo data")
    set_action(parser, partial(run_switch, active=active))


def run_switch(installation: Installation, arguments: argparse.Namespace, *, active: bool) -> None:
    """Switch a partner on or off and print its state.

    Raises:
        NoSuchPartner: There is no partner of that id.
    """
    try:
        Accounts(installation.accounts).set_active(arguments.partner, active=active)
    except ConditionFailed:
        raise NoSuchPartner(f"there is no partner '{arguments.partner}'") from None
    if active:
        deliverer_of(installation).resume(arguments.partner)
    print(f"{arguments.partner}: {'on' if active else 'off'}")


def set_deal_terms(installation: Installation, partner_id: str, plan: Plan | None, changes: str | None) -> DealTerms:
    """Change a partner's terms for deal orders and return them; a term that is None stays as it is.

    Raises:
        NoSuchPartner: There is no partner of that id.
    """
    accounts = Accounts(installation.accounts)
    partner = accounts.partner(partner_id)
    if partner is None:
        raise NoSuchPartner(f"there is no partner '{partner_id}'")
    before = partner.deals or DealTerms("basic")
    disabled = before.changes_disabled if changes is None else changes == "disabled"
    terms = DealTerms(plan or before.plan, disabled)
    accounts.set_deal_terms(partner_id, terms)
    return terms
