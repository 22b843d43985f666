"""`ordering contact export` and `erase`: what is held of a person, found by an e-mail address.

The address is searched as text in every record that can have one, so a reference or an operator's words that repeat it
are found as well. Codes, access keys and tokens are encrypted, and have no addresses.

Erasing removes contacts and corrected addresses, and replaces the address in what became of mails. An order stays as
the partner placed it. Each record is changed on its own: after a crash the same command does the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import click

from ordering.addresses import is_email_address
from ordering.aws.dynamodb import Delete, Item, Table, TransactionRefused, Update, Write
from ordering.book.names import name_of
from ordering.book.positions import book_of
from ordering.book.search import SEARCH
from ordering.contexts import read_history
from ordering.ecards.statuses import ECARDS
from ordering.ecards.statuses import EcardStatus as Ecard
from ordering.mail.outbox import Outbox
from ordering.training.statuses import TRAINING
from ordering.training.statuses import TrainingStatus as Training
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Command, Run, pass_run, with_required_reason
from ordering_tools.operations.finding import read_named, summarize

ERASED = "erased@erased.invalid"
"""The address in place of an erased one: `.invalid` is reserved, so no mail goes there."""

_PREFIXES = {
    "accounts": ("CONTACTS#", "PARTNER#", "CLIENT#", "WEBHOOKS#", "DELIVERIES#", "ONCE#", "AUDIT#"),
    "orders": ("ORDER#", "BOOK#", "MAIL", "ONCE#", "LEDGER#", "AUDIT#"),
    "catalogue": ("BOOK#", "AUDIT#"),
}
"""The records that can have an address, by the beginnings of their partitions in each table."""

_KINDS = {
    "CONTACTS": "contact",
    "PARTNER": "partner's user",
    "CLIENT": "client",
    "WEBHOOKS": "webhook",
    "DELIVERIES": "webhook's event",
    "ONCE": "response",
    "AUDIT": "audit trail",
    "ORDER": "order",
    "BOOK": "list entry",
    "MAIL": "mail",
    "MAILTO": "corrected address",
    "MAILHISTORY": "mail history",
    "LEDGER": "ledger",
    "SEARCH": "search index",
}

_ORDER_FACTS = "the order's own facts: whom the partner ordered for; its accounts and its API show them"
_STAYS = {
    "PARTNER": "a user of the partner, who may sign in; change it with `ordering partner set`",
    "CLIENT": "the partner's own setting; change it with `ordering client`",
    "WEBHOOKS": "the partner's own setting; the partner changes it",
    "DELIVERIES": "an undelivered event, without which the partner misses it; it expires within 30 days",
    "ONCE": "the response to a create, which keeps a retry from ordering twice; it expires within 48 hours",
    "AUDIT": "evidence of a change by an operator",
    "ORDER": _ORDER_FACTS,
    "BOOK": _ORDER_FACTS,
    "LEDGER": "evidence of a change of money",
    "MAIL": "the order or its mail is not done; erase again when it is",
    "MAILTO": "the order or its mail is not done; erase again when it is",
}
"""Why records stay, by the beginning of the partition."""

_INTERNAL = frozenset({"pk", "sk", "fingerprint", "writer", "writers", "version", "tokensNotBefore"})
_ATOM = r"A-Za-z0-9!$%&'*+/=?^`{|}~._-"
"""The characters of an address before its @, but for `#`, which is before an address in keys."""

_LAST = "\U0010ffff"

TableName = Literal["accounts", "orders", "catalogue"]


@dataclass(frozen=True)
class Held:
    """A record that has a person's address."""

    table: TableName
    item: Item
    prefix: str
    """The beginning of its partition; `SEARCH` for what the search index finds it by."""
    name: str = ""
    """What it belongs to; see `_named`."""

    @property
    def kind(self) -> str:
        """What it is, as an operator names it."""
        return _KINDS[self.prefix]

    @property
    def order(self) -> str:
        """The name of the order that a mail's record is about; see `book.names`."""
        return str(self.item["pk"]).partition("#")[2]


def _named(site: Installation, item: Item) -> str:
    """Return what a record belongs to, as an operator names it: `order 51`, `partner northwind`."""
    prefix, _, rest = str(item["pk"]).partition("#")
    match prefix:
        case "ORDER" | "MAIL" | "MAILTO" | "MAILHISTORY":
            order = summarize(item) or read_named(site, rest)
            return order.subject if order else f"order {rest}"
        case "BOOK":
            return _listed(item)
        case "PARTNER" | "ONCE" | "WEBHOOKS" | "DELIVERIES" | "LEDGER":
            return f"partner {rest.partition('#')[0]}"
        case "CONTACTS":
            return f"unit {rest}"
        case "AUDIT":
            return f"change {item['sk'].partition('#')[2]}"
        case _:
            return rest


def _listed(entry: Item) -> str:
    """Return what a book's entry belongs to: an order, the order of a line item, or a product."""
    if order := summarize(entry):
        return order.subject
    _, account, *of_order = (book_of(entry["pk"]) or "").split("#")
    return f"order {account}/{of_order[0]}" if of_order else f"product {account}/{int(entry['sk'])}"


@click.command("export", cls=Command)
@click.argument("email", help="The person's e-mail address.")
@pass_run
def export(run: Run, email: str) -> None:
    """Show what is held of a person.

    With --json it is all of it, to hand out. It reads all three tables: a read unit for every 4 KB.
    """
    found = _found(run, email)
    if not run.json:
        run.output.rows(({"kind": one.kind, "name": one.name} for one in found), empty=f"nothing is held of {email}")
        return
    pattern = _pattern(email)
    held = [{"kind": one.kind, "name": one.name, "data": _exported(run.site, one, pattern)} for one in found]
    run.output.document({"email": email, "held": held})


@click.command("erase", cls=Command)
@click.argument("email", help="The person's e-mail address.")
@with_required_reason
@pass_run
def erase(run: Run, email: str, reason: str) -> None:
    """Remove what is held of a person.

    The orders' own facts stay; it names what stays and why. It reads all
    three tables: a read unit for every 4 KB. After a crash run it again.
    """
    pattern = _pattern(email)
    planned = [(one, _removal(run.site, one, pattern)) for one in _found(run, email)]
    removals = [(one, write) for one, write in planned if write]
    outcome = {id(one): _STAYS.get(one.prefix, "") for one, write in planned if not write}
    if removals:
        digest = hashlib.sha256(email.lower().encode()).hexdigest()[:16]
        asks = f"{len(removals):,} records lose the address for good"
        with (
            run.change(f"person {digest}", reason, after={"records": len(removals)}, asks=asks) as site,
            run.output.progress("records", len(removals)) as advance,
        ):
            for one, write in removals:
                outcome[id(one)] = _written(_table(site, one.table), write)
                advance(1)
    _print_erased(run, email, [(one, outcome[id(one)]) for one, _ in planned])


def _print_erased(run: Run, email: str, outcomes: Sequence[tuple[Held, str]]) -> None:
    removed = [{"kind": one.kind, "name": one.name} for one, why in outcomes if not why]
    stays = [{"kind": one.kind, "name": one.name, "why": why} for one, why in outcomes if why]
    if run.json:
        run.output.document({"removed": removed, "stays": stays})
        return
    rows = [{**one, "outcome": "removed"} for one in removed] + [{**one, "outcome": "stays"} for one in stays]
    run.output.rows(rows, empty=f"nothing is held of {email}", columns=("kind", "name", "outcome"))
    for kind, why in dict.fromkeys((one["kind"], one["why"]) for one in stays):
        run.output.line(f"{kind} stays: {why}")


def _found(run: Run, email: str) -> list[Held]:
    """Find the records that have an address.

    Raises:
        NotDone: It is no e-mail address.
    """
    if not is_email_address(email):
        raise NotDone(f"'{email}' is no e-mail address")
    pattern, found = _pattern(email), []
    with run.output.progress("records read") as advance:
        for table in ("accounts", "orders", "catalogue"):
            for item in _table(run.site, table).scan(*_PREFIXES[table]):
                advance(1)
                if held := [one for one in _parts(table, item) if _has(one.item, pattern)]:
                    name = _named(run.site, item)
                    found += [replace(one, name=name) for one in held]
    return sorted(found, key=lambda one: (one.table, one.item["pk"], one.item["sk"], one.prefix))


def _parts(table: TableName, item: Item) -> Iterator[Held]:
    """Yield a record, and apart from it what the search index finds it by."""
    prefix = item["pk"].partition("#")[0]
    if SEARCH in item:
        yield Held(table, {name: item[name] for name in ("pk", "sk", SEARCH)}, "SEARCH")
    yield Held(table, {name: value for name, value in item.items() if name != SEARCH}, prefix)


def _table(site: Installation, name: TableName) -> Table:
    return {"accounts": site.accounts, "orders": site.orders, "catalogue": site.catalogue}[name]


def _pattern(email: str) -> re.Pattern[str]:
    """Return the pattern of an address that is no part of a longer one; a login has `_` and more behind it."""
    return re.compile(f"(?<![{_ATOM}]){re.escape(email)}(?![A-Za-z0-9-]|[.][A-Za-z0-9])", re.IGNORECASE)


def _has(value: Any, pattern: re.Pattern[str]) -> bool:
    match value:
        case str():
            return pattern.search(value) is not None
        case bytes():
            return pattern.search(value.decode(errors="ignore")) is not None
        case dict():
            return any(_has(one, pattern) for one in value.values())
        case list() | set():
            return any(_has(one, pattern) for one in value)
        case _:
            return False


def _exported(site: Installation, held: Held, pattern: re.Pattern[str]) -> Any:
    """Return what a record has of the person, without what is of others, and without what is encrypted."""
    item = held.item
    match held.prefix:
        case "PARTNER":
            return {"users": [_plain(user) for user in item["users"] if _has(user, pattern)]}
        case "CONTACTS":
            return {"email": item["sk"], **_plain(item)}
        case "ORDER" if name := name_of((item["pk"], item["sk"])):
            packs = site.orders.query(item["pk"], "LINE#", f"LINE#{_LAST}")
            lines = [_plain(line) for pack in packs for line in pack["lines"]]
            mails = [_plain(mail) for mail in site.orders.query(f"MAIL#{name}", " ", _LAST)]
            return {**_plain(item.get("order", item)), **({"lines": lines} if lines else {}), "mails": mails}
        case _:
            return _plain(item)


def _plain(value: Any) -> Any:
    """Return a value without bytes and what only the program uses."""
    if isinstance(value, dict):
        return {k: _plain(one) for k, one in value.items() if k not in _INTERNAL and not isinstance(one, bytes)}
    return [_plain(one) for one in value if not isinstance(one, bytes)] if isinstance(value, list) else value


def _removal(site: Installation, held: Held, pattern: re.Pattern[str]) -> Write | None:
    """Return the write that removes the address from a record; None if the record stays."""
    item = held.item
    key = item["pk"], item["sk"]
    match held.prefix:
        case "CONTACTS":
            return Delete(key)
        case "MAILTO" if _is_done(site, held.order):
            return Delete(key, "#to = :read", {"#to": "to"}, {":read": item["to"]})
        case "MAIL" if _is_done(site, held.order):
            after = {**_replaced(item, pattern), "version": item["version"] + 1}
            return _changed(key, item, after, "version = :read", {":read": item["version"]})
        case "SEARCH":
            after = _replaced(item, pattern)
            return _changed(key, item, after, f"{SEARCH} = :read", {":read": item[SEARCH]})
        case "MAILHISTORY":
            return _changed(key, item, _replaced(item, pattern), "attribute_exists(pk)", {})
        case _:
            return None


def _is_done(site: Installation, order: str) -> bool:
    """Return whether an order is final and none of its mails is to be sent."""
    history = read_history(site.orders, order)
    if history is None:
        return True
    status = str(history.moments[-1].status)
    final = _FINAL[order.partition("#")[0]](status)
    return final and all(mail.done for mail in Outbox(site.orders).mails(order))


_FINAL: Mapping[str, Callable[[str], bool]] = {
    "training": lambda status: not TRAINING.targets(Training(status)),
    "ecards": lambda status: not ECARDS.targets(Ecard(status)),
}


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    match value:
        case str():
            return pattern.sub(ERASED, value)
        case dict():
            return {name: _replaced(one, pattern) for name, one in value.items()}
        case list():
            return [_replaced(one, pattern) for one in value]
        case _:
            return value


def _changed(key: tuple[str, str], before: Item, after: Item, condition: str, values: Item) -> Update:
    """Return the write of the attributes that differ."""
    differing = [name for name in after if after[name] != before[name]]
    return Update(
        key,
        "SET " + ", ".join(f"#{name} = :{name}" for name in differing),
        condition,
        {f"#{name}": name for name in differing},
        {**values, **{f":{name}": after[name] for name in differing}},
    )


def _written(table: Table, write: Write) -> str:
    """Write a removal, and return why it was refused; empty if it was not."""
    try:
        table.transact([write])
    except TransactionRefused:
        return "it changed at the same moment; erase again"
    return ""
