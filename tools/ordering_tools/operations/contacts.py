"""`ordering contact`: the people of a business unit, whom its orders name by their e-mail addresses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ordering.addresses import is_email_address
from ordering.identity.accounts import Accounts, Contact, Partner
from ordering_tools.console import Output
from ordering_tools.installation import NotDone
from ordering_tools.operations import people
from ordering_tools.operations.commands import READABLE_FILE, Group, Run, partner_of, pass_run, unit_of, with_reason
from ordering_tools.record_files import FileRecord, LineFault, Unreadable, read_records, refuse

_REQUIRED = ("email", "forename", "surname")
_LONGEST_NAME = 100
_WRITTEN_AT_ONCE = 99
"""A transaction has room for the entry of the audit trail beside them."""

Found = dict[tuple[str, str], Contact]
"""Contacts by business unit and address."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering contact add northwind ann@northwind.example "Ann" "Lee"
  ordering contact import northwind contacts.csv
  ordering contact list northwind --name lee
  ordering contact export ann@northwind.example --json
  ordering contact erase ann@northwind.example --reason "her request"

A file is CSV with the header `email,forename,surname`, or JSON Lines with
these names. With `unit`, a business unit's name or id, it can be for several.
""",
)
def group() -> None:
    """Contacts of business units, and what is held of a person."""


group.add_command(people.export)
group.add_command(people.erase)

_unit_option = click.option(
    "--unit", metavar="NAME", help="The business unit, by name or id; may be left out if there is only one."
)


@group.command("import")
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("file", type=READABLE_FILE, help="CSV or JSON Lines, in UTF-8.")
@_unit_option
@with_reason
@pass_run
def import_file(run: Run, partner: str, file: Path, unit: str | None, reason: str) -> None:
    """Add or change the contacts in a file.

    Every fault is named by its line before anything is written. An import
    that was interrupted goes on when it is run again.
    """
    read = _read(run.output, file, partner_of(run.site, partner), unit)
    accounts = Accounts(run.site.accounts)
    known: Found = {}
    for one in {unit for unit, _ in read}:
        known |= {(one, email): contact for email, contact in accounts.contacts(one)}
    new = [(*key, contact) for key, contact in read.items() if known.get(key) != contact]
    added = len(read.keys() - known.keys())
    counts = {"added": added, "changed": len(new) - added, "same": len(read) - len(new)}
    with (
        run.change(f"contacts of {partner}", reason, after=counts) as site,
        run.output.progress("contacts", len(new)) as advance,
    ):
        for start in range(0, len(new), _WRITTEN_AT_ONCE):
            part = new[start : start + _WRITTEN_AT_ONCE]
            Accounts(site.accounts).save_contacts(part)
            advance(len(part))
    run.output.result(
        f"{counts['added']:,} added, {counts['changed']:,} changed, {counts['same']:,} as they were",
        {"partner": partner, **counts},
    )


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("email", help="The e-mail address.")
@click.argument("forename", help="The forename.")
@click.argument("surname", help="The surname.")
@_unit_option
@with_reason
@pass_run
def add(run: Run, partner: str, email: str, forename: str, surname: str, *, unit: str | None, reason: str) -> None:  # noqa: PLR0913 - one parameter for each argument
    """Add a contact, or change its name."""
    chosen = unit_of(partner_of(run.site, partner), unit)
    if fault := _fault(email, forename, surname):
        raise NotDone(fault)
    contact = Contact(forename, surname)
    there = Accounts(run.site.accounts).contact(chosen, email) is not None
    with run.change(f"contact of {partner}", reason, after={"unit": chosen, "added": not there}) as site:
        Accounts(site.accounts).save_contact(chosen, email, contact)
    run.output.result(
        f"{email} {'is changed' if there else 'is added'}", {"unit": chosen, "email": email.lower(), "added": not there}
    )


@group.command("list")
@click.argument("partner", help="The partner's id, for instance northwind.")
@_unit_option
@click.option("--name", metavar="TEXT", default="", help="Only those with this text in their name, in any case.")
@pass_run
def list_contacts(run: Run, partner: str, unit: str | None, name: str) -> None:
    """List the contacts of a partner.

    `ordering order find` finds a person's orders by the address.
    """
    owner = partner_of(run.site, partner)
    chosen = [unit_of(owner, unit)] if unit else [one.id for one in owner.business_units]
    accounts = Accounts(run.site.accounts)
    rows = [
        {"unit": one, "email": email, "forename": contact.forename, "surname": contact.surname}
        for one in chosen
        for email, contact in accounts.contacts(one)
        if name.casefold() in f"{contact.forename} {contact.surname}".casefold()
    ]
    columns = ("email", "forename", "surname") if len(chosen) == 1 else ()
    empty = f"no contact's name has '{name}'" if name else "no contacts; add some with `ordering contact import`"
    run.output.rows(rows, empty=empty, columns=columns)


def _read(output: Output, file: Path, partner: Partner, unit: str | None) -> Found:
    """Read a file of contacts.

    Raises:
        NotDone: It has faults, which were printed.
    """
    found: Found = {}
    lines: dict[tuple[str, str], int] = {}
    faults: list[LineFault] = []
    try:
        for record in read_records(file, lambda names: _misfit(dict.fromkeys(names, "x"))):
            try:
                key, contact = _contact(record, partner, unit, lines)
            except NotDone as fault:
                faults.append((record.line, str(fault)))
            else:
                lines[key], found[key] = record.line, contact
    except Unreadable as error:
        faults.append(error.fault)
    refuse(output, file, faults)
    if not found:
        raise NotDone(f"{file} has no contacts")
    return found


def _contact(
    record: FileRecord, partner: Partner, unit: str | None, lines: Mapping[tuple[str, str], int]
) -> tuple[tuple[str, str], Contact]:
    """The business unit, the address and the contact of a record; `lines` are those of the contacts before it.

    Raises:
        NotDone: It has a fault.
    """
    if record.fault:
        raise NotDone(record.fault)
    values = _texts(record.value)
    if fault := _misfit(values) or _fault(values["email"], values["forename"], values["surname"]):
        raise NotDone(fault)
    key = (unit_of(partner, values.get("unit") or unit), values["email"].lower())
    if key in lines:
        raise NotDone(f"{key[1]} is in line {lines[key]} already")
    return key, Contact(values["forename"], values["surname"])


def _texts(value: Any) -> dict[str, str]:
    """Return a record's texts without blanks at their ends.

    Raises:
        NotDone: It is not an object of texts.
    """
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise NotDone("must be a JSON object whose values are texts")
    return {name: text.strip() for name, text in value.items()}


def _misfit(values: Mapping[str, str]) -> str:
    missing = [f"'{name}' is missing" for name in _REQUIRED if not values.get(name)]
    unknown = [f"'{name}' is not a field here" for name in values if name not in (*_REQUIRED, "unit")]
    return ", ".join(missing + unknown)


def _fault(email: str, *names: str) -> str:
    if not is_email_address(email):
        return f"'{email}' is no e-mail address"
    for name in names:
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
            return f"a name has 1 to {_LONGEST_NAME} characters, none of them invisible, none blank at its ends"
    return ""
