"""`ordering partner`: who may order, what, and how it is limited."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import click

from ordering.addresses import is_email_address
from ordering.aws.dynamodb import ConditionFailed
from ordering.identifiers import canonical_uuid, is_plain_id
from ordering.identity.accounts import Accounts, Partner
from ordering.principal import GRANTS, BusinessUnit, DealTerms, OrderSource, PaymentTerms, Plan, User
from ordering.values import replace
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Group, Run, partner_of, pass_run, with_reason, with_required_reason
from ordering_tools.operations.usage_tiers import DEFAULT_TIER, TIERS, UsageKeys, with_tier
from ordering_tools.operations.webhooks import deliverer_of

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST_NAME = 100
_NAMED = re.compile(r"(?:(?P<id>[0-9a-fA-F-]{36})=)?(?P<name>.*)", re.DOTALL)
_PERSON = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<email>[^<>]*)>\s*")


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering partner add northwind --grant training --unit UK \\
    --user "John Smith <john@northwind.example>"
  ordering partner add granite --grant ecards --company "Granite Rewards" \\
    --user "Ann Lee <ann@granite.example>"
  ordering partner set northwind --unit Ireland
  ordering partner set northwind --tier premium
  ordering partner disable northwind --reason "ticket 17"
""",
)
def group() -> None:
    """Partners: their business units, users, grants and terms."""


# Options -------------------------------------------------------------------------------------------------------------


def _name(text: str, what: str) -> str:
    if not 1 <= len(text) <= _LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise click.BadParameter(
            f"{what} has 1 to {_LONGEST_NAME} characters, none of them invisible, none blank at its ends"
        )
    return text


def _identified(text: str) -> tuple[str, str]:
    """Split `ID=NAME`; a name alone has no id."""
    found = _NAMED.fullmatch(text)
    identifier = canonical_uuid(found["id"] or "") if found else None
    return (identifier, found["name"]) if found and identifier else ("", text)


def _units(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> list[BusinessUnit]:
    return [BusinessUnit(one, _name(name, "a business unit's name")) for one, name in map(_identified, texts)]


def _users(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> list[User]:
    users = []
    for identifier, text in map(_identified, texts):
        person = _PERSON.fullmatch(text)
        if not person or not is_email_address(person["email"]):
            raise click.BadParameter(f"'{text}' is not of the form 'Forename Surname <address@example.com>'")
        forename, *surname = _name(person["name"], "a user's name").split(maxsplit=1)
        users.append(User(identifier, forename, " ".join(surname), person["email"]))
    return users


def _named(what: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    return lambda _, __, text: None if text is None else _name(text, what)


_FIELDS = (
    click.option(
        "--grant", "grants", type=click.Choice(sorted(GRANTS)), help="What it may do; repeatable.", multiple=True
    ),
    click.option(
        "--unit",
        "units",
        metavar="NAME",
        callback=_units,
        multiple=True,
        help="A business unit, as NAME or ID=NAME; repeatable.",
    ),
    click.option(
        "--user",
        "users",
        metavar="'NAME <MAIL>'",
        callback=_users,
        multiple=True,
        help="A user, as 'NAME <MAIL>' or ID='NAME <MAIL>'; repeatable.",
    ),
    click.option("--payment", type=click.Choice(get_args(PaymentTerms)), help="Its payment terms; new: invoice."),
    click.option(
        "--source", metavar="NAME", callback=_named("a channel's name"), help="The channel of its orders; new: API."
    ),
    click.option(
        "--invoiceable/--not-invoiceable",
        default=None,
        help="Whether orders of the channel can be invoiced; new: they can.",
    ),
    click.option(
        "--plan", type=click.Choice(get_args(Plan)), help="Its plan as a CRM account; deal orders need enterprise."
    ),
    click.option(
        "--changes",
        type=click.Choice(["enabled", "disabled"]),
        help="Whether its deal orders can be changed; new: enabled.",
    ),
    click.option(
        "--company",
        metavar="NAME",
        callback=_named("a company's name"),
        help="Its name as a company that orders e-cards.",
    ),
    click.option(
        "--tier",
        type=click.Choice([*TIERS]),
        help=f"Its tier of usage, which limits its requests; new: {DEFAULT_TIER}.",
    ),
)
"""The options of a partner's fields."""


def _with_fields(function: F) -> F:
    """Add the options of a partner's fields, which `add` and `set` have."""
    for option in reversed(_FIELDS):
        function = option(function)
    return function


def _changed(partner: Partner, fields: Mapping[str, Any]) -> Partner:
    """The partner with the fields that were given."""
    source, deals = partner.order_source, partner.deals
    if fields["source"] is not None:
        source = replace(source, name=fields["source"])
    if fields["invoiceable"] is not None:
        source = replace(source, invoiceable=fields["invoiceable"])
    if fields["changes"] and not (deals or fields["plan"]):
        raise NotDone(f"partner '{partner.id}' has no plan; say which with --plan")
    if fields["plan"]:
        deals = replace(deals, plan=fields["plan"]) if deals else DealTerms(fields["plan"])
    if fields["changes"] and deals:
        deals = replace(deals, changes_disabled=fields["changes"] == "disabled")
    return replace(
        partner,
        payment_terms=fields["payment"] or partner.payment_terms,
        grants=partner.grants | {*fields["grants"]},
        order_source=source,
        business_units=_merged_units(partner.business_units, fields["units"]),
        users=_merged_users(partner.users, fields["users"]),
        usage_tier=fields["tier"] or partner.usage_tier,
        deals=deals,
        company=fields["company"] or partner.company,
    )


def _merged_units(units: Sequence[BusinessUnit], given: Iterable[BusinessUnit]) -> tuple[BusinessUnit, ...]:
    """Add units, or rename them by their ids. A name is that of one unit."""
    merged = {unit.id: unit for unit in units}
    for unit in given:
        same = next((one.id for one in merged.values() if one.name == unit.name), "")
        if same and unit.id not in ("", same):
            raise NotDone(f"business unit {same} has the name '{unit.name}' already")
        identifier = unit.id or same or str(uuid.uuid4())
        merged[identifier] = replace(unit, id=identifier)
    return tuple(merged.values())


def _merged_users(users: Mapping[str, User], given: Iterable[User]) -> dict[str, User]:
    """Add users, or change them by their ids or addresses. An address is that of one user."""
    merged = dict(users)
    for user in given:
        same = next((one.id for one in merged.values() if one.user_name.lower() == user.user_name.lower()), "")
        if same and user.id not in ("", same):
            raise NotDone(f"user {same} has the address {user.user_name} already")
        identifier = user.id or same or str(uuid.uuid4())
        merged[identifier] = replace(user, id=identifier)
    return merged


def _lacks(partner: Partner) -> list[str]:
    """What a partner's grants need and it does not have."""
    needs = {
        "training": (bool(partner.business_units), "grant training needs a business unit: --unit NAME"),
        "training-keys": ("training" in partner.grants, "grant training-keys needs --grant training"),
        "deals": (partner.deals is not None, "grant deals needs a plan: --plan enterprise"),
        "ecards": (partner.company is not None, "grant ecards needs a company: --company NAME"),
        "ecard-certificates": ("ecards" in partner.grants, "grant ecard-certificates needs --grant ecards"),
    }
    lacks = [text for grant, (met, text) in needs.items() if grant in partner.grants and not met]
    if not partner.grants:
        lacks.append(f"it has no grant: --grant {' | '.join(GRANTS)}")
    if not partner.users:
        lacks.append("it has no user, and tokens are a user's: --user 'NAME <MAIL>'")
    return lacks


def _refuse_units_of_others(site: Installation, partner: Partner, before: Sequence[BusinessUnit] = ()) -> None:
    """Refuse a unit that is another partner's, as both would see its orders.

    Raises:
        NotDone: There is one.
    """
    new = {unit.id for unit in partner.business_units} - {unit.id for unit in before}
    if not new:
        return
    for other in Accounts(site.accounts).partners():
        taken = sorted(new & {unit.id for unit in other.business_units})
        if other.id != partner.id and taken:
            raise NotDone(f"business unit {taken[0]} is partner {other.id}'s; leave out the id for a new unit")


# Commands ------------------------------------------------------------------------------------------------------------


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@_with_fields
@with_reason
@pass_run
def add(run: Run, /, partner: str, reason: str, **fields: Any) -> None:
    """Add a partner.

    It is printed with the new ids of its business units and users.
    """
    if not is_plain_id(partner):
        raise NotDone("a partner's id has 1 to 128 letters, digits, '.', '-', '_' and '~'")
    if Accounts(run.site.accounts).partner(partner):
        raise NotDone(_exists(partner))
    source = OrderSource(str(uuid.uuid4()), "API", invoiceable=True)
    new = _changed(
        Partner(
            id=partner,
            active=True,
            payment_terms="invoice",
            grants=frozenset(),
            order_source=source,
            business_units=(),
            users={},
            usage_tier=DEFAULT_TIER,
        ),
        fields,
    )
    if lacks := _lacks(new):
        raise NotDone("; ".join(lacks))
    _refuse_units_of_others(run.site, new)
    with run.change(f"partner {partner}", reason, after=_told(new)) as site:
        # The keys come first: a partner whose keys are missing would be refused.
        keyed = with_tier(site, new, fields["tier"] or DEFAULT_TIER)
        try:
            Accounts(site.accounts).add_partner(keyed)
        except ConditionFailed:
            raise NotDone(_exists(partner)) from None
    _print(run, new)


def _exists(partner: str) -> str:
    return f"partner '{partner}' exists already; change it with `ordering partner set`"


@group.command("set")
@click.argument("partner", help="The partner's id, for instance northwind.")
@_with_fields
@click.option(
    "--remove-grant", "lost", type=click.Choice(sorted(GRANTS)), multiple=True, help="A grant to take away; repeatable."
)
@click.option("--remove-unit", "closed", metavar="ID", multiple=True, help="A business unit to remove; repeatable.")
@click.option(
    "--remove-user", "gone", metavar="ID", multiple=True, help="A user to remove; repeatable. Its tokens are refused."
)
@with_reason
@pass_run
def set_fields(run: Run, /, partner: str, reason: str, **fields: Any) -> None:
    """Change fields of a partner.

    Fields that are not named stay. The changes apply from the next request
    on, and where the gateway caches its decisions within a minute. A new key
    of a tier, for a partner that has none yet, may take a minute too.
    """
    before = partner_of(run.site, partner)
    for kind, known, removed in (
        ("grant", before.grants, fields["lost"]),
        ("business unit", {unit.id for unit in before.business_units}, fields["closed"]),
        ("user", before.users.keys(), fields["gone"]),
    ):
        if unknown := [one for one in removed if one not in known]:
            raise NotDone(f"partner '{partner}' has no {kind} {unknown[0]}; see `ordering partner show {partner}`")
    kept = replace(
        before,
        grants=before.grants - {*fields["lost"]},
        business_units=tuple(unit for unit in before.business_units if unit.id not in fields["closed"]),
        users={one: user for one, user in before.users.items() if one not in fields["gone"]},
    )
    after = _changed(kept, fields)
    if fields["tier"]:
        after = replace(after, usage_key=UsageKeys(run.site, partner).value(fields["tier"]))
    if after == before:
        raise NotDone(
            f"nothing of partner '{partner}' would change; name the fields, see `ordering partner set --help`"
        )
    if lacks := [one for one in _lacks(after) if one not in _lacks(before)]:
        raise NotDone("; ".join(lacks))
    _refuse_units_of_others(run.site, after, before.business_units)
    was, told = _told(before), _told(after)
    differing = [name for name in told if was[name] != told[name]]
    old, new = ({one: values[one] for one in differing} for values in (was, told))
    with run.change(f"partner {partner}", reason, before=old, after=new) as site:
        if fields["tier"]:
            after = with_tier(site, after, fields["tier"])
        if after == before:  # the key was missing in its plan, and the record has it
            site.note()
        else:
            Accounts(site.accounts).change_partner(before, after)
    _print(run, after)


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@pass_run
def show(run: Run, partner: str) -> None:
    """Show a partner."""
    _print(run, partner_of(run.site, partner))


@group.command("list")
@pass_run
def list_partners(run: Run) -> None:
    """List the partners.

    It reads the whole accounts table: a read unit for every 4 KB.
    """
    found = sorted(Accounts(run.site.accounts).partners(), key=lambda one: one.id)
    rows = [
        {
            "partner": one.id,
            "state": "enabled" if one.active else "disabled",
            "tier": one.usage_tier,
            "grants": sorted(one.grants),
        }
        for one in found
    ]
    run.output.rows(rows, empty="no partners; add one with `ordering partner add`")


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@with_required_reason
@pass_run
def disable(run: Run, partner: str, reason: str) -> None:
    """Refuse a partner's requests.

    The events of its webhooks are held back until it is enabled again.
    """
    _switch(run, partner, reason, active=False)
    run.output.result(
        f"partner {partner} is disabled; its requests are refused within a minute",
        {"partner": partner, "active": False},
    )


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@with_required_reason
@pass_run
def enable(run: Run, partner: str, reason: str) -> None:
    """Accept a partner's requests again.

    The events that its webhooks missed are sent.
    """
    site = _switch(run, partner, reason, active=True)
    deliverer_of(site).resume(partner)
    run.output.result(f"partner {partner} is enabled", {"partner": partner, "active": True})


def _switch(run: Run, partner: str, reason: str, *, active: bool) -> Installation:
    before = partner_of(run.site, partner)
    with run.change(f"partner {partner}", reason, before={"active": before.active}, after={"active": active}) as site:
        Accounts(site.accounts).change_partner(before, replace(before, active=active))
    return site


# Output --------------------------------------------------------------------------------------------------------------


def _told(partner: Partner) -> dict[str, Any]:
    """A partner for the audit trail: without the key of its tier, and without names and addresses of people."""
    return {
        "active": partner.active,
        "paymentTerms": partner.payment_terms,
        "grants": sorted(partner.grants),
        "orderSource": partner.order_source.name,
        "invoiceable": partner.order_source.invoiceable,
        "businessUnits": [f"{unit.id} {unit.name}" for unit in partner.business_units],
        "users": [*partner.users],
        "plan": partner.deals.plan if partner.deals else None,
        "changes": _changes(partner),
        "company": partner.company,
        "tier": partner.usage_tier,
    }


def _changes(partner: Partner) -> str | None:
    return ("disabled" if partner.deals.changes_disabled else "enabled") if partner.deals else None


def _print(run: Run, partner: Partner) -> None:
    units = [{"id": unit.id, "name": unit.name} for unit in partner.business_units]
    users = [{"id": one.id, "name": one.name, "userName": one.user_name} for one in partner.users.values()]
    values = {"partner": partner.id, **_told(partner), "orderSourceId": partner.order_source.id}
    if run.json:
        run.output.document({**values, "businessUnits": units, "users": users})
        return
    own = {name: value for name, value in values.items() if name not in {"businessUnits", "users", "orderSourceId"}}
    run.output.fields(own)
    for title, rows in (
        ("business units", units),
        ("users", [{"id": one["id"], "user": f"{one['name']} <{one['userName']}>"} for one in users]),
    ):
        if rows:
            run.output.line(f"\n{title}")
            run.output.rows(rows)
