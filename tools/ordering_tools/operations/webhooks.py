"""`ordering webhook`: where events of partners' orders are sent, for operators, and a receiver for developers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ordering.aws.sealer import EnvelopeSealer
from ordering.contexts import event_types
from ordering.identifiers import canonical_uuid
from ordering.identity.accounts import Accounts
from ordering.webhooks.delivery import Deliverer, Parked
from ordering.webhooks.registrations import Webhook, Webhooks
from ordering.webhooks.transport import not_posted
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations import webhook_receiver as listening
from ordering_tools.operations.commands import does

KEY = "alias/WebhookSecretsKey"
"""The key in KMS that seals the secrets."""

_PART = 100


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    add = commands.add_parser("add", help="register an address; prints its id and its secret, which is shown this once")
    listing = commands.add_parser("list", help="the addresses of a partner")
    remove = commands.add_parser("remove", help="send nothing more to an address")
    enable = commands.add_parser("enable", help="send to an address again, also what it has missed")
    secret = commands.add_parser("secret", help="print a new secret; the one before it signs for another day")
    parked = commands.add_parser("parked", help="the events that an address did not take")
    replay = commands.add_parser("replay", help="send what was not taken once more")
    for parser in (add, listing, remove, enable, secret, parked, replay):
        parser.add_argument("partner", help="the partner's id, for instance northwind in the demo data")
    for parser in (remove, enable, secret, parked, replay):
        parser.add_argument("webhook", help="its id")
    add.add_argument("url", help="for instance http://127.0.0.1:8787/, where `ordering webhook listen` listens")
    add.add_argument(
        "--type",
        action="append",
        default=[],
        choices=sorted(event_types()),
        help="a type to send, once for each; default: all",
    )
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("event", nargs="?", help="the event's id")
    which.add_argument("--all", action="store_true", help="everything that is parked now")
    does(add, run_add)
    does(listing, run_list)
    does(remove, run_remove)
    does(enable, run_enable)
    does(secret, run_secret)
    does(parked, run_parked)
    does(replay, run_replay)
    listening.add_arguments(commands.add_parser("listen", help="receive events here, and print each"))


def run_add(installation: Installation, arguments: argparse.Namespace) -> None:
    """Register an address and print its id and secret."""
    if Accounts(installation.accounts).partner(arguments.partner) is None:
        raise NotDone(f"there is no partner '{arguments.partner}'")
    webhook, secret = _webhooks(installation).register(arguments.partner, arguments.url, arguments.type)
    print(webhook.id, secret)


def run_list(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a partner's addresses, a line each."""
    for webhook in sorted(_webhooks(installation).all(arguments.partner), key=lambda one: one.since):
        print(_line(webhook))


def run_remove(installation: Installation, arguments: argparse.Namespace) -> None:
    """Remove an address."""
    _webhooks(installation).remove(arguments.partner, arguments.webhook)


def run_enable(installation: Installation, arguments: argparse.Namespace) -> None:
    """Enable an address and print it."""
    print(_line(deliverer_of(installation).enable(arguments.partner, arguments.webhook)))


def run_secret(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a new secret."""
    _, secret = _webhooks(installation).replace_secret(arguments.partner, arguments.webhook)
    print(secret)


def run_parked(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print the events that an address did not take, a line each."""
    for event in _parked(installation, arguments):
        print(
            f"{event.event}  {event.at:%Y-%m-%d %H:%M:%SZ}  {event.order} {event.index + 1}  {event.type}  {event.why}"
        )


def run_replay(installation: Installation, arguments: argparse.Namespace) -> None:
    """Replay an event, or all, and print how many."""
    events = [one.event for one in _parked(installation, arguments)] if arguments.all else [_event(arguments.event)]
    deliverer = deliverer_of(installation)
    for event in events:
        deliverer.replay(arguments.partner, arguments.webhook, event)
    print(f"{len(events)} on the way; what is not taken stays parked")


def deliverer_of(installation: Installation) -> Deliverer:
    """Return what puts messages onto the queue, and posts nothing by itself."""
    return Deliverer(
        installation.orders, installation.accounts, _webhooks(installation), not_posted, installation.webhook_queue
    )


def _webhooks(installation: Installation) -> Webhooks:
    return Webhooks(installation.accounts, EnvelopeSealer(installation.kms, KEY), anywhere=True)


def _event(text: str) -> str:
    if (event := canonical_uuid(text)) is None:
        raise NotDone(f"{text} is no event's id, which is a UUID; `webhook parked` has them all")
    return event


def _parked(installation: Installation, arguments: argparse.Namespace) -> Iterator[Parked]:
    deliverer = deliverer_of(installation)
    last = ""
    while part := deliverer.parked(arguments.partner, arguments.webhook, _PART, last):
        yield from part
        last = part[-1].event


def _line(webhook: Webhook) -> str:
    types = ", ".join(sorted(webhook.types)) or "all types"
    state = f"disabled: {webhook.disabled}" if webhook.disabled else "enabled"
    return f"{webhook.id}  {webhook.since:%Y-%m-%d %H:%M:%SZ}  {state}  {webhook.url}  {types}"
