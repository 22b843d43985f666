"""`ordering dead`: list, show and replay the messages in the local run's dead-letter queues."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ordering_tools.installation import Installation, NotDone, running_at
from ordering_tools.local.dead_letters import HELD_SECONDS, DeadLetter, DeadLetters, peek_at
from ordering_tools.local.engine.deployment import read_stack
from ordering_tools.local.engine.engine import connect
from ordering_tools.operations.commands import set_action
from ordering_tools.stacks import DeploymentError

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    listing = commands.add_parser("list", help="list the messages by queue, with their age and the reason")
    set_action(listing, run_list)
    show = commands.add_parser(
        "show", help="show a message, and the records that it names if the stream still has them"
    )
    show.add_argument("message", help="the message's id, or the start of it")
    set_action(show, run_show)
    replay = commands.add_parser(
        "replay", help="send a message back to its queue, or call the function again with the records that it names"
    )
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("message", nargs="?", help="the message's id, or the start of it")
    which.add_argument("--all", action="store_true", help="replay all messages, oldest first")
    set_action(replay, run_replay)
    for parser in (listing, show, replay):
        parser.add_argument("--queue", help="only the messages in this dead-letter queue")


@contextmanager
def open_dead_letters(state: Path) -> Iterator[DeadLetters]:
    """The dead-letter queues of the local run that uses the folder `state`.

    Raises:
        NoInstallation: It is not running.
        NotDone: A request to it failed.
    """
    running = running_at(state)
    try:
        yield DeadLetters(
            stack=read_stack(running.services),
            services=running.services,
            sqs=connect("sqs", running.services),
            functions=connect("lambda", running.services),
            # A second attempt would call the function while the first call is in flight.
            invoker=connect("lambda", running.functions, timeout=HELD_SECONDS, attempts=1),
            streams=connect("dynamodbstreams", running.endpoint),
            peek=partial(peek_at, running.services),
        )
    except (BotoCoreError, ClientError, DeploymentError) as error:
        raise NotDone(f"the request to the local run failed: {error}") from error


def run_list(_: Installation, arguments: argparse.Namespace) -> None:
    """Print the messages of the dead-letter queues, a line each."""
    with open_dead_letters(arguments.state) as letters:
        names = _names(letters, arguments.queue)
        if not names:
            print("the template has no dead-letter queue")
        for name in names:
            messages = letters.messages(name)
            print(name if messages else f"{name}: empty")
            for message in messages:
                print(f"  {message.id}  {age(message.sent, datetime.now(UTC)):>6}  {message.reason}")


def run_show(_: Installation, arguments: argparse.Namespace) -> None:
    """Print a message of a dead-letter queue, with the stream records that it names."""
    with open_dead_letters(arguments.state) as letters:
        message = find_message(letters, arguments.message, arguments.queue)
        records = letters.records(message)
    print(f"{message.queue} {message.id}, sent {message.sent:%Y-%m-%d %H:%M:%SZ}: {message.reason}")
    print(_pretty(message.body))
    if message.batch:
        print(f"{len(records)} of {message.batch.records.batch_size} records are still in the stream")
        for record in records:
            print(json.dumps(record, indent=2, ensure_ascii=False))


def run_replay(_: Installation, arguments: argparse.Namespace) -> None:
    """Replay a message, or all, and print the outcome of each."""
    with open_dead_letters(arguments.state) as letters:
        if not arguments.all:
            message = find_message(letters, arguments.message, arguments.queue)
            print(f"{message.id}: {letters.replay(message)}")
            return
        messages = _messages(letters, arguments.queue)
        failed = 0
        for message in messages:
            try:
                print(f"{message.id}: {letters.replay(message)}")
            except NotDone as error:
                failed += 1
                print(error)
    if failed:
        raise NotDone(f"{failed} of {len(messages)} messages could not be replayed")


def find_message(letters: DeadLetters, start: str, queue: str | None) -> DeadLetter:
    """The one message whose id starts with `start`, in `queue` or in all dead-letter queues.

    Raises:
        NotDone: There is no such message or queue, or more than one message.
    """
    match [message for message in _messages(letters, queue) if message.id.startswith(start)]:
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


def _messages(letters: DeadLetters, queue: str | None) -> list[DeadLetter]:
    return [message for name in _names(letters, queue) for message in letters.messages(name)]


def _names(letters: DeadLetters, queue: str | None) -> list[str]:
    if queue is None:
        return letters.names
    if queue not in letters.names:
        raise NotDone(f"'{queue}' is not a dead-letter queue; there are: {', '.join(letters.names) or 'none'}")
    return [queue]


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body
