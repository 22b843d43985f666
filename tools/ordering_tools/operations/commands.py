"""The common part of the `ordering` command's commands: which installation they act on, and how they change it.

A command is a function whose first argument is its `Run`:

    @group.command()
    @click.argument("partner")
    @with_reason
    @pass_run
    def disable(run: Run, partner: str, reason: str) -> None:
        with run.change(f"partner {partner}", reason, before={"active": True}, after={"active": False}) as site:
            Accounts(site.accounts).set_active(partner, active=False)
        run.output.line(f"{partner} is disabled")
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from ordering.clock import system_clock
from ordering.identifiers import is_plain_id
from ordering.identity.accounts import Accounts, Partner
from ordering_tools.audit import AuditEntry
from ordering_tools.console import Output
from ordering_tools.installation import DEFAULT_STATE, Installation, NotDone, open_stack, reopen, running_at
from ordering_tools.local.engine.state import Running

REASON = "Why, for instance a ticket's number; kept in the audit trail."
"""The help of `--reason`."""

_AGO = re.compile("([0-9]{1,9})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_UNCUT = 1_000
"""More characters than a sentence has."""

LARGEST_PORT = 65_535

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Run:
    """One run of a command: what was chosen by the options that all commands have."""

    stack: str | None = None
    profile: str | None = None
    region: str | None = None
    state: Path = DEFAULT_STATE
    json: bool = False
    yes: bool = False
    command: str = ""
    """The command's name with those of its groups: `partner disable`."""
    _opened: Installation | None = field(default=None, repr=False)

    @property
    def output(self) -> Output:
        """Where the results go."""
        return Output(as_json=self.json)

    @property
    def site(self) -> Installation:
        """The installation that the command acts on.

        Raises:
            NotDone: It cannot be reached.
        """
        if self._opened is None:
            self._opened = open_stack(self.stack, self.profile, self.region) if self.stack else reopen(self.state)
        return self._opened

    def local_run(self, advice: str = "start it with `make serve`") -> Running:
        """The addresses of the local run, for a command that has no meaning on a stack in AWS.

        Args:
            advice: What the error says to do if there is none.

        Raises:
            NotDone: A stack was chosen, or no local run uses the state folder.
        """
        if self.stack:
            raise NotDone(f"`ordering {self.command}` is for the local run only: leave out --stack and ORDERING_STACK")
        return running_at(self.state, advice)

    @contextmanager
    def change(
        self,
        subject: str,
        reason: str = "",
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        asks: str = "",
    ) -> Iterator[Installation]:
        """The installation for a change: each of its writes is noted in the audit trail.

        Args:
            subject: What is changed, as an operator names it: `partner northwind`.
            reason: Why; see `with_reason` and `with_required_reason`.
            before: What the change replaces, without secrets.
            after: What it is replaced by, without secrets.
            asks: The consequence of a change that cannot be undone, as a sentence without its full stop. It is asked
                for on the local run too; other changes only on a stack in AWS.

        Raises:
            NotDone: The change was not agreed to.
        """
        self._agree(subject, asks)
        entry = AuditEntry(self.command, subject, self.site.caller, system_clock(), reason, before or {}, after or {})
        yield self.site.with_entry(entry)

    def _agree(self, subject: str, asks: str) -> None:
        if self.yes or (self.site.local and not asks):
            return
        question = f"{self.command} {subject.partition(' ')[2]}".rstrip()
        place = self.site.title
        if not sys.stdin.isatty():
            raise NotDone(f"`{question}` changes {place}{f': {asks}' if asks else ''}; agree to it with --yes")
        click.confirm(f"{place}\n{question}{f': {asks}' if asks else ''}. Go on?", abort=True, err=True)


class Since(click.ParamType[datetime]):
    """A time in the past: `2h`, `3d`, or a date with or without a time, in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the option's value, and refuse what is no time or is in the future."""
        if isinstance(value, datetime):
            return value
        now = system_clock()
        try:
            if match := _AGO.fullmatch(value):
                return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
            at = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"'{value}' is no time; write it like 2h, 3d, 2026-11-29 or 2026-11-29T08:15Z", param, ctx)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if at > now:
            self.fail(f"'{value}' is in the future", param, ctx)
        return at


pass_run = click.make_pass_decorator(Run)
"""Passes the `Run` as the first argument."""


def with_reason(function: F) -> F:
    """Add `--reason TEXT`."""
    return click.option("--reason", default="", help=REASON)(function)


def with_required_reason(function: F) -> F:
    """Add `--reason TEXT` as a required option: for changes of money, statuses and secrets."""
    return click.option("--reason", required=True, help=REASON)(function)


def short_caller(caller: str) -> str:
    """Return who a caller is within the account: `support/ann` for the ARN of an assumed role, `ann` for a user's."""
    return caller.rpartition(":")[2].partition("/")[2] if caller.startswith("arn:") else caller


def partner_of(site: Installation, partner_id: str) -> Partner:
    """Read a partner.

    Raises:
        NotDone: There is no such partner.
    """
    partner = Accounts(site.accounts).partner(partner_id) if is_plain_id(partner_id) else None
    if partner is None:
        raise NotDone(f"there is no partner '{partner_id}'; see `ordering partner list`")
    return partner


def unit_of(partner: Partner, unit: str | None) -> str:
    """The id of the business unit that is meant, by its id or its name.

    Raises:
        NotDone: The partner does not have it, or has not exactly one and none is named.
    """
    units = partner.business_units
    found = [one.id for one in units if unit in (None, one.name) or (unit and unit.lower() == one.id)]
    if len(found) != 1:
        known = ", ".join(f"{one.id} ({one.name})" for one in units) or "it has none"
        raise NotDone(f"name one of {partner.id}'s business units with --unit: {known}")
    return found[0]


class _Port(click.ParamType[int]):
    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and int(text[:6]) <= LARGEST_PORT):
            self.fail(f"a port is a number from 0 to {LARGEST_PORT}, not '{text}'", param, ctx)
        return int(text)


PORT = _Port()
"""The type of options that are a TCP port; 0 takes any free one."""


READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The type of arguments that are a file to read."""


class Command(click.Command):
    """A command with the options that all commands have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own = len(self.params)
        self.params += _common_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its name is that of the audit trail."""
        run = ctx.ensure_object(Run)
        run.command = ctx.command_path.partition(" ")[2]
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the common options after the command's own, under a title of their own."""
        # Click lists the arguments before, in a section of their own.
        parameters = self.get_params(ctx)
        records = [one.get_help_record(ctx) if isinstance(one, click.Option) else None for one in parameters]
        own, common = records[: self._own], records[self._own :]
        for title, rows in (("Options", own), ("Options of every command", common)):
            if shown := [row for row in rows if row]:
                with formatter.section(title):
                    formatter.write_dl(shown)


class Group(click.Group):
    """A group of commands with the common options."""

    command_class = Command
    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first sentences, which click would cut off at the line's end."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_UNCUT)) for name, one in found if one])


def _common_options() -> list[click.Parameter]:
    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def store(ctx: click.Context, _: click.Parameter, value: Any) -> None:
            if value is not None:
                setattr(ctx.ensure_object(Run), name, value)

        return store

    def option(name: str, **attributes: Any) -> click.Option:
        return click.Option([f"--{name}"], expose_value=False, callback=keep(name), **attributes)

    return [
        option("stack", metavar="NAME", envvar="ORDERING_STACK", help="A stack in AWS; else the local run."),
        option("profile", metavar="NAME", help="A profile of the AWS CLI's configuration."),
        option("region", metavar="NAME", help="The stack's region; else the profile's."),
        option("json", is_flag=True, default=None, help="Print JSON."),
        option("yes", is_flag=True, default=None, help="Do not ask before a change."),
        option("state", type=click.Path(path_type=Path), hidden=True),
    ]


def columns() -> int:
    """The width of help texts: that of the terminal, at most 120."""
    try:
        return min(os.get_terminal_size().columns, 120)
    except OSError:
        return 100
