"""`ordering webhook`: manages partners' webhooks, for operators, and receives their events, for developers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ordering.aws.sealer import EnvelopeSealer
from ordering.contexts import event_types
from ordering.identifiers import canonical_uuid
from ordering.identity.accounts import Accounts
from ordering.webhooks.delivery import Deliverer, Parked, Withheld
from ordering.webhooks.health import Health
from ordering.webhooks.registrations import Webhook, Webhooks
from ordering.webhooks.transport import not_posted
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.aws_account import key_alias
from ordering_tools.operations import webhook_receiver
from ordering_tools.operations.commands import set_action

KEY = key_alias("WebhookSecretsKey")
"""The key in KMS that encrypts the secrets."""

_PART = 100
_WELL = Health()


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    add = commands.add_parser("add", help="register a webhook; prints its id and its secret, which is shown only once")
    listing = commands.add_parser("list", help="list the webhooks of a partner")
    remove = commands.add_parser("remove", help="delete a webhook")
    enable = commands.add_parser(
        "enable", help="enable a webhook again or end its pause, and send the events that it missed"
    )
    secret = commands.add_parser("secret", help="print a new secret; the previous one also signs for another day")
    parked = commands.add_parser("parked", help="list the events that could not be delivered")
    replay = commands.add_parser("replay", help="send parked events again")
    for parser in (add, listing, remove, enable, secret, parked, replay):
        parser.add_argument("partner", help="the partner's id, for instance northwind in the demo data")
    for parser in (remove, enable, secret, parked, replay):
        parser.add_argument("webhook", help="the webhook's id")
    add.add_argument("url", help="the endpoint, for instance http://127.0.0.1:8787/ for `ordering webhook listen`")
    add.add_argument(
        "--type",
        action="append",
        default=[],
        choices=sorted(event_types()),
        metavar="TYPE",
        help="a type of events to send, for instance ordering.training_order.new; repeatable; default: all types",
    )
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("event", nargs="?", help="the event's id")
    which.add_argument("--all", action="store_true", help="replay all parked events")
    set_action(add, run_add)
    set_action(listing, run_list)
    set_action(remove, run_remove)
    set_action(enable, run_enable)
    set_action(secret, run_secret)
    set_action(parked, run_parked)
    set_action(replay, run_replay)
    webhook_receiver.add_arguments(commands.add_parser("listen", help="receive events on this machine and print them"))


def run_add(installation: Installation, arguments: argparse.Namespace) -> None:
    """Register a webhook and print its id and secret."""
    if Accounts(installation.accounts).partner(arguments.partner) is None:
        raise NotDone(f"there is no partner '{arguments.partner}'")
    webhook, secret = webhooks_of(installation).register(arguments.partner, arguments.url, arguments.type)
    print(webhook.id, secret)


def run_list(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a partner's webhooks, a line each."""
    found = webhooks_of(installation).all_with_health(arguments.partner)
    for webhook, health in sorted(found, key=lambda one: one[0].since):
        print(_line(webhook, health))


def run_remove(installation: Installation, arguments: argparse.Namespace) -> None:
    """Delete a webhook."""
    webhooks_of(installation).remove(arguments.partner, arguments.webhook)


def run_enable(installation: Installation, arguments: argparse.Namespace) -> None:
    """Enable a webhook and print it."""
    print(_line(deliverer_of(installation).enable(arguments.partner, arguments.webhook)))


def run_secret(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a new secret."""
    _, secret = webhooks_of(installation).replace_secret(arguments.partner, arguments.webhook)
    deliverer_of(installation).end_pause_if_possible(arguments.partner, arguments.webhook)
    print(secret)


def run_parked(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print the parked events of a webhook, a line each."""
    for event in _parked(installation, arguments):
        print(
            f"{event.event}  {event.at:%Y-%m-%d %H:%M:%SZ}  {event.order} {event.index + 1}  {event.type}  {event.why}"
        )


def run_replay(installation: Installation, arguments: argparse.Namespace) -> None:
    """Put one or all parked events on the queue again, and print how many.

    With `--all`, events of orders that the partner may not see now are left out.
    """
    events = [one.event for one in _parked(installation, arguments)] if arguments.all else [_event(arguments.event)]
    deliverer = deliverer_of(installation)
    withheld = 0
    for event in events:
        try:
            deliverer.replay(arguments.partner, arguments.webhook, event)
        except Withheld:
            if not arguments.all:
                raise
            withheld += 1
    print(f"{len(events) - withheld} on the queue; events that fail again stay parked")
    if withheld:
        print(f"{withheld} left out: the partner is switched off or lacks the grant for their orders")


def deliverer_of(installation: Installation) -> Deliverer:
    """A deliverer that puts messages on the queue, and sends none itself."""
    return Deliverer(
        installation.orders, installation.accounts, webhooks_of(installation), not_posted, installation.webhook_queue
    )


def webhooks_of(installation: Installation) -> Webhooks:
    """The webhooks of all partners."""
    return Webhooks(installation.accounts, EnvelopeSealer(installation.kms, KEY), anywhere=True)


def _event(text: str) -> str:
    if (event := canonical_uuid(text)) is None:
        raise NotDone(f"'{text}' is not a valid event id, which is a UUID; see `ordering webhook parked`")
    return event


def _parked(installation: Installation, arguments: argparse.Namespace) -> Iterator[Parked]:
    deliverer = deliverer_of(installation)
    last = ""
    while part := deliverer.parked(arguments.partner, arguments.webhook, _PART, last):
        yield from part
        last = part[-1].event


def _line(webhook: Webhook, health: Health = _WELL) -> str:
    types = ", ".join(sorted(webhook.types)) or "all types"
    state = "enabled"
    if webhook.disabled:
        state = f"disabled: {webhook.disabled}"
    elif health.paused_until:
        until = datetime.fromtimestamp(health.paused_until / 1000, UTC)
        state = f"paused until {until:%Y-%m-%d %H:%M:%SZ} after {health.failures} failures"
    actors = {"by": webhook.by, "URL by": webhook.url_by, "secret by": webhook.secret_by}
    by = "".join(f"  {act} user {one.user}, token {one.token}" for act, one in actors.items() if one)
    return f"{webhook.id}  {webhook.since:%Y-%m-%d %H:%M:%SZ}  {state}  {webhook.url}  {types}{by}"
