"""`ordering dead`: lists, shows and replays the messages in the dead-letter queues."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ordering_tools.installation import ROOT, Installation, NotDone
from ordering_tools.local.dead_letters import HELD_SECONDS, DeadLetter, DeadLetters, peek_at, receive_all
from ordering_tools.local.engine.engine import connect
from ordering_tools.operations.commands import Group, Run, pass_run, with_reason
from ordering_tools.operations.lost_records import Recovery, Span

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_OPERATIONS = ROOT / "docs" / "operations.md"

_QUEUE = click.option("--queue", metavar="NAME", help="Only the messages in this dead-letter queue.")
_MESSAGE = "The message's id, or its start."


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering dead list
  ordering dead show 3f2a
  ordering dead replay 3f2a --reason "ticket 17"
  ordering dead replay --all --queue MailDeadLetters
""",
)
def group() -> None:
    """List, show and replay the messages in the dead-letter queues."""


@contextmanager
def open_dead_letters(site: Installation) -> Iterator[DeadLetters]:
    """The dead-letter queues of an installation.

    Raises:
        NotDone: A request to it failed.
    """
    sqs, running = site.connect("sqs"), site.running
    try:
        yield DeadLetters(
            stack=site.stack,
            sqs=sqs,
            functions=site.connect("lambda"),
            # A second attempt would call the function while the first call is in flight.
            invoker=(
                connect("lambda", running.functions, timeout=HELD_SECONDS, attempts=1)
                if running
                else site.connect("lambda", config=Config(read_timeout=HELD_SECONDS, retries={"total_max_attempts": 1}))
            ),
            streams=site.connect("dynamodbstreams"),
            peek=partial(peek_at, running.services) if running else partial(receive_all, sqs),
            services=running.services if running else "",
        )
    except (BotoCoreError, ClientError) as error:
        raise NotDone(f"the request to {site.title} failed: {error}") from error


@group.command("list")
@_QUEUE
@pass_run
def list_all(run: Run, queue: str | None) -> None:
    """List the messages with their age and the reason, by queue, oldest first.

    In AWS they are received for this, so that for a moment another command does not find them.
    """
    with open_dead_letters(run.site) as letters:
        names = _names(letters, queue)
        now = datetime.now(UTC)
        rows = [
            {
                "queue": name,
                "message": message.id[:8],
                "age": age(message.sent, now),
                "reason": message.reason,
                "id": message.id,
                "sent": message.sent,
            }
            for name in names
            for message in letters.messages(name)
        ]
    empty = f"no message in {', '.join(names)}" if names else "the stack has no dead-letter queue"
    run.output.rows(rows, empty=empty, columns=("queue", "message", "age", "reason"))


@group.command()
@click.argument("message", help=_MESSAGE)
@_QUEUE
@pass_run
def show(run: Run, message: str, queue: str | None) -> None:
    """Show a message by its id or the start of it, and what to do about it.

    A message of the stream names records; they are shown while the stream has them, for a day.
    """
    with open_dead_letters(run.site) as letters:
        found = find_message(letters, message, queue)
        records = letters.records(found)
    body, batch = _parsed(found.body), found.batch
    what_to_do = remedy(found.queue)
    if run.json:
        values = {"id": found.id, "queue": found.queue, "sent": found.sent, "reason": found.reason, "body": body}
        run.output.document({**values, "whatToDo": what_to_do, "records": records})
        return
    click.echo(f"{found.queue} {found.id}, sent {found.sent:%Y-%m-%d %H:%M:%SZ}: {found.reason}")
    click.echo(body if isinstance(body, str) else _pretty(body))
    if batch:
        click.echo(f"{len(records)} of {batch.records.batch_size} records are still in the stream")
        for record in records:
            click.echo(_pretty(record))
    if what_to_do:
        click.echo(f"What to do: {what_to_do}")


@group.command()
@click.argument("message", required=False, help=_MESSAGE)
@click.option("--all", "all_", is_flag=True, help="Replay all messages.")
@_QUEUE
@click.option("--scan", is_flag=True, help="If the stream has lost the records, find their work in the orders table.")
@with_reason
@pass_run
def replay(  # noqa: PLR0913 - the command's options
    run: Run, message: str | None, queue: str | None, reason: str, *, all_: bool, scan: bool
) -> None:
    """Send a message back to its queue, or call the function again with the records that it names.

    A replay is safe any number of times: finished work is recognised and skipped. The stream keeps records for a day.
    With --scan, the work of older ones is found in the orders table: it reads the whole table once, a read unit for
    every 4 KB, and puts what was changed at that time, or is unfinished, on the queue of deferred items.
    """
    if bool(message) == all_:
        raise click.UsageError("name a message, or say --all")
    with open_dead_letters(run.site) as letters:
        names = _names(letters, queue)
        found = None if all_ else find_message(letters, message or "", queue)
        subject = f"dead-letter {found.id}" if found else f"dead-letters {queue or '--all'}"
        asks = "where the stream has lost the records, it reads the whole orders table" if scan else ""
        with run.change(subject, reason, asks=asks) as site, run.output.progress("items read") as advance:
            site.note()
            if scan:
                wanted = [found] if found else (one for name in names for one in letters.messages(name))
                spans = {span for one in wanted if one.batch and (span := Span.of(one.batch))}
                recovery = Recovery(letters, run.site.orders, spans, advance)
                letters = replace(letters, recover=recovery)  # noqa: PLW2901 - the same queues
            outcomes = [_replayed(letters, found)] if found else _all_replayed(letters, names)
            done = list(_told(run, outcomes))
    run.output.rows(done) if run.json else None
    if failed := sum(not each["done"] for each in done):
        raise NotDone(f"{failed} of {len(done)} messages could not be replayed")


def _told(run: Run, outcomes: Any) -> Iterator[dict[str, Any]]:
    for message, outcome in outcomes:
        if not run.json:
            click.echo(outcome if isinstance(outcome, NotDone) else f"{message.id}: {outcome}")
        done = not isinstance(outcome, NotDone)
        yield {"id": message.id, "queue": message.queue, "done": done, "outcome": str(outcome)}


def _replayed(letters: DeadLetters, message: DeadLetter) -> tuple[DeadLetter, str | NotDone]:
    return message, letters.replay(message)


def _all_replayed(letters: DeadLetters, names: list[str]) -> Iterator[tuple[DeadLetter, str | NotDone]]:
    for name in names:
        yield from letters.replay_all(name)


def remedy(queue: str) -> str:
    """What docs/operations.md says to do about messages in a dead-letter queue; empty if it says nothing."""
    try:
        text = _OPERATIONS.read_text(encoding="utf-8")
    except FileNotFoundError:  # the tools are installed without the project
        return ""
    row = re.search(rf"^\| `{re.escape(queue)}` \|.*\|(.*)\|$", text, re.MULTILINE)
    return row[1].strip() if row else ""


def find_message(letters: DeadLetters, start: str, queue: str | None) -> DeadLetter:
    """The one message whose id starts with `start`, in `queue` or in all dead-letter queues.

    Raises:
        NotDone: There is no such message or queue, or more than one message.
    """
    messages = [message for name in _names(letters, queue) for message in letters.messages(name)]
    match [message for message in messages if message.id.startswith(start)]:
        case [message]:
            return message
        case []:
            raise NotDone(f"no message has an id that starts with '{start}'; see `ordering dead list`")
        case found:
            raise NotDone(f"{len(found)} messages have an id that starts with '{start}'")


def age(since: datetime, now: datetime) -> str:
    """The time since a moment, in the largest unit that gives one or more."""
    seconds = max(0, int((now - since).total_seconds()))
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _names(letters: DeadLetters, queue: str | None) -> list[str]:
    if queue is None:
        return letters.names
    if queue not in letters.names:
        raise NotDone(f"'{queue}' is not a dead-letter queue; there are: {', '.join(letters.names) or 'none'}")
    return [queue]


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
