"""Every command of `ordering`, with who may run it and how, and a stack in memory on which each has work to do."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from ordering.aws.calls import CallRefused
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProducts, NewProduct
from ordering.ecards.certificates import Stock
from ordering.identity.accounts import Accounts
from ordering.principal import DealTerms
from ordering.values import replace
from ordering.webhooks.delivery import TRIES, Message
from ordering.webhooks.post import Poster
from ordering.webhooks.transport import Response
from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.webhooks import deliverer_of
from support.aws.memory import Memory
from support.aws.simulated_aws import Do, Step
from support.ecards import card, order_id
from support.orders import new_item, new_order, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.policies import Access
from support.recording import KnownKms, Recording
from support.scenarios import Day

ONBOARDING, CATALOGUE, KEYS = "Onboarding", "Catalogue", "Keys"
READ, MONEY, ON_CALL = "SupportRead", "SupportMoney", "OnCall"
LOCAL = {"completion", "demo", "sam-local", "serve", "webhook listen"}
"""Commands that call nothing in AWS; so do those of `dev`."""
ADMINISTRATORS = {"book resume", "book convert"}
"""Commands that no duty's policy covers: they act on tables outside of the stack, or write all books."""
WHY = "--reason 'ticket 17' --yes"
STOCK = "--card 1 --face-value '100 ₽'"
MUSIC = "--card 3 --face-value '1 month'"
HUNDRED = Stock(1, "100 ₽")

COMMANDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "partner add": (
        [ONBOARDING],
        [f"new --grant training --unit Wales --user 'Ann Lee <ann@example.com>' {WHY}"],
    ),
    "partner set": ([ONBOARDING], [f"northwind --unit Wales {WHY}", f"northwind --tier basic {WHY}"]),
    "partner show": ([ONBOARDING, READ], ["northwind"]),
    "partner list": ([ONBOARDING, READ], [""]),
    "partner disable": ([ONBOARDING], [f"northwind {WHY}"]),
    "partner enable": ([ONBOARDING], [f"disabled {WHY}"]),
    "contact import": ([ONBOARDING], [f"northwind {{contacts}} --unit {UK.id} {WHY}"]),
    "contact add": ([ONBOARDING], [f"northwind ann@example.com Ann Lee --unit {UK.id} {WHY}"]),
    "contact list": ([ONBOARDING, READ], ["northwind"]),
    "contact export": ([MONEY], ["ann@example.com"]),
    "contact erase": ([MONEY], [f"{erasable} {WHY}" for erasable in ("ann@example.com", "sss@ss.ss")]),
    "client add": ([ONBOARDING], [f"new --partner northwind {WHY}"]),
    "client list": ([ONBOARDING, READ], [""]),
    "client show": ([ONBOARDING, READ], ["shop"]),
    "client rotate": ([ONBOARDING], [f"shop {WHY}"]),
    "client end-tokens": ([ONBOARDING], [f"shop {WHY}"]),
    "client revoke": ([ONBOARDING], [f"shop {WHY}"]),
    "token issue": ([ONBOARDING], [f"northwind {WHY}", f"northwind --reference {WHY}"]),
    "token list": ([ONBOARDING, READ], ["northwind"]),
    "token inspect": ([ONBOARDING, READ], ["{token}", "{reference}"]),
    "token revoke": ([ONBOARDING], [f"{{token}} {WHY}", f"{{reference}} {WHY}", f"{{id}} --partner northwind {WHY}"]),
    "webhook add": ([ONBOARDING], [f"northwind https://example.com/ {WHY}"]),
    "webhook list": ([ONBOARDING, READ], ["northwind"]),
    "webhook show": ([ONBOARDING, READ], ["northwind {webhook}"]),
    "webhook remove": ([ONBOARDING], [f"northwind {{webhook}} {WHY}"]),
    "webhook enable": ([ONBOARDING], [f"northwind {{webhook}} {WHY}"]),
    "webhook secret": ([ONBOARDING], [f"northwind {{webhook}} {WHY}"]),
    "webhook parked": ([ONBOARDING, READ], ["northwind {webhook}"]),
    "webhook replay": ([ONBOARDING], [f"northwind {{webhook}} --all {WHY}", f"northwind {{webhook}} {{event}} {WHY}"]),
    "webhook test": ([ONBOARDING], [f"northwind {{webhook}} {WHY}"]),
    "catalogue check": ([CATALOGUE], ["{products}"]),
    "catalogue diff": ([CATALOGUE], ["{products} --unit northwind/UK"]),
    "catalogue import": (
        [CATALOGUE],
        [f"{{products}} --unit northwind/UK {WHY}", f"{{products}} --unit northwind/Ireland {WHY}"],
    ),
    "catalogue versions": ([CATALOGUE, READ], ["--unit northwind/UK", f"--unit {UK.id}"]),
    "catalogue rollback": ([CATALOGUE], [f"--unit northwind/UK {WHY}"]),
    "ecards check": ([CATALOGUE], ["{cards}"]),
    "ecards diff": ([CATALOGUE], ["{cards} --company granite"]),
    "ecards import": ([CATALOGUE], [f"{{cards}} --company granite {WHY}"]),
    "ecards versions": ([CATALOGUE, READ], ["--company granite"]),
    "ecards rollback": ([CATALOGUE], [f"--company granite {WHY}"]),
    "key list": ([KEYS], [""]),
    "key add": ([KEYS], [f"--kms alias/ordering-{key} {WHY}" for key in ("SigningKeyA", "SigningKeyB")]),
    "key use": ([KEYS], [f"{{other}} --now {WHY}"]),
    "key retire": ([KEYS], [f"{{other}} --now {WHY}"]),
    "whoami": ([ONBOARDING, CATALOGUE, KEYS, READ, MONEY, ON_CALL], [""]),
    "book check": ([ON_CALL], [""]),
    "doctor": ([ON_CALL], [""]),
    "dead list": ([ON_CALL], [""]),
    "dead show": ([ON_CALL], ["StreamDeadLetters", "MailDeadLetters"]),
    "dead replay": ([ON_CALL], [f"--all {WHY}", f"MailDeadLetters {WHY}", f"StreamDeadLetters --scan {WHY}"]),
    "event republish": ([ON_CALL], [f"{{plain}} {WHY}", f"granite/{order_id(1)} {WHY}", f"--since 1d {WHY}"]),
    "order find": ([READ], ["{plain}", "PO-1", "ann@example.com", "crm/1", "1 --partner crm", order_id(1), "26"]),
    "order list": ([READ], ["--partner northwind", "--partner granite", "--partner crm", f"--unit {UK.id}"]),
    "order show": ([READ], ["{plain}", "{mailed}", f"granite/{order_id(1)}", "granite/1", "crm/1", order_id(1)]),
    "order trace": ([READ], ["{plain}", "{mailed}", "granite/1", "granite/6", "crm/1"]),
    "order cancel": ([MONEY], [f"{{new}} {WHY}", f"granite/6 {WHY}", f"granite/7 {WHY}", f"granite/8 {WHY}"]),
    "order move": (
        [MONEY],
        [
            f"granite/7 --to ReadyForDelivery {WHY}",
            f"granite/8 --to PartiallyDelivered {WHY}",
            f"granite/8 --to Delivered {WHY}",
            f"granite/8 --to Cancelled {WHY}",
        ],
    ),
    "order index": ([ON_CALL], [WHY]),
    "logs": ([READ], ["{plain}", "granite/1", "crm/1", "--request 0ba0c2c5", "--level error"]),
    "mail list": ([READ], ["--order {mailed}", "--order granite/1", "--refused"]),
    "mail show": ([READ], ["--order {mailed}", "--order granite/1"]),
    "mail again": (
        [MONEY],
        [
            f"{{mailed}} --force {WHY}",
            f"{{mailed}} --to ann@example.net --force {WHY}",
            f"granite/1 --force {WHY}",
            f"--refused {WHY}",
        ],
    ),
    "balance show": ([MONEY, READ], ["granite"]),
    "balance top-up": ([MONEY], [f"granite 1000 --operation t9 {WHY}"]),
    "balance correct": ([MONEY], [f"granite 10 --operation c1 {WHY}", f"granite -10 --operation c2 {WHY}"]),
    "stock load": ([MONEY], [f"{{codes}} {STOCK} --batch new {WHY}", f"{{codes}} {MUSIC} --batch new {WHY}"]),
    "stock show": ([MONEY, READ], [STOCK]),
    "stock list": ([MONEY, READ], ["granite"]),
    "stock move": ([MONEY], [f"{STOCK} --to-card 2 --to-face-value '500 ₽' {WHY}"]),
    "stock compact": ([MONEY], [f"{STOCK} {WHY}"]),
    "stock unload": ([MONEY], [f"{STOCK} {WHY}"]),
    "stock index": ([MONEY], [WHY]),
    "audit list": ([READ, ON_CALL], ["--since 1d"]),
    "audit show": ([READ, ON_CALL], ["{change}"]),
}
"""The duties whose operators run a command, and its arguments for each way that it goes."""


@dataclass
class World:
    """A stack on the evening of a day of orders, and the names of what its commands are about."""

    tables: Memory
    kms: KnownKms
    names: dict[str, str] = field(default_factory=dict)

    def record(self, command: str, arguments: str) -> set[Access]:
        """Run a command on a copy of the stack, and return what it called."""
        recording = self._recording(arguments)
        self._run(recording.installation(self._copy(command)), command, arguments)
        return recording.accesses

    def show(self, command: str, arguments: str, screen: io.StringIO | None = None) -> str:
        """Run a command on a copy of the stack, and return what it printed, also on a screen."""
        return self._run(self._recording(arguments).installation(self._copy(command)), command, arguments, screen)

    def words(self, command: str, arguments: str) -> list[str]:
        """The words of a command line."""
        return [*command.split(), *shlex.split(arguments.format_map(self.names))]

    def run(self, command: str, arguments: str) -> Any:
        """Run a command on the stack, and return what it printed."""
        return json.loads(self._run(self.site, command, f"{arguments} --json"))

    @property
    def site(self) -> Installation:
        return Recording(self.kms).installation(self.tables)

    def _recording(self, arguments: str) -> Recording:
        return Recording(self.kms, expired="--scan" in arguments)

    def _copy(self, command: str) -> Memory:
        return _without_index(self.tables) if command == "order index" else self.tables.fork()

    def _run(self, site: Installation, command: str, arguments: str, screen: io.StringIO | None = None) -> str:
        printed = screen or io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
            patch.setattr(commands, "open_stack", lambda *_: site)
            patch.setattr(Poster, "post", lambda *_: Response(200))
            assert cli.main([*self.words(command, arguments), "--stack", "ordering"]) == 0
        return printed.getvalue()


def _refusing(step: Step, do: Do) -> dict[str, Any]:
    """Let SES refuse."""
    if step.service == "ses":
        raise CallRefused("SendEmail", "MessageRejected")
    return do()


def _place_orders(day: Day) -> dict[str, str]:
    """Place further orders, of each status; the numbers of e-card orders are 6 to 8."""
    rewards, school = day.rewards, day.school
    rewards.top_up(10_000, "t2")
    rewards.place(6, card(3, "1 month"), card(quantity=1))
    day.world.run()
    day.bounce_and_resend()
    day.world.mishap = _refusing
    body = new_order(orderItems=[new_item()], emailKeys=True, contactEmail="ann@example.com")
    refused = school.client.post(target("orders"), body).json["id"]
    day.world.run()
    day.world.mishap = None
    # What is placed now is not followed by fulfilment.
    rewards.load(20, HUNDRED, "b3")
    rewards.place(7, card(quantity=2))
    rewards.place(8, card(quantity=3))
    rewards.orders.advance(order_id(8))
    return {"plain": str(day.plain), "mailed": str(day.mailed), "refused": str(refused), "new": str(school.place(1))}


def _add_deals(site: Installation) -> None:
    """Add an account with a deal order."""
    Accounts(site.accounts).save_partner(
        replace(PARTNER, id="crm", business_units=(), grants=frozenset({"deals"}), deals=DealTerms("enterprise"))
    )
    orders = DealOrders(site.orders, "crm")
    orders.place(26, Decimal(5))
    product = DealProducts(site.catalogue, "crm").add(NewProduct(name="Licence"))
    orders.lines(1).add(NewLine(product, Decimal(10), "EUR", Decimal(0), 3))


def _park(site: Installation, webhook: str, order: str) -> None:
    """Let a webhook refuse an event for the last time."""
    deliverer = replace(deliverer_of(site), post=lambda *_: Response(500))
    deliverer.handle(Message(PARTNER.id, webhook, f"training#{order}", tries=TRIES - 1).to_text())


def _without_index(tables: Memory) -> Memory:
    """The same tables as an earlier release left them: the search index is empty."""
    forgetful = tables.fork()
    for _, item in [*tables.scan("OrdersTable")]:
        if "search" in item:
            forgetful.load("OrdersTable", {name: value for name, value in item.items() if name != "search"})
    return forgetful


def _write_files(folder: Path) -> dict[str, str]:
    """Write the files that commands read."""
    columns = "courseAccessPeriodDays,moduleSavePeriodDays,prices"
    product = f"{AZ_300.id},AZ-300,{AZ_300.name},,{STANDARD.id},{STANDARD.name},180,1"
    head = f"productId,productCode,productName,courseIds,featureSetId,featureSetName,{columns}"
    cards = "cardId,cardName,description,unit,faceValue,price"
    files = {
        "contacts": "email,forename,surname\nann@example.com,Ann,Lee",
        "before": f"{head}\n{product},GBP 47",
        "products": f"{head}\n{product},GBP 48",
        "offer": f"{cards}\n1,Bookshop,,ruble,100 ₽,100\n2,Cinema,,ruble,500 ₽,525\n3,Music,,month,1 month,199",
        "cards": f"{cards}\n1,Bookshop,,ruble,100 ₽,100",
        "codes": "one\ntwo",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: str(folder / name) for name in files}


def make_world(folder: Path) -> World:
    """Return the stack that commands are run on, with files in a folder."""
    kms = KnownKms()
    day = Day(kms=kms)
    day.begin()
    day.world.run()
    world = World(day.world.tables, kms)
    world.names |= _write_files(folder) | _place_orders(day)
    _add_deals(world.site)
    Accounts(world.site.accounts).save_partner(replace(PARTNER, id="disabled", active=False))
    for key in ("alias/ordering-SigningKeyA", "alias/ordering-SigningKeyB"):
        world.names["other"] = world.run("key add", f"--kms {key} {WHY}")["key"]
        if key.endswith("A"):
            world.run("key use", f"{{other}} --now {WHY}")
    world.run("contact add", f"northwind ann@example.com Ann Lee --unit {UK.id} {WHY}")
    world.run("client add", f"shop --partner northwind {WHY}")
    issued = world.run("token issue", f"northwind {WHY}")
    reference = world.run("token issue", f"northwind --reference {WHY}")
    (webhook,) = world.run("webhook list", "northwind")
    world.names |= {"token": issued["token"], "id": issued["id"], "reference": reference["token"]}
    world.names["webhook"] = webhook["webhook"]
    _park(world.site, webhook["webhook"], world.names["new"])
    (parked,) = world.run("webhook parked", "northwind {webhook}")
    world.names["event"] = parked["event"]
    world.run("catalogue import", f"{{before}} --unit northwind/UK {WHY}")
    world.run("ecards import", f"{{offer}} --company granite {WHY}")
    world.names["change"] = world.run("audit list", "")[-1]["id"]
    return world


def all_commands(command: click.Command = cli.root, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands, each with its name after those of its groups."""
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for word in command.list_commands(ctx):
            one = command.get_command(ctx, word)
            assert one
            yield from all_commands(one, f"{name} {word}".strip())
    else:
        yield name, command
