"""A day of orders of every kind, for `SimulatedAws`: what is asked for, and what people outside must have seen."""

from __future__ import annotations

import base64
import copy
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline
from ordering.contexts import read_history
from ordering.ecards.certificates import Stock, read_stock_levels
from ordering.ecards.incoming import PAYMENT, STOCK, sealing_context
from ordering.ecards.statuses import EcardStatus
from ordering.events.incoming import CANCELLATION
from ordering.identity.accounts import Partner
from ordering.mail.mailing import to_message
from ordering.mail.outbox import Outbox
from ordering.training.statuses import TrainingStatus
from support.aws.simulated_aws import CERTIFICATES_KEY, SimulatedAws
from support.ecards import COMPANY, Rewards, card, order_id
from support.orders import new_item, new_order, target
from support.partners import CALLER, PARTNER
from support.training import School

SEATS = (3, 120)
HUNDRED, FIVE_HUNDRED = Stock(1, "100 ₽"), Stock(2, "500 ₽")
CERTIFICATES = {1: 2, 2: 1, 3: 4, 4: 1}
"""How many each e-card order that is delivered has, by its number."""
CODE = re.compile(r"^b\d-\d+$", re.MULTILINE)
KEY = re.compile(r"^[0-9A-Z]{5}(?:-[0-9A-Z]{5}){4}$", re.MULTILINE)
HOUR = timedelta(hours=1)


class Day:
    """What is asked for on every day, and what must have come of it in the evening."""

    def __init__(self, **world: Any) -> None:
        self.live_in(SimulatedAws(**world))

    more: Sequence[int] = ()
    """Further training orders."""

    def live_in(self, world: SimulatedAws) -> None:
        """Take place in a simulated AWS."""
        self.world = world
        self.school = School(self.world.tables, self.world.kms, now=lambda: self.world.now)
        self.rewards = Rewards(self.world.services, COMPANY)

    def fork(self) -> Day:
        """Return the same day in an independent copy of its world."""
        other = copy.copy(self)
        other.live_in(self.world.fork())
        return other

    def begin(self) -> None:
        """Place all orders, and put all events onto the bus."""
        services = self.world.services
        for partner in (CALLER.partner, COMPANY.partner):
            services.webhooks(Deadline.after(60)).register(partner, f"https://{partner}.example.com/")
        services.accounts(Deadline.after(60)).save_partner(PARTNER)
        services.accounts(Deadline.after(60)).save_partner(
            Partner(
                id=COMPANY.partner,
                active=True,
                payment_terms="invoice",
                grants=frozenset({"ecards"}),
                order_source=COMPANY.order_source,
                business_units=(),
                users={COMPANY.user.id: COMPANY.user},
                company="company",
            )
        )
        self.plain = self.school.place(2)
        self.mailed = self._place_mailed()
        self.rewards.publish()
        self.rewards.index()
        self.rewards.load(10, HUNDRED, "b1")
        self.rewards.top_up(1_200)
        self.rewards.place(1, card(quantity=2))
        self.rewards.place(2, card(2, "500 ₽"))
        self.rewards.place(5, card(3, "1 month"))
        self.rewards.place(3, card(quantity=4))
        self.rewards.place(4, card(quantity=1))
        self.send_events()

    def _place_mailed(self) -> int:
        items = [new_item(quantity=quantity) for quantity in SEATS]
        body = new_order(orderItems=items, emailKeys=True, contactEmail="ann@example.com")
        made: int = self.school.client.post(target("orders"), body).json["id"]
        return made

    def send_events(self) -> None:
        """Put the inbound events onto the bus: a payment, stock, and a cancellation."""
        self._tell(PAYMENT, {"company": COMPANY.partner, "operation": "invoice-1", "amount": "300.00"})
        sealer = EnvelopeSealer(self.world.kms, CERTIFICATES_KEY)
        codes = json.dumps([f"b2-{number}" for number in range(3)]).encode()
        sealed = sealer.seal(codes, sealing_context(FIVE_HUNDRED.card_id, FIVE_HUNDRED.face_value, "b2"))
        stock = {"cardId": FIVE_HUNDRED.card_id, "faceValue": FIVE_HUNDRED.face_value, "batch": "b2"}
        self._tell(STOCK, {**stock, "codes": base64.b64encode(sealed).decode()})
        self._tell(CANCELLATION, {"order": {"kind": "ecards", "company": COMPANY.partner, "id": order_id(5)}})

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        envelope = {"id": str(uuid.uuid4()), "type": kind, "version": 1, "time": "2026-01-01T12:00:00Z", "data": data}
        self.world.put_event(kind, envelope)

    def bounce_and_resend(self) -> str:
        """Let the training order's mail bounce, and send it again to a corrected address; returns the order's name."""
        name, table = f"training#{self.mailed}", self.world.services.orders(Deadline.after(60))
        outbox = Outbox(table, now=lambda: self.world.now)
        mail = outbox.mail(name, 1)
        tags = {tag: [value] for tag, value in mail.tags().items()}
        bounce = {"bounceType": "Permanent", "bounceSubType": "General"}
        detail = {"eventType": "Bounce", "mail": {"messageId": "1", "tags": tags}, "bounce": bounce}
        self.world.put_event("Email Bounced", detail, source="aws.ses")
        self.world.run()
        outbox.again(name, 1, to="ann@example.org")
        self.world.sender("MailQueue")(to_message(name), 0)
        self.world.run()
        return name

    # What people outside see in the evening.

    def judge(self) -> None:
        """Check that everything has come to where it belongs."""
        world = self.world
        assert world.queues == {name: [] for name in world.queues}
        self._judge_training()
        self._judge_ecards()
        ecards = [f"ecards#{COMPANY.partner}#{order_id(number)}" for number in (1, 2, 3, 4, 5)]
        training = [f"training#{order}" for order in (self.plain, self.mailed, *self.more)]
        self._judge_events(self._seen_on_the_bus(), [*training, *ecards])
        self._judge_events(self._seen_by_webhook(CALLER.partner), training)
        self._judge_events(self._seen_by_webhook(COMPANY.partner), ecards)

    def seen_of_mails(self, partner: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """Return the events about mails on the bus, and those that a partner's webhook received."""
        seen = self._seen_on_the_bus(), self._seen_by_webhook(partner)
        on_bus, posted = ([event for event in events if ".mail_" in event["type"]] for events in seen)
        return on_bus, posted

    def _judge_training(self) -> None:
        plain, mailed = ([key for *_, key in self.school.keys(order)] for order in (self.plain, self.mailed))
        letters = {*self._letters("ann@example.com")}
        orders = [self.school.orders().order(order) for order in (self.plain, self.mailed)]

        assert {order.status for order in orders} == {TrainingStatus.COMPLETED}
        assert (len(plain), len({*mailed})) == (2, sum(SEATS))
        assert [KEY.findall(letter) for letter in letters] == [mailed]

    def _judge_ecards(self) -> None:
        table = self.world.services.orders(Deadline.after(60))
        orders = {number: self.rewards.orders.order(order_id(number)) for number in (1, 2, 3, 4, 5)}
        letters = {*self._letters("sss@ss.ss")}
        arrived = [code for letter in letters for code in CODE.findall(letter)]
        free = {stock: level.count for stock, level in read_stock_levels(table, [HUNDRED, FIVE_HUNDRED]).items()}
        entries = {entry.purpose: entry.amount for entry in self.rewards.orders.balance.entries()}

        assert {number: orders[number].status for number in CERTIFICATES} == dict.fromkeys(
            CERTIFICATES, EcardStatus.DELIVERED
        )
        assert orders[5].status is EcardStatus.CANCELLED
        assert sorted(len(CODE.findall(letter)) for letter in letters) == sorted(CERTIFICATES.values())
        assert len(arrived) == len({*arrived})
        assert free == {HUNDRED: 3, FIVE_HUNDRED: 2}
        assert self.rewards.balance == "275"
        assert sum(entries.values()) == 275

    def _letters(self, to: str) -> Iterator[str]:
        for mail in self.world.mails:
            if mail["Destination"] == {"ToAddresses": [to]}:
                yield mail["Content"]["Simple"]["Body"]["Text"]["Data"]

    def _seen_on_the_bus(self) -> list[Mapping[str, Any]]:
        return [json.loads(entry["Detail"]) for entry in self.world.bus]

    def _seen_by_webhook(self, partner: str) -> list[Mapping[str, Any]]:
        url = f"https://{partner}.example.com/"
        return [json.loads(body) for to, _, body in self.world.posted if to == url]

    def _judge_events(self, seen: Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
        """Check that who drops what it has seen has seen the whole history of each order, in its order."""
        orders: dict[str, list[Mapping[str, Any]]] = {}
        for event in {event["id"]: event for event in seen}.values():
            orders.setdefault(str(event["data"]["order"]["id"]), []).append(event)
        stories = {name: read_history(Table(self.world.tables, "OrdersTable"), name) for name in names}

        assert orders == {
            name.rpartition("#")[2]: [json.loads(story.event(n).to_text()) for n in range(len(story))]
            for name, story in stories.items()
            if story
        }
        assert len(orders) == len(stories)

    @property
    def doubles(self) -> tuple[int, int, int]:
        """How many mails, events on the bus and messages to webhooks came once more than once."""
        letters = [f"{mail['Destination']}{mail['Content']}" for mail in self.world.mails]
        events = [str(event["id"]) for event in self._seen_on_the_bus()]
        messages = [f"{url}{headers['webhook-id']}" for url, headers, _ in self.world.posted]
        return _doubles(letters), _doubles(events), _doubles(messages)

    @property
    def dead(self) -> int:
        return len(self.world.given_up) + sum(len(messages) for messages in self.world.dead.values())


def _doubles(seen: list[str]) -> int:
    return len(seen) - len({*seen})
