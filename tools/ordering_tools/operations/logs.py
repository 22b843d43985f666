"""`ordering logs`: what the functions logged about an order or a request, by time.

In AWS the lines are found by `FilterLogEvents`, in each log group of the stack: it costs nothing, finds a line some
seconds after it was written, and can be allowed for these log groups alone. A query of Logs Insights would be faster on
many gigabytes, but costs 0.005 USD for each of them, and reading its results cannot be restricted to log groups.
"""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ordering.clock import system_clock
from ordering_tools.console import shown
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.state import FUNCTIONS_LOG
from ordering_tools.operations.commands import Command, Run, Since, pass_run
from ordering_tools.operations.finding import ORDER, order_named

LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")
"""The levels of lines, as they are written, from the least."""

_A_DAY = timedelta(days=1)
_A_MINUTE = timedelta(minutes=1)
"""By how much the clocks of functions may differ."""

_GROUP, _FUNCTION = "Logs", "Function"
"""How the logical ids of log groups and functions end; before that, those of a function and its group are the same."""

_REQUEST = "0123456789abcdefABCDEF-"
_OF_REQUEST = ("request", "correlation")
"""The keys that have a request's id: on its own lines, and on those of the work that follows from its order."""

_COLUMNS = ("at", "function", "level", "message", "what")
_ACCESS = "Access"
"""The access log's place among the functions: its log group is `AccessLogs`."""

_NO_VALUE = "-"
"""API Gateway's sign for a variable without a value."""

_ALWAYS = frozenset(
    {
        *("timestamp", "level", "message", "logger", "requestId", "function", "location", "stackTrace", "_aws"),
        *("time", "extendedRequest", "functionRequest", "authorizerRequest", "domain", "protocol", "agent"),
    }
)
"""What each line has, or only an engineer reads: with `--json` it is printed too."""

Line = dict[str, Any]
"""A line as the function wrote it, with the function's name, and the time as `at`."""


@dataclass(frozen=True)
class Wanted:
    """Which lines are wanted: those about an order or a request, at this level or above, since a moment."""

    since: datetime
    level: str = LEVELS[0]
    order: str | None = None
    request: str | None = None
    function: str | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The wanted levels."""
        return LEVELS[LEVELS.index(self.level) :]

    @property
    def pattern(self) -> str:
        """The filter pattern of CloudWatch Logs."""
        order = [f'($.order = "{self.order}")'] if self.order else []
        request = [_any(_OF_REQUEST, [self.request])] if self.request else []
        return f"{{ {' && '.join([*order, *request, _any(['level'], self.levels)])} }}"

    def has(self, line: Mapping[str, Any]) -> bool:
        """Whether a line is one of them."""
        return (
            line.get("level") in self.levels
            and self.order in (None, line.get("order"))
            and self.request in (None, *map(line.get, _OF_REQUEST))
            and self.function in (None, line["function"])
            and line["at"] >= self.since
        )


def _any(names: Iterable[str], values: Iterable[str]) -> str:
    """Return the part of a pattern that one of these keys has one of these values."""
    equalities = [f'($.{name} = "{value}")' for name in names for value in values]
    return f"({' || '.join(equalities)})"


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  ordering logs 51
  ordering logs granite-rewards/12 --since 3d --level warning
  ordering logs --request 0ba0c2c5-0204-4429-b47c-7dde9ae2ae72
  ordering logs --function Stream --level warning --since 1h
""",
)
@click.argument("order", required=False, help=ORDER)
@click.option("--request", metavar="ID", help="The lines of a request and of what followed, by its X-Request-Id.")
@click.option("--function", metavar="NAME", help="Only of this function: Stream, Mails, …; Access is the access log.")
@click.option("--since", type=Since(), help="Only lines since then: 2h, 3d or a date; by default for a day.")
@click.option(
    "--level",
    type=click.Choice([level.lower() for level in LEVELS], case_sensitive=False),
    help="Only lines of this level or above.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="The latest lines.")
@pass_run
def command(  # noqa: PLR0913 - the command's options
    run: Run,
    order: str | None,
    *,
    request: str | None,
    function: str | None,
    since: datetime | None,
    level: str | None,
    limit: int,
) -> None:
    """Show what the functions logged about an order or a request.

    With --request, the work on the order that the request created follows, to its mails and webhooks.

    On a stack it searches all log groups from --since on, which takes the longer, the more was logged.
    """
    if order is request is function is level is None:
        raise click.UsageError("name an order, or say --request, --function or --level")
    name, placed = _named(run.site, order) if order else (None, None)
    begin = since or system_clock() - _A_DAY
    wanted = Wanted(
        max(begin, placed - _A_MINUTE) if placed else begin,
        (level or LEVELS[0]).upper(),
        name,
        _request_id(request) if request else None,
        function,
    )
    count, latest = 0, deque[Line](maxlen=limit)
    for line in _lines(run, wanted):
        count += 1
        latest.append(line)
    if count > limit:
        run.output.line(f"the latest {limit:,} of {count:,} lines; see --limit")
    if run.json:
        run.output.document([*latest])
        return
    rows = [{**line, "what": _what(line, wanted)} for line in latest]
    run.output.rows(rows, empty=_nothing(run, wanted, order, placed), columns=_COLUMNS)
    if request and (orders := {line["order"]: None for line in latest if "order" in line}):
        run.output.line("\n".join(f"all about the order: ordering logs '{name}'" for name in orders))


def _named(site: Installation, text: str) -> tuple[str, datetime | None]:
    """Return the name of an order that an operator names, and when it was placed.

    A name in the form of logs may be that of an order that is gone; then the time is None.
    """
    if "#" in text and '"' not in text:
        return text, None
    order = order_named(site, text)
    return order.name, order.created


def _request_id(text: str) -> str:
    if not text.strip(_REQUEST):
        return text
    raise click.UsageError(f"'{text}' is not the id of a request, which is the X-Request-Id of the response")


def _lines(run: Run, wanted: Wanted) -> Iterator[Line]:
    """Yield the wanted lines by time; the memory that it takes does not depend on how many there are.

    Raises:
        NotDone: The function does not exist, or AWS refuses.
    """
    site = run.site
    if site.local:
        yield from _lines_of_file(run.state / FUNCTIONS_LOG, wanted)
        return
    groups = log_groups(site)
    if wanted.function not in (None, *groups):
        raise NotDone(f"'{wanted.function}' is not a function; there are: {', '.join(sorted(groups))}")
    chosen = {name: group for name, group in groups.items() if wanted.function in (None, name)}
    client = site.connect("logs")
    try:
        with run.output.progress("log groups searched", len(chosen)) as advance:
            found = [_lines_of_group(client, name, group, wanted, advance) for name, group in chosen.items()]
            yield from heapq.merge(*found, key=lambda line: line["at"])
    except (BotoCoreError, ClientError) as error:
        raise NotDone(f"the logs of {site.title} cannot be read: {error}; see docs/operations.md, Rights") from error


def log_groups(site: Installation) -> dict[str, str]:
    """The log groups of a stack, by the function's logical id without `Function`."""
    resources = site.stack.resources
    return {name.removesuffix(_GROUP): group for name, group in resources.items() if name.endswith(_GROUP)}


def _lines_of_group(
    client: Any, function: str, group: str, wanted: Wanted, advance: Callable[[int], None]
) -> Iterator[Line]:
    request = {"logGroupName": group, "filterPattern": wanted.pattern}
    token: dict[str, str] = {}
    while True:
        page = client.filter_log_events(**request, startTime=int(wanted.since.timestamp() * 1000), **token)
        for event in page["events"]:
            at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
            yield {**json.loads(event["message"]), "function": function, "at": at}
        if not page.get("nextToken"):
            break
        token = {"nextToken": page["nextToken"]}
    advance(1)


def _lines_of_file(path: Path, wanted: Wanted) -> Iterator[Line]:
    """Yield the wanted lines of the local run's log, which all functions write to."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NotDone(
            f"{path} is missing: no function has run yet, or the run was started with DEBUG=1 and logs on its terminal"
        ) from None
    with file:
        for text in file:
            line = _read(text)
            if line and wanted.has(line):
                yield line


def _read(text: str) -> Line | None:
    """Read a line of the local log; None for metrics, and for what a function printed."""
    try:
        line: Line = json.loads(text)
        if line["message"] == "access":
            return {**line, "function": _ACCESS, "at": datetime.fromtimestamp(line["time"] / 1000, UTC)}
        at = datetime.fromisoformat(line["timestamp"]).astimezone(UTC)
    except (ValueError, TypeError, KeyError):
        return None
    return {**line, "function": (line.get("function") or "").removesuffix(_FUNCTION), "at": at}


def _what(line: Line, wanted: Wanted) -> str:
    known = {*_ALWAYS, "at", *(["order"] if wanted.order else []), *(_OF_REQUEST if wanted.request else [])}
    more = {name: value for name, value in line.items() if name not in known and value != _NO_VALUE}
    return shown(more)


def _nothing(run: Run, wanted: Wanted, order: str | None, placed: datetime | None) -> str:
    """Say that nothing was found, and what to do."""
    days = run.site.stack.parameters.get("LogRetentionDays")
    kept = f" (lines are kept for {days} days)" if days else ""
    back = f"go back to when it was placed with --since {placed:%Y-%m-%d}" if placed else "go back further with --since"
    ways = [f"{back}{kept}"] if placed is None or placed < wanted.since else []
    ways += ["leave out --level"] if wanted.level != LEVELS[0] else []
    ways += [f"see what the tables have with `ordering order trace {order}`"] if order else []
    return f"no line since {shown(wanted.since)}: {', or '.join(ways)}"
