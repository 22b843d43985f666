"""What is mailed of which order and when, and what becomes of certificates on their way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.dynamodb import Table
from ordering.aws.ses import NotSent, Unsure
from ordering.clock import Deadline
from ordering.ecards.certificates import Stock, read_shelves
from ordering.ecards.records import EcardOrder
from ordering.errors import Conflict, Unavailable
from ordering.mail import letters as mail_texts
from ordering.mail import mailing as postman
from ordering.mail.mailing import ONE_MAIL, Mailing, OutOfTime, from_message, to_message
from ordering.mail.outbox import UNSURE, Mail, MailInFlight, MailState, Outbox
from support.aws.faults import Crash, Faulty, interrupted, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.ses import MemorySes
from support.ecards import COMPANY, HUNDRED, Rewards, card, order_id, services_over
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, STANDARD, UK
from support.training import School

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ECARDS = f"ecards#granite#{order_id(1)}"
AT_ONCE = 2


@dataclass
class Post:
    """A postman with a table, a KMS and an SES of its own, whose clock is put forward by hand."""

    now: datetime = START
    kms: MemoryKms = field(default_factory=MemoryKms)
    ses: MemorySes = field(default_factory=MemorySes)
    counted: list[str] = field(default_factory=list)
    deadline: Deadline = field(default_factory=lambda: Deadline.after(600))

    def __post_init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.table = Table(self.faulty, "OrdersTable", first_pause=0.0)
        self.outbox = Outbox(self.table, self.ses.ses.send, self.counted.append, lambda: self.now)
        self.school = School(self.faulty, self.kms, lambda: self.now)
        self.rewards = Rewards(services_over(self.faulty, lambda: self.now, self.kms), COMPANY)

    def deliver(self, order: str) -> None:
        """Do what a message says, as the function does that has no right to seal."""
        sealer = self.school.services.access_keys_sealer()
        Mailing(self.table, self.outbox, sealer, self.deadline, lambda: self.now).handle(to_message(order))

    def later(self, time: timedelta) -> None:
        self.now += time

    # Training orders

    def place(self, *quantities: int, email_keys: bool = True, issue: bool = True) -> str:
        """Place an order of which the keys are to be mailed; returns its name."""
        publish(self.school.services, UK, [(AZ_300, [STANDARD])])
        items = [new_item(quantity=quantity) for quantity in quantities]
        body = new_order(orderItems=items, emailKeys=email_keys, contactEmail="ann@example.com")
        number: int = self.school.client.post(target("orders"), body).json["id"]
        if issue:
            self.school.issue(number)
        return f"training#{number}"

    # Orders of e-cards

    def ready(self, quantity: int = 5) -> None:
        """Have an order whose certificates are assigned."""
        self.rewards.publish()
        self.rewards.top_up(100 * quantity)
        self.rewards.load(quantity)
        self.rewards.place(
            1, card(quantity=quantity), participant={"email": "j@example.com", "name": "J", "phone": "1"}
        )
        self.rewards.orders.carry_on(order_id(1))

    @property
    def order(self) -> EcardOrder:
        return self.rewards.orders.order(order_id(1))

    @property
    def progress(self) -> tuple[str, int, int]:
        order = self.order
        return str(order.status), order.delivered, order.handing

    @property
    def free(self) -> int:
        return read_shelves(self.table, [HUNDRED])[HUNDRED].count

    @property
    def codes(self) -> list[list[str]]:
        """The codes of each mail that was taken."""
        return [re.findall(r"^b1-\d+$", letter.text, re.MULTILINE) for letter in self.ses.letters]

    def mail(self, number: int = 1, order: str = ECARDS) -> Mail:
        return self.outbox.mail(order, number)

    def refuse(self, code: str = "MessageRejected") -> None:
        self.ses.meet(CallRefused("SendEmail", code))


@pytest.fixture
def post() -> Iterator[Post]:
    """A postman who mails two certificates at once."""
    with mock.patch.object(postman, "AT_ONCE", AT_ONCE):
        yield Post()


def keys_shown(post: Post, order: str, texts: Sequence[str]) -> bool:
    """Whether texts have all keys of an order, in their order."""
    keys = [key for _, _, key in post.school.keys(int(order.partition("#")[2]))]
    found = re.findall(r"^\w{5}(?:-\w{5}){4}$", "\n".join(texts), re.MULTILINE)
    return found == keys


# Messages ------------------------------------------------------------------------------------------------------------


def test_messages() -> None:
    """A message is an order's name in JSON."""
    assert to_message("training#1") == '{"order":"training#1"}'
    assert from_message(to_message(ECARDS)) == ECARDS


@pytest.mark.parametrize("order", ["training#99", f"ecards#nobody#{order_id(1)}", "deals#1", "MAIL#x", ""])
def test_no_order(post: Post, order: str) -> None:
    """A message about an order that there is not is done with quietly."""
    post.deliver(order)

    assert post.ses.taken == []


# Access keys ---------------------------------------------------------------------------------------------------------


def test_keys_are_mailed(post: Post) -> None:
    """All keys of a completed order are mailed to its contact, once."""
    order = post.place(3, 120)
    for _ in range(2):
        post.deliver(order)

    (letter,) = post.ses.letters
    assert letter.to == "ann@example.com"
    assert keys_shown(post, order, [letter.text])
    assert (post.mail(order=order).contents, post.counted) == (123, ["MailsSent"])


def test_keys_nobody_wants_by_mail(post: Post) -> None:
    """Keys are mailed only where that was asked for, and only when all of them are issued."""
    post.deliver(post.place(1, email_keys=False))
    unfinished = post.place(1, issue=False)
    post.deliver(unfinished)
    post.school.orders().cancel(int(unfinished.partition("#")[2]))
    post.deliver(unfinished)

    assert post.ses.taken == []


def test_too_many_keys_are_not_opened(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more keys than a mail has, none is opened, and the mail says where they are."""
    for module in (mail_texts, postman):
        monkeypatch.setattr(module, "KEYS_AT_MOST", 2)
    order = post.place(3)
    post.kms.calls.clear()
    post.deliver(order)

    (letter,) = post.ses.letters
    assert f"GET /api/v2/orders/{order.partition('#')[2]}/keys" in letter.text
    assert post.kms.calls == []


def test_refused_keys(post: Post) -> None:
    """Where SES refuses the mail, the message is done with, and an operator's wish sends it."""
    order = post.place(1)
    post.refuse()
    for _ in range(2):
        post.deliver(order)
    assert (post.mail(order=order).state, post.ses.taken) == (MailState.REFUSED, [])
    post.outbox.again(order, 1)
    post.deliver(order)

    assert keys_shown(post, order, [post.ses.letters[0].text])
    assert post.counted == ["MailsRefused", "MailsSent"]


def test_keys_that_cannot_be_opened_now(post: Post) -> None:
    """Where KMS does not answer, the message comes again, and nothing is held up."""
    order = post.place(1)

    def silent(_: str, __: dict[str, Any]) -> dict[str, Any]:
        raise Unavailable

    post.school.kms = silent  # type: ignore[assignment] # called alike
    with pytest.raises(Unavailable):
        post.deliver(order)
    post.school.kms = post.kms
    post.deliver(order)

    assert len(post.ses.taken) == 1


# Certificates --------------------------------------------------------------------------------------------------------


def test_certificates_are_mailed(post: Post) -> None:
    """All certificates are mailed to the participant, some at a time, and each mail hands over what it has."""
    post.ready(5)
    post.deliver(ECARDS)

    assert post.codes == [["b1-0", "b1-1"], ["b1-2", "b1-3"], ["b1-4"]]
    assert {letter.to for letter in post.ses.letters} == {"j@example.com"}
    assert post.progress == ("Delivered", 5, 0)
    assert [str(moment.status) for moment in post.order.state.history] == [
        "Payed",
        "ReadyForDelivery",
        "PartiallyDelivered",
        "Delivered",
    ]
    assert [(mail.number, mail.contents) for mail in post.outbox.mails(ECARDS)] == [(1, 2), (3, 2), (5, 1)]
    assert "Certificates 3 to 4 of 5" in post.ses.letters[1].text


def test_several_stocks_in_one_mail(post: Post) -> None:
    """A mail has certificates of several cards, in the order in which they are handed over."""
    post.rewards.publish()
    post.rewards.top_up(2_000)
    gift = Stock(2, "500 ₽")
    post.rewards.load(1)
    post.rewards.load(2, gift, "b2")
    post.rewards.place(1, card(), card(2, "500 ₽", 2))
    post.rewards.orders.carry_on(order_id(1))
    post.deliver(ECARDS)

    assert [re.findall(r"^b\d-\d$", letter.text, re.MULTILINE) for letter in post.ses.letters] == [
        ["b1-0", "b2-0"],
        ["b2-1"],
    ]


def test_the_same_message_again(post: Post) -> None:
    """A message that comes again, after all is done, changes nothing."""
    post.ready(3)
    for _ in range(3):
        post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (2, ("Delivered", 3, 0))


def test_not_ready(post: Post) -> None:
    """Nothing is mailed of an order whose certificates are not assigned, or that is cancelled."""
    post.rewards.publish()
    post.rewards.place(1)
    post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    post.deliver(ECARDS)

    assert post.ses.taken == []


def test_some_handed_over_by_hand(post: Post) -> None:
    """After certificates that support handed over, the mails go on with the next ones."""
    post.ready(3)
    post.rewards.orders.hand_over(post.order, 1)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-1", "b1-2"]], ("Delivered", 3, 0))


def test_out_of_time(post: Post) -> None:
    """Without the time for one more mail the message must come again, and nothing is begun."""
    post.ready(3)
    post.deadline = Deadline.after(ONE_MAIL - 1)
    with pytest.raises(OutOfTime):
        post.deliver(ECARDS)
    assert (post.progress, post.ses.taken) == (("ReadyForDelivery", 0, 0), [])

    order = post.place(1)
    with pytest.raises(OutOfTime):
        post.deliver(order)
    post.rewards.orders.begin_hand_over(post.order, 2)
    with pytest.raises(OutOfTime):
        post.deliver(ECARDS)

    assert (post.mail(order=order).version, post.mail().version) == (0, 0)


def test_no_time_is_needed_for_nothing(post: Post) -> None:
    """A message that needs nothing is done with however little time there is."""
    post.ready(1)
    order = post.place(1)
    for name in (ECARDS, order):
        post.deliver(name)
    post.deadline = Deadline.after(0)
    for name in (ECARDS, order):
        post.deliver(name)

    assert len(post.ses.taken) == 2


def test_goes_on_in_the_next_invocation(post: Post) -> None:
    """An order of which some mails are sent goes on with the next one."""
    post.ready(5)
    post.ses.meet(None, NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    assert post.progress == ("PartiallyDelivered", 2, 2)
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (3, ("Delivered", 5, 0))


def test_unsure(post: Post) -> None:
    """While it is unsure whether a mail was sent, its certificates stay on their way, and none behind it is mailed."""
    post.ready(3)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    with pytest.raises(MailInFlight):
        post.deliver(ECARDS)
    assert (post.progress, len(post.ses.taken)) == (("ReadyForDelivery", 0, 2), 1)
    post.outbox.report(post.ses.taken[0].told, "Send", "", START)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_refused_certificates(post: Post) -> None:
    """Where SES refuses a mail, its certificates are the order's again, and nothing more happens before a wish."""
    post.ready(3)
    post.refuse()
    post.deliver(ECARDS)
    version = post.order.state.version
    post.deliver(ECARDS)
    assert (post.progress, post.order.state.version) == (("ReadyForDelivery", 0, 0), version)
    post.outbox.again(ECARDS, 1)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_refused_later(post: Post) -> None:
    """A mail that SES refuses in the middle leaves those before it handed over, and those from it on with the order."""
    post.ready(5)
    post.ses.meet(None, CallRefused("SendEmail", "MessageRejected"))
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"]], ("PartiallyDelivered", 2, 0))


def test_refused_after_one_that_may_be_out(post: Post) -> None:
    """Certificates of a mail that was refused, but may have gone out before, stay on their way until SES tells."""
    post.ready(2)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    post.later(UNSURE)
    post.refuse()
    for _ in range(2):
        with pytest.raises(MailInFlight):
            post.deliver(ECARDS)
    assert post.progress == ("ReadyForDelivery", 0, 2)
    post.outbox.report(post.ses.taken[0].told, "Delivery", "", post.now)
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (1, ("Delivered", 2, 0))


# Cancelled meanwhile -------------------------------------------------------------------------------------------------


def test_cancelled_before_it_is_sent(post: Post) -> None:
    """A cancellation just before the mail keeps it from being sent, and all certificates are in stock again."""
    post.ready(3)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    assert (post.free, post.progress) == (1, ("Cancelled", 0, 2))
    post.deliver(ECARDS)

    assert (post.free, post.progress, post.ses.taken) == (3, ("Cancelled", 0, 0), [])


@pytest.mark.parametrize("operation", ["TransactWriteItems", "PutItem"])
def test_cancelled_while_it_is_sent(post: Post, operation: str) -> None:
    """Certificates of a mail that went out while the order was cancelled count as handed over, the others return."""
    post.ready(3)
    after = 1 if operation == "TransactWriteItems" else 0  # the claim, which is behind the order's, or the mark
    post.faulty.meet(operation, interrupted(lambda: post.rewards.orders.cancel(order_id(1))), after=after)
    post.deliver(ECARDS)

    sent = operation == "PutItem"
    assert (len(post.ses.taken), post.free, post.progress) == (
        (1, 1, ("Cancelled", 2, 0)) if sent else (0, 3, ("Cancelled", 0, 0))
    )


def test_cancelled_and_refused(post: Post) -> None:
    """Certificates of a mail that was refused while the order was cancelled return to stock."""
    post.ready(3)
    post.refuse()
    post.faulty.meet("PutItem", interrupted(lambda: post.rewards.orders.cancel(order_id(1))))
    post.deliver(ECARDS)

    assert (post.free, post.progress, post.mail().state) == (3, ("Cancelled", 0, 0), MailState.REFUSED)


def test_cancelled_while_it_is_unsure(post: Post) -> None:
    """Certificates that may have been mailed of a cancelled order never return to stock, whatever SES tells later."""
    post.ready(3)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    with pytest.raises(MailInFlight):
        post.deliver(ECARDS)
    post.later(UNSURE)
    post.deliver(ECARDS)
    assert (post.free, post.progress, len(post.ses.taken)) == (1, ("Cancelled", 0, 2), 1)
    post.outbox.report(post.ses.taken[0].told, "Send", "", post.now)
    post.deliver(ECARDS)

    assert (post.free, post.progress, len(post.ses.taken)) == (1, ("Cancelled", 2, 0), 1)


def test_nobody_hands_over_what_is_on_its_way(post: Post) -> None:
    """Support cannot hand over certificates of an order while some are on their way."""
    post.ready(3)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)

    with pytest.raises(Conflict, match="2 certificates on their way"):
        post.rewards.orders.hand_over(post.order, 1)


# Once more -----------------------------------------------------------------------------------------------------------


def test_certificates_once_more(post: Post) -> None:
    """A mail that an operator wants sent again has the same certificates, and hands nothing over."""
    post.ready(5)
    post.deliver(ECARDS)
    before = post.order
    post.outbox.again(ECARDS, 3, force=True)
    for _ in range(2):
        post.deliver(ECARDS)

    assert post.codes[3:] == [["b1-2", "b1-3"]]
    assert post.order == before


def test_once_more_and_refused(post: Post) -> None:
    """Where SES refuses it then, other mails that are wanted again are sent all the same."""
    post.ready(5)
    post.deliver(ECARDS)
    for number in (1, 5):
        post.outbox.again(ECARDS, number, force=True)
    post.refuse()
    post.deliver(ECARDS)

    assert post.codes[3:] == [["b1-4"]]
    assert (post.mail(1).state, post.mail(5).state) == (MailState.REFUSED, MailState.SENT)


def test_not_once_more_when_cancelled(post: Post) -> None:
    """Of a cancelled order nothing is mailed once more, neither what was handed over nor what was not."""
    post.ready(3)
    post.ses.meet(None, CallRefused("SendEmail", "MessageRejected"))
    post.deliver(ECARDS)
    post.outbox.again(ECARDS, 1, force=True)
    post.outbox.again(ECARDS, 3)
    post.rewards.orders.cancel(order_id(1))
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.free) == (1, 1)


def test_once_more_what_went_another_way(post: Post) -> None:
    """A mail of which only some certificates were handed over, by hand, waits until all of them were."""
    post.ready(3)
    post.refuse()
    post.deliver(ECARDS)
    post.rewards.orders.hand_over(post.order, 1)
    post.outbox.again(ECARDS, 1)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    assert post.codes == []
    post.deliver(ECARDS)

    assert post.codes == [["b1-1", "b1-2"], ["b1-0", "b1-1"]]


def test_killed_after_the_claim_of_the_order(post: Post) -> None:
    """A postman who dies when certificates are on their way is followed by one who mails just these."""
    post.ready(3)
    post.faulty.meet("TransactWriteItems", refused(Crash()), after=1)
    with pytest.raises(Crash):
        post.deliver(ECARDS)
    assert post.progress == ("ReadyForDelivery", 0, 2)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_moved_by_another(post: Post) -> None:
    """Of two postmen with the same message each mail is sent by one, and both come to the same end."""
    post.ready(5)
    post.faulty.meet("TransactWriteItems", interrupted(lambda: post.deliver(ECARDS)))
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2", "b1-3"], ["b1-4"]], ("Delivered", 5, 0))
