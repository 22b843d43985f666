"""The managed policies of operators: a duty's policy allows its commands, and nothing that none of them does."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
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
from ordering.webhooks.delivery import TRIES, Message
from ordering.webhooks.post import Poster
from ordering.webhooks.transport import Response
from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.webhooks import deliverer_of
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.aws.memory import Memory
from support.aws.simulated_aws import Do, Step
from support.ecards import card, order_id
from support.gateway import ROOT
from support.orders import new_item, new_order, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.policies import Access, allows, leading_keys, resource_name, statements
from support.recording import KnownKms, Recording
from support.scenarios import Day

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]
POLICIES = {
    name.removesuffix("Policy"): [*statements([resource["Properties"]["PolicyDocument"]])]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::IAM::ManagedPolicy"
}
LARGEST_POLICY = 6_144
"""Characters of a managed policy, without white space."""

ONBOARDING, CATALOGUE, KEYS = "Onboarding", "Catalogue", "Keys"
READ, MONEY, ON_CALL = "SupportRead", "SupportMoney", "OnCall"
LOCAL = {"completion", "demo", "event", "sam-local", "serve", "webhook listen"}
"""Commands that call nothing in AWS; so do those of `dev`."""
ADMINISTRATORS = {"doctor"}
"""Commands that no duty's policy covers."""
OPENING = ["cloudformation:DescribeStacks", "cloudformation:ListStackResources"]
"""By which commands find a stack's resources."""
STREAM = ["dynamodb:GetShardIterator", "dynamodb:GetRecords"]
"""By which the stream is read, which has no partition keys."""
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
NOT_ON_THAT_DAY = {
    # The key that signs after the next replacement.
    (ONBOARDING, "kms:Sign", "SigningKeyB"),
}
"""What a duty's policy allows besides what is recorded."""

WHY = "--reason 'ticket 17' --yes"
STOCK = "--card 1 --face-value '100 ₽'"
MUSIC = "--card 3 --face-value '1 month'"
HUNDRED = Stock(1, "100 ₽")

COMMANDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "partner add": (
        [ONBOARDING],
        [f"new --grant training --unit Wales --user 'Ann Lee <ann@example.com>' {WHY}"],
    ),
    "partner set": ([ONBOARDING], [f"northwind --unit Wales {WHY}"]),
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
    "dead list": ([ON_CALL], [""]),
    "dead show": ([ON_CALL], ["StreamDeadLetters", "MailDeadLetters"]),
    "dead replay": ([ON_CALL], [f"--all {WHY}", f"MailDeadLetters {WHY}", f"StreamDeadLetters --scan {WHY}"]),
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
        recording = Recording(self.kms, expired="--scan" in arguments)
        self._run(recording.installation(self.tables.fork()), command, arguments)
        return recording.accesses

    def run(self, command: str, arguments: str) -> Any:
        """Run a command on the stack, and return what it printed."""
        return json.loads(self._run(self.site, command, f"{arguments} --json"))

    @property
    def site(self) -> Installation:
        return Recording(self.kms).installation(self.tables)

    def _run(self, site: Installation, command: str, arguments: str) -> str:
        words = shlex.split(arguments.format_map(self.names))
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
            patch.setattr(commands, "open_stack", lambda *_: site)
            patch.setattr(Poster, "post", lambda *_: Response(200))
            assert cli.main([*command.split(), *words, "--stack", "ordering"]) == 0
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The stack that commands are run on."""
    kms = KnownKms()
    day = Day(kms=kms)
    day.begin()
    day.world.run()
    world = World(day.world.tables, kms)
    world.names |= _write_files(tmp_path_factory.mktemp("files")) | _place_orders(day)
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


@pytest.fixture(scope="module")
def recorded(world: World) -> dict[str, set[Access]]:
    """What each command calls."""
    earlier = replace(world, tables=_without_index(world.tables))
    return {
        command: {
            access
            for arguments in ways
            for access in (earlier if command == "order index" else world).record(command, arguments)
        }
        for command, (_, ways) in COMMANDS.items()
    }


def _commands(command: click.Command, name: str = "") -> Iterator[str]:
    """The names of all commands."""
    if isinstance(command, click.Group):
        for word, one in command.commands.items():
            yield from _commands(one, f"{name} {word}".strip())
    else:
        yield name


def test_every_command_has_a_duty() -> None:
    """Each command of the command line is recorded here, or calls nothing in AWS."""
    known = {*COMMANDS, *LOCAL, *ADMINISTRATORS}
    missing = {name for name in _commands(cli.root) if not name.startswith("dev ")} - known

    assert not missing, f"name the duty of {sorted(missing)} in COMMANDS, and add what it calls to the duty's policy"


class _Cloudformation:
    """CloudFormation with an empty stack."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        self.called.add("DescribeStacks")
        return {"Stacks": [{}]}

    def get_paginator(self, operation: str) -> _Cloudformation:
        self.called.add(operation.title().replace("_", ""))
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        yield {"StackResourceSummaries": []}


def allowed(policy: str, access: Access) -> bool:
    return any(allows(statement, access) for statement in POLICIES[policy])


def is_change(access: Access) -> bool:
    """Whether an access changes something that people ask for: writes, but not the entry in the audit trail."""
    return access.action.removeprefix("dynamodb:") in WRITES and not access.partition.startswith("AUDIT#")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_allowed(command: str, recorded: Mapping[str, set[Access]]) -> None:
    """The policy of each of its duties allows all that a command calls."""
    for duty in COMMANDS[command][0]:
        assert [access for access in sorted(recorded[command]) if not allowed(duty, access)] == [], duty


@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_is_allowed_by_its_duty_alone(command: str, recorded: Mapping[str, set[Access]]) -> None:
    """A command that changes something cannot be run by another duty's operators."""
    if not any(map(is_change, recorded[command])):
        return
    duties = {duty for duty in POLICIES if all(allowed(duty, access) for access in recorded[command])}

    assert duties == {*COMMANDS[command][0]}


def unused(duty: str, done: Sequence[Access]) -> Iterator[tuple[str, str]]:
    """The actions, resources and partition keys of a policy's statements that no access needs."""
    for statement in POLICIES[duty]:
        if statement["Action"] == OPENING:
            continue
        needed = [access for access in done if allows(statement, access)]
        actions, resources = {*statement["Action"]}, {*map(resource_name, statement["Resource"])}
        for action in actions - {access.action for access in needed}:
            yield action, " ".join(sorted(resources))
        for resource in resources - {access.resource for access in needed}:
            yield " ".join(sorted(actions)), resource
        for pattern in leading_keys(statement) or ():
            if not any(fnmatchcase(access.partition, pattern) for access in needed):
                yield " ".join(sorted(actions)), pattern


@pytest.mark.parametrize("duty", POLICIES)
def test_a_policy_allows_nothing_else(duty: str, recorded: Mapping[str, set[Access]]) -> None:
    """Each action, resource and partition key of a statement is needed by a command of the duty."""
    done = [access for command, (duties, _) in COMMANDS.items() if duty in duties for access in recorded[command]]

    assert {*unused(duty, done)} == {(action, of) for policy, action, of in NOT_ON_THAT_DAY if policy == duty}


@pytest.mark.parametrize("duty", POLICIES)
def test_tables_are_restricted_by_their_keys(duty: str) -> None:
    """A statement about a table names partition keys, but for scans, which have none and stand alone."""
    for statement in POLICIES[duty]:
        on_tables = [action for action in statement["Action"] if action.startswith("dynamodb:")]
        assert (leading_keys(statement) is None) == (on_tables in ([], ["dynamodb:Scan"], STREAM))


@pytest.mark.parametrize("duty", POLICIES)
def test_the_audit_trail_is_only_added_to(duty: str) -> None:
    """Nobody may change or remove entries of the audit trail."""
    for table in ("OrdersTable", "CatalogueTable", "AccountsTable"):
        for action in WRITES - {"PutItem"}:
            assert not allowed(duty, Access(f"dynamodb:{action}", table, "AUDIT#2026-11"))


def test_the_stack_is_read_by_all() -> None:
    """Each policy allows the calls by which a command finds the names of this stack's resources."""
    cloudformation = _Cloudformation()
    Stack.read(cloudformation)

    assert sorted(f"cloudformation:{one}" for one in cloudformation.called) == OPENING
    for duty, policy in POLICIES.items():
        (statement,) = (one for one in policy if one["Action"] == OPENING)
        (resource,) = statement["Resource"]
        assert resource["Fn::Sub"].endswith(":stack/${AWS::StackName}/*"), duty


@pytest.mark.parametrize("duty", POLICIES)
def test_policies_are_small_enough(duty: str) -> None:
    """A policy is within IAM's limit with the longest names that a stack gives its resources."""
    arn = "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/" + "x" * 80
    text = json.dumps(POLICIES[duty], separators=(",", ":"))
    for reference in re.findall(r'\{"Fn::GetAtt":\["\w+","\w+"\]\}', text):
        text = text.replace(reference, f'"{arn}"')

    assert len(text) <= LARGEST_POLICY


@pytest.mark.parametrize("duty", POLICIES)
def test_policies_can_be_found(duty: str) -> None:
    """Each policy's ARN is an output, and the page of operations has a row for it."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert TEMPLATE.document["Outputs"][f"{duty}Policy"]["Value"] == {"Ref": f"{duty}Policy"}
    assert f"\n| `{duty}Policy` | " in page
