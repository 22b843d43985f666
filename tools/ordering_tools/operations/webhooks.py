"""`ordering webhook`: manages partners' webhooks, for operators, and receives their events, for developers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import system_clock
from ordering.contexts import event_types
from ordering.identifiers import LARGEST_NUMBER, canonical_uuid
from ordering.webhooks.delivery import Deliverer, Parked, Withheld
from ordering.webhooks.health import Health
from ordering.webhooks.post import Poster
from ordering.webhooks.registrations import Webhook, Webhooks
from ordering.webhooks.transport import NotPosted, not_posted
from ordering_tools.console import MOMENT
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations import webhook_receiver
from ordering_tools.operations.commands import Group, Run, partner_of, pass_run, with_reason, with_required_reason

_PART = 100
_WELL = Health()

_TEXTS = {
    "date-time": "2026-01-01T12:00:00.000000Z",
    "uuid": str(uuid.UUID(int=0)),
    "email": "sample@example.com",
}
"""Texts of sample events, by their format."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering webhook add northwind https://example.com/hooks/orders
  ordering webhook list northwind
  ordering webhook test northwind 31301f16083e33c7
  ordering webhook parked northwind 31301f16083e33c7
  ordering webhook replay northwind 31301f16083e33c7 --all
""",
)
def group() -> None:
    """Partners' endpoints, to which events of orders are sent."""


group.add_command(webhook_receiver.listen)

_type_choice = click.Choice(sorted(event_types()))


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("url", help="The endpoint.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=_type_choice,
    metavar="TYPE",
    help="A type of events to send, as ordering.training_order.new; repeatable. Default: all types.",
)
@with_reason
@pass_run
def add(run: Run, partner: str, url: str, types: Sequence[str], reason: str) -> None:
    """Register a webhook.

    Prints its id and its secret, which is shown only once.
    """
    partner_of(run.site, partner)
    with run.change(f"webhook of {partner}", reason, after={"url": url, "types": [*types]}) as site:
        webhook, secret = webhooks_of(site).register(partner, url, types)
    run.output.result(f"{webhook.id} {secret}", {**_shown(webhook, _WELL), "secret": secret})


@group.command("list")
@click.argument("partner", help="The partner's id, for instance northwind.")
@pass_run
def list_webhooks(run: Run, partner: str) -> None:
    """List the webhooks of a partner, oldest first."""
    partner_of(run.site, partner)
    found = webhooks_of(run.site).all_with_health(partner)
    rows = [_shown(webhook, health) for webhook, health in sorted(found, key=lambda one: one[0].since)]
    run.output.rows(rows, empty="no webhooks; add one with `ordering webhook add`", columns=("webhook", "state", "url"))


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@pass_run
def show(run: Run, partner: str, webhook: str) -> None:
    """Show a webhook, and who changed it."""
    partner_of(run.site, partner)
    run.output.fields(_shown(*webhooks_of(run.site).get_with_health(partner, webhook)))


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@with_reason
@pass_run
def remove(run: Run, partner: str, webhook: str, reason: str) -> None:
    """Delete a webhook."""
    partner_of(run.site, partner)
    before = webhooks_of(run.site).get(partner, webhook)
    asks = "its secret and what it missed are gone for ever"
    with run.change(f"webhook {webhook} of {partner}", reason, before={"url": before.url}, asks=asks) as site:
        webhooks_of(site).remove(partner, webhook)
    run.output.result(f"webhook {webhook} is removed", {"webhook": webhook, "removed": True})


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@with_reason
@pass_run
def enable(run: Run, partner: str, webhook: str, reason: str) -> None:
    """Enable a webhook, or end its pause.

    The events that it missed are sent.
    """
    partner_of(run.site, partner)
    before = webhooks_of(run.site).get(partner, webhook)
    was = {"disabled": before.disabled}
    with run.change(f"webhook {webhook} of {partner}", reason, before=was, after={"disabled": None}) as site:
        site.note()  # the end of a pause is no change of the webhook
        enabled = deliverer_of(site).enable(partner, webhook)
    run.output.fields(_shown(enabled, _WELL))


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@with_required_reason
@pass_run
def secret(run: Run, partner: str, webhook: str, reason: str) -> None:
    """Replace a webhook's secret.

    Prints the new one. The previous one also signs for another day.
    """
    partner_of(run.site, partner)
    webhooks_of(run.site).get(partner, webhook)
    with run.change(f"webhook {webhook} of {partner}", reason, after={"secret": "replaced"}) as site:
        _, text = webhooks_of(site).replace_secret(partner, webhook)
        deliverer_of(site).end_pause_if_possible(partner, webhook)
    run.output.result(text, {"webhook": webhook, "secret": text})


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@pass_run
def parked(run: Run, partner: str, webhook: str) -> None:
    """List events that were not delivered."""
    found = sorted(_parked(run.site, partner, webhook), key=lambda one: one.at)
    if run.json:
        run.output.rows(
            [{**_order_of(one), "event": one.event, "at": one.at, "type": one.type, "why": one.why} for one in found]
        )
        return
    for one in found:
        order = _order_of(one)
        run.output.line(
            f"{one.event}  {one.at:{MOMENT}}\n  order {order['order']} {order['sequence']}  {one.type}\n  {one.why}"
        )
    if not found:
        run.output.line("no parked events")


@group.command()
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@click.argument("event", required=False, help="The event's id, as in `ordering webhook parked`.")
@click.option("--all", "every", is_flag=True, help="Replay all parked events.")
@with_reason
@pass_run
def replay(run: Run, partner: str, webhook: str, event: str | None, reason: str, *, every: bool) -> None:  # noqa: PLR0913 - one parameter for each argument
    """Send parked events again.

    With --all, events of orders that the partner may not see now are left out.
    """
    if (event is None) is not every:
        raise click.UsageError("name an event, or all of them with --all")
    partner_of(run.site, partner)
    events = [_event(event)] if event else [one.event for one in _parked(run.site, partner, webhook)]
    withheld = 0
    with run.change(f"webhook {webhook} of {partner}", reason, after={"replayed": len(events)}) as site:
        for one in events:
            try:
                deliverer_of(site).replay(partner, webhook, one)
            except Withheld:
                if not every:
                    raise
                withheld += 1
        site.note()
    text = f"{len(events) - withheld} on the queue; events that fail again stay parked"
    if withheld:
        text += f"\n{withheld} left out: the partner is disabled or lacks the grant for their orders"
    run.output.result(text, {"webhook": webhook, "replayed": len(events) - withheld, "leftOut": withheld})


@group.command("test")
@click.argument("partner", help="The partner's id, for instance northwind.")
@click.argument("webhook", help="The webhook's id.")
@click.option(
    "--type",
    "event_type",
    type=_type_choice,
    metavar="TYPE",
    help="The type of the event; default: the first that the webhook receives.",
)
@with_reason
@pass_run
def send_test(run: Run, partner: str, webhook: str, event_type: str | None, reason: str) -> None:
    """Send a sample event to a webhook.

    It is signed, and sent once from this machine, also to a webhook that is
    disabled or paused; neither changes. The event is about an order that
    does not exist: number 2147483647, or UUID 00000000-…
    """
    partner_of(run.site, partner)
    found = webhooks_of(run.site).get(partner, webhook)
    chosen = event_type or min(found.types or event_types())
    event = sample_event(chosen, partner)
    body = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
    with run.change(f"webhook {webhook} of {partner}", reason, after={"tested": chosen}) as site:
        site.note()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ordering-webhooks",
            **webhooks_of(site).sign(found, event["id"], system_clock(), body),
        }
        try:
            status = Poster(anywhere=site.local).post(found.url, headers, body).status
        except NotPosted as failure:
            raise NotDone(f"{found.url}: there was no response: {failure}") from None
    accepted = 200 <= status < 300
    values = {"webhook": webhook, "event": event["id"], "type": chosen, "status": status, "accepted": accepted}
    if not accepted:
        raise NotDone(f"{found.url} refused event {event['id']} of type {chosen} with status {status}")
    run.output.result(f"{found.url} accepted event {event['id']} of type {chosen} with status {status}", values)


def sample_event(event_type: str, partner: str) -> dict[str, Any]:
    """An event of a type, as its schema has it, about an order that does not exist."""
    # Imported here: the schemas import the models of all contracts, which no other command needs.
    from ordering_tools.documents.event_schemas import schema  # noqa: PLC0415 - as above

    event: dict[str, Any] = _sample(schema(event_type))
    event |= {"id": str(uuid.uuid4()), "time": f"{system_clock():%Y-%m-%dT%H:%M:%S.%fZ}"}
    event["data"]["partner"] = partner
    order = event["data"]["order"]
    order["id"] = LARGEST_NUMBER if isinstance(order["id"], int) else str(uuid.UUID(int=0))
    return event


def _sample(shape: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one return for each kind of value
    """The plainest value of a JSON Schema."""
    if "const" in shape or "enum" in shape:
        return shape.get("const", shape.get("enum", [None])[0])
    if "anyOf" in shape:
        return _sample(shape["anyOf"][0])
    match shape.get("type"):
        case "object":
            return {name: _sample(one) for name, one in shape.get("properties", {}).items()}
        case "array":
            return [_sample(shape["items"])]
        case "string":
            amount = "1" if "pattern" in shape else "sample"
            return _TEXTS.get(shape.get("format", ""), amount)
        case "integer":
            return max(1, shape.get("minimum", 1))
        case kind:
            return False if kind == "boolean" else None


def deliverer_of(site: Installation) -> Deliverer:
    """A deliverer that puts messages on the queue, and sends none itself."""
    return Deliverer(site.orders, site.accounts, webhooks_of(site), not_posted, site.webhook_queue)


def webhooks_of(site: Installation) -> Webhooks:
    """The webhooks of all partners."""
    sealer = EnvelopeSealer(site.kms, site.stack.key_alias("WebhookSecretsKey"))
    return Webhooks(site.accounts, sealer, anywhere=site.local)


def _event(text: str) -> str:
    if (event := canonical_uuid(text)) is None:
        raise NotDone(f"'{text}' is not a valid event id, which is a UUID; see `ordering webhook parked`")
    return event


def _parked(site: Installation, partner: str, webhook: str) -> Iterator[Parked]:
    partner_of(site, partner)
    deliverer = deliverer_of(site)
    last = ""
    while part := deliverer.parked(partner, webhook, _PART, last):
        yield from part
        last = part[-1].event


def _order_of(event: Parked) -> dict[str, Any]:
    """The order of an event as people name it, and the position of the event in its history."""
    return {"order": event.order.rpartition("#")[2], "sequence": event.index + 1}


def _shown(webhook: Webhook, health: Health) -> dict[str, Any]:
    state, until = "enabled", None
    if webhook.disabled:
        state = "disabled"
    elif health.paused_until:
        state, until = "paused", datetime.fromtimestamp(health.paused_until / 1000, UTC)
    actors = {"registeredBy": webhook.by, "urlBy": webhook.url_by, "secretBy": webhook.secret_by}
    return {
        "webhook": webhook.id,
        "url": webhook.url,
        "state": state,
        "why": webhook.disabled,
        "pausedUntil": until,
        "failures": health.failures or None,
        "types": sorted(webhook.types) or ["all types"],
        "since": webhook.since,
        **{act: f"user {by.user}, token {by.token}" if by else None for act, by in actors.items()},
    }
